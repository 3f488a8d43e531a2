"""What became of a message: published, accepted by the journal, or refused."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self
from uuid import UUID

from broker.clock import from_epoch_ms
from broker.errors import RefusedError
from broker.model.diffusion import Diffusion
from broker.model.notice import Notice
from broker.transport.publisher import RecordPlace
from producers.sending import Landing


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Where a message landed: durable, and bound to be routed or rejected with an outcome.

    Attributes:
        message_id: the message.
        topic: the feed.
        partition: of the feed: the notice's shard.
        offset: on the feed.
        appended_at: when Kafka appended it.
    """

    message_id: UUID
    topic: str
    partition: int
    offset: int
    appended_at: datetime

    @classmethod
    def at(cls, place: RecordPlace, message_id: UUID) -> Self:
        """Return where a message landed."""
        return cls(
            message_id=message_id,
            topic=place.topic,
            partition=place.partition,
            offset=place.offset,
            appended_at=from_epoch_ms(place.timestamp_ms),
        )

    @property
    def origin(self) -> str:
        """How ledger, outcome and receipts name it: `notices.africa/1/42`."""
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A message that the journal has: it will be sent, whatever happens to this process.

    Attributes:
        message_id: the message.
        number: its notice number.
        sequence: its place in the journal.
        landing: where Kafka has it, once it has; rather await `landed`.
    """

    message_id: UUID
    number: str
    sequence: int
    landing: Landing = field(repr=False, compare=False)

    async def landed(self) -> Published:
        """Wait until Kafka has it. May be cancelled: it is sent all the same.

        Raises:
            RefusedError: the door or Kafka refused it for good; the journal keeps it as failed.
            UnavailableError: the producer was closed before; the next one with this journal sends it.
        """
        return Published.at(await asyncio.shield(self.landing), self.message_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one message of `publish_many`.

    Attributes:
        index: its place among the messages given, from 0.
        message: the message.
        result: where it landed, or why nothing was written.
    """

    index: int
    message: Notice | Diffusion
    result: Published | RefusedError

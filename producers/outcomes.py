"""The router's word on what was published, read from the issuers' own inboxes."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from uuid import UUID

import structlog

from broker.errors import RejectedRecordError, UnavailableError
from broker.model.naming import inbox
from broker.model.outcome import Outcome
from broker.schema.codec import Codec
from broker.transport.directory import DirectoryFollower
from broker.transport.inbox import InboxDecoder
from broker.transport.kafka import RawClient, TopicPartition
from broker.transport.reader import RawBatch, RawReader

logger = structlog.get_logger(__name__)

_PAUSE_SECONDS = 0.5


class OutcomeWatch:
    """Waits for outcomes; an inbox is read from where it ended before the first message of its bureau was published.

    Args:
        client: a started connection to Kafka.
        follower: outcomes are verified against the directory.
        codec: decodes inbox records.
    """

    def __init__(self, *, client: RawClient, follower: DirectoryFollower, codec: Codec) -> None:
        self._client = client
        self._follower = follower
        self._decoder = InboxDecoder(codec)
        self._reader = RawReader(client, {}, committed=True, lane=f"outcomes-{id(self):x}")
        self._waiting: dict[UUID, asyncio.Future[Outcome]] = {}
        self._digests: dict[UUID, bytes] = {}
        self._opening = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None

    async def expect(self, issuer: str, message_id: UUID, digest: bytes) -> None:
        """Note, before a message is published, that its outcome will be waited for.

        Raises:
            UnavailableError: the issuer's inbox cannot be found now.
        """
        partition = TopicPartition(inbox(issuer), 0)
        async with self._opening:
            if partition not in self._reader.positions:
                self._reader.assign(partition, await self._client.end_offset(partition))
        self._digests[message_id] = digest
        if message_id not in self._waiting:
            self._waiting[message_id] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())

    async def wait(self, message_id: UUID, timeout: timedelta) -> Outcome:  # noqa: ASYNC109 - the SDK's own deadline
        """Return the outcome of a message that was published here.

        Raises:
            UnavailableError: there is none yet; the message is on its feed all the same.
            KeyError: it was not published here.
        """
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                return await asyncio.shield(self._waiting[message_id])
        except TimeoutError:
            raise UnavailableError(f"no outcome of {message_id} within {timeout}; it is on its feed") from None

    async def close(self) -> None:
        """Stop reading; whoever still waits is told so."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
        await self._reader.close()
        for future in self._waiting.values():
            future.cancel()

    async def _read(self) -> None:
        while True:
            try:
                for partition, batches in await self._reader.poll():
                    await self._take(partition, batches)
                    self._reader.advance(partition, batches[-1].next_offset)
            except UnavailableError as error:
                logger.warning("Outcomes wait for Kafka", **error.log_fields())
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _take(self, partition: TopicPartition, batches: list[RawBatch]) -> None:
        directory = await self._follower.at_its_end()
        bureau = partition.topic.removeprefix(inbox(""))
        for batch in batches:
            for record in batch.records if not (batch.is_control or batch.is_aborted) else ():
                with contextlib.suppress(RejectedRecordError):  # the bureau's own client parks it
                    outcome = self._decoder.decode(record, bureau=bureau, directory=directory).outcome
                    if outcome is not None:
                        self._resolve(outcome)

    def _resolve(self, outcome: Outcome) -> None:
        future = self._waiting.get(outcome.message_id)
        if future is not None and not future.done() and self._digests[outcome.message_id] == outcome.digest:
            future.set_result(outcome)

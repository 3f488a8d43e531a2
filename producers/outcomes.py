"""The router's word on what was published, read from the issuers' own inboxes."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from broker.errors import NoticewireError, RejectedRecordError, UnavailableError
from broker.model.naming import inbox
from broker.model.outcome import Outcome
from broker.schema.codec import Codec
from broker.transport.directory import DirectoryFollower
from broker.transport.inbox import InboxDecoder
from broker.transport.kafka import RawClient, TopicPartition
from broker.transport.reader import RawBatch, RawReader

logger = structlog.get_logger(__name__)

EXPECTED_MAX = 100_000
"""Outcomes that may be expected and not yet asked for; beyond it the oldest is given up. A whole file is published
before its outcomes are asked for, and this is some 100 MB: a producer that never asks must not grow for ever."""

_PAUSE_SECONDS = 0.5


@dataclass(slots=True, kw_only=True)
class _Expected:
    """An outcome that will be asked for."""

    digest: bytes
    outcome: asyncio.Future[Outcome]
    times: int = 0
    """How often the message was published and its outcome not yet told: a repeat is asked about again."""
    waiting: int = 0


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
        self._expected: dict[UUID, _Expected] = {}
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
        expected = self._expected.get(message_id)
        if expected is None:
            self._make_room()
            expected = _Expected(digest=digest, outcome=asyncio.get_running_loop().create_future())
            self._expected[message_id] = expected
        expected.digest = digest
        expected.times += 1
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())

    def _make_room(self) -> None:
        if len(self._expected) >= EXPECTED_MAX:
            oldest = next((one for one, expected in self._expected.items() if not expected.waiting), None)
            if oldest is not None:
                del self._expected[oldest]

    async def wait(self, message_id: UUID, timeout: timedelta) -> Outcome:  # noqa: ASYNC109 - the SDK's own deadline
        """Return the outcome of a message that was published here, once for each time that it was.

        Raises:
            UnavailableError: there is none yet; the message is on its feed all the same.
            KeyError: it was not published here, or was told before, or `EXPECTED_MAX` others were published since.
            Exception: whatever ended the reading of outcomes; none will come any more.
        """
        expected = self._expected[message_id]
        reading = self._reading
        expected.waiting += 1
        try:
            ends: set[asyncio.Future[Any]] = {expected.outcome} if reading is None else {expected.outcome, reading}
            await asyncio.wait(ends, timeout=timeout.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
        finally:
            expected.waiting -= 1
        if expected.outcome.done():
            expected.times -= 1
            if expected.times <= 0:
                self._expected.pop(message_id, None)
            return expected.outcome.result()
        if reading is not None and reading.done():
            reading.result()
        raise UnavailableError(f"no outcome of {message_id} within {timeout}; it is on its feed")

    async def close(self) -> None:
        """Stop reading; whoever still waits is told so. What ended the reading before was told to who waited then."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._reader.close()
        for expected in self._expected.values():
            expected.outcome.cancel()

    async def _read(self) -> None:
        """Read for ever.

        Raises:
            Exception: whatever trying again does not help against; `wait` raises it.
        """
        try:
            await self._read_on()
        except Exception as error:
            fields = error.log_fields() if isinstance(error, NoticewireError) else {"code": type(error).__name__}
            logger.error("Outcomes cannot be read any more", **fields)  # noqa: TRY400 - its text may quote a record
            raise

    async def _read_on(self) -> None:
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
        expected = self._expected.get(outcome.message_id)
        if expected is not None and not expected.outcome.done() and expected.digest == outcome.digest:
            expected.outcome.set_result(outcome)

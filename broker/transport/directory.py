"""Follow the topic `directory`: raw records in, the directory as of its end out, and a verdict on each record.

Anybody may try to write here. A record that cannot be read, that its stated author did not sign, or that its author may
not say has no effect and stops nothing; every reader comes to the same directory.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from broker.clock import from_epoch_ms
from broker.errors import RejectedRecordError
from broker.members.directory import Directory
from broker.members.fold import DirectoryFold, NoEffect
from broker.model.change import DirectoryChange, PublicKey
from broker.model.naming import DIRECTORY
from broker.model.rejection import RejectReason
from broker.schema.codec import Codec
from broker.transport.headers import Headers, mismatch, parse_headers
from broker.transport.kafka import RawClient, TopicPartition
from broker.transport.reader import RawBatch, RawReader, RawRecord
from broker.trust.signing import RecordKind, verify

logger = structlog.get_logger(__name__)

PARTITION = TopicPartition(DIRECTORY, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedChange:
    """One record of the directory's log, and what came of it."""

    offset: int
    appended_at: datetime
    change: DirectoryChange | None
    """None where the record is no change."""
    signed_with: PublicKey | None = None
    """The author's key, if it verifies the signature."""
    no_effect: NoEffect | None = None
    """None: it took effect."""
    detail: str = ""
    """What is wrong with a record that is no change."""


class Follows(Protocol):
    """Where the directory comes from: a `DirectoryFollower`, or what stands in for it in a test."""

    async def at_its_end(self) -> Directory:
        """Return the directory as of now."""
        ...


class DirectoryFollower:
    """The directory, as of the end that its topic has at the moment of asking.

    Args:
        client: a started connection to Kafka.
        codec: decodes the changes.
        root_public: the Secretariat's first key as the settings pin it; without it, the first founding is believed.
    """

    def __init__(self, client: RawClient, codec: Codec, *, root_public: bytes | None = None) -> None:
        self._client = client
        self._codec = codec
        self._root_public = root_public
        self._fold = DirectoryFold(root_public=root_public)
        self._log: list[LoggedChange] = []
        self._asking = asyncio.Lock()
        self._lane = f"directory-{id(self):x}"  # a client may carry several followers

    async def at_its_end(self) -> Directory:
        """Return the directory with every record applied that was on the topic when this was called.

        With nothing new that is one request (0.3 ms). Cheap enough to ask before every decision, which is what makes
        an exclusion by suspension or a new key count at once.

        Raises:
            UnavailableError: the topic is missing, or its leader is away; nothing has moved.
            CorruptHistoryError: offsets of the topic are gone.
        """
        async with self._asking:
            end = await self._client.end_offset(PARTITION)
            if self._position < end:
                await self._read_to(end)
            return self._fold.view()

    def log(self) -> tuple[LoggedChange, ...]:
        """Return every record read so far, in the log's order, with its verdict."""
        return tuple(self._log)

    def as_of(self, offset: int) -> Directory:
        """Return the directory as it was when it held the records before `offset` (of those read so far)."""
        fold = DirectoryFold(root_public=self._root_public)
        for one in self._log:
            if one.offset >= offset:
                break
            if one.change is None:
                fold.pass_over(next_offset=one.offset + 1)
            else:
                fold.apply(one.change, offset=one.offset, appended_at=one.appended_at, signed_with=one.signed_with)
        fold.pass_over(next_offset=min(offset, self._position))
        return fold.view()

    @property
    def _position(self) -> int:
        return self._fold.offset

    async def _read_to(self, end: int) -> None:
        # Uncommitted: a stranger's open transaction holds nobody up, and what is part of one has no effect anyway.
        reader = RawReader(self._client, {PARTITION: self._position}, committed=False, lane=self._lane)
        try:
            while self._position < end:
                for _, batches in await reader.poll():
                    for batch in batches:
                        self._take(batch)
                    reader.advance(PARTITION, self._position)
        finally:
            await reader.close()

    def _take(self, batch: RawBatch) -> None:
        """Judge a batch's records; markers and holes only move the position."""
        if batch.error is not None:
            self._note(
                LoggedChange(
                    offset=max(batch.base_offset, self._position),
                    appended_at=from_epoch_ms(max(batch.max_timestamp_ms, 0)),
                    change=None,
                    no_effect=NoEffect.UNREADABLE,
                    detail=batch.error,
                )
            )
        elif not batch.is_control:
            for record in batch.records:
                if record.offset >= self._position:
                    self._note(self._judged(record, is_transactional=batch.is_transactional))
        self._fold.pass_over(next_offset=batch.next_offset)

    def _judged(self, record: RawRecord, *, is_transactional: bool) -> LoggedChange:
        at = from_epoch_ms(record.timestamp_ms)
        try:
            headers, change = self._read(record, is_transactional=is_transactional)
        except RejectedRecordError as error:
            self._fold.pass_over(next_offset=record.offset + 1)
            return LoggedChange(
                offset=record.offset, appended_at=at, change=None, no_effect=NoEffect.UNREADABLE, detail=error.detail
            )
        key = self._fold.key_for(change, headers.key_id)
        installation = self._fold.signed_in(change)
        if key is not None and not verify(
            key.public, headers.signature, RecordKind.DIRECTORY, installation, record.value or b""
        ):
            key = None
        why = self._fold.apply(change, offset=record.offset, appended_at=at, signed_with=key)
        return LoggedChange(offset=record.offset, appended_at=at, change=change, signed_with=key, no_effect=why)

    def _read(self, record: RawRecord, *, is_transactional: bool) -> tuple[Headers, DirectoryChange]:
        """Return what a record says; no word yet on who said it."""
        if is_transactional:
            raise RejectedRecordError(RejectReason.TRANSACTIONAL, "written in a transaction")
        headers = parse_headers(record.headers)
        change = self._codec.decode(record.value or b"", DirectoryChange)
        wrong = mismatch(headers, change)
        if wrong is not None:
            raise RejectedRecordError(RejectReason.MISPLACED, f"header {wrong} differs from what the value says")
        return headers, change

    def _note(self, one: LoggedChange) -> None:
        self._log.append(one)
        if one.no_effect is not None:
            logger.warning("Directory change without effect", offset=one.offset, reason=one.no_effect.value)

"""The archive's service: every topic of the installation, every offset, into segments and a signed tree.

It has no consumer group: its positions are in its own tree state, and only the process that holds the archive's lock
reads. Whatever contradicts what it has archived stops it, and a person decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from broker.clock import SystemClock
from broker.errors import CorruptHistoryError, StorageError, UnavailableError
from broker.model.naming import ALERTS, CHECKPOINTS, DIRECTORY, FEED_KINDS, REJECTED, SHARDS_TOPIC, Region
from broker.observe.observers import ArchiveObserver
from broker.store.disk import storing
from broker.transport.kafka import TopicPartition
from broker.transport.reader import RawReader
from consumers.audit.archive import Archive, Limits, position_after
from consumers.audit.checkpoint import origin_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from broker.clock import Clock
    from broker.transport.kafka import RawClient
    from broker.transport.publisher import Publisher
    from broker.transport.reader import RawBatch
    from broker.trust.signing import Signer
    from consumers.audit.state import Position

logger = structlog.get_logger(__name__)

_REGIONAL = "|".join((*FEED_KINDS, "ledger", "acks"))
_ARCHIVED = re.compile(
    rf"(?:{_REGIONAL})\.(?:{'|'.join(Region)})|inbox\.[a-z][a-z0-9-]+|{REJECTED}|{DIRECTORY}|{ALERTS}|{SHARDS_TOPIC}"
)
"""Every topic of design section 1 but `checkpoints`, whose records come from the archive. Checked by name, because an
installation without a prefix may share its cluster with others."""

_RETRY_SECONDS = 0.5
_DISK_SECONDS = 2.0
_MISSING_SECONDS = 30.0
"""How long a topic may be missing, or a log end before our position, before it is an incident: a broker that has just
come up may answer from before its latest metadata."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When to commit, and how often to look for new topics."""

    commit_rows: int = 5_000
    commit_bytes: int = 16 * 1024 * 1024
    """With `commit_rows`, bounds what waits in memory."""
    commit_after: timedelta = timedelta(seconds=1)
    """How long a record waits at most; a commit takes some five fsyncs."""
    discover_every: timedelta = timedelta(seconds=3)


def is_archived(topic: str) -> bool:
    """Whether a topic, by its bare name, is one that the archive reads."""
    return _ARCHIVED.fullmatch(topic) is not None


async def archived_partitions(client: RawClient) -> list[TopicPartition]:
    """Return every partition on the cluster that the archive reads.

    Raises:
        UnavailableError: no broker answers.
    """
    topics = sorted(filter(is_archived, await client.topics()))
    await client.warm(topics)
    return [TopicPartition(topic, number) for topic in topics for number in range(await client.partitions(topic))]


class AuditService:
    """Archives until told to stop. One call at a time: `run` or `run_to_end`."""

    def __init__(
        self,
        *,
        client: RawClient,
        archive: Path,
        signer: Signer,
        installation: str,
        publisher: Publisher | None = None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        pace: Pace | None = None,
        observer: ArchiveObserver | None = None,
    ) -> None:
        """Prepare; nothing is opened or read yet.

        Args:
            client: A started connection; stopped by whoever made it.
            archive: The archive's folder.
            signer: Signs as `audit`.
            installation: The id whose records these are.
            publisher: Writes each checkpoint to the topic `checkpoints`; without it, they stay in the archive.
            clock: For the moments of commits.
            limits: When a segment is closed.
            pace: When to commit.
            observer: Is told how it comes on.
        """
        self._client, self._folder, self._signer, self._installation = client, archive, signer, installation
        self._publisher, self._clock, self._limits = publisher, clock or SystemClock(), limits
        self._pace, self._observer = pace or Pace(), observer or ArchiveObserver()
        self._archive: Archive | None = None
        self._unproven: dict[TopicPartition, Position] = {}
        self._unpublished: bytes | None = None
        self._missing: dict[str, float] = {}
        self._known: set[str] = set()
        self.tree_size = 0
        """How many leaves are committed."""
        self.positions: dict[TopicPartition, int] = {}
        """The next offset of each partition; what lies before is archived once the next commit is done."""

    @property
    def archived(self) -> dict[tuple[str, int], int]:
        """How far each partition that is read now is archived, by topic and partition; durable."""
        if self._archive is None:
            return {}
        committed = self._archive.committed
        return {
            (place.topic, place.partition): committed[place].next_offset if place in committed else 0
            for place in self.positions
        }

    async def run(self, stopping: asyncio.Event) -> None:
        """Archive what comes until `stopping` is set; what was read is committed before this returns.

        Raises:
            CorruptHistoryError: Kafka or the archive contradicts what was archived; names the place.
        """
        while not stopping.is_set():
            self._observer.turned()
            try:
                async with self._opened() as archive:
                    await self._archive_until(archive, stopping)
            except StorageError as error:  # what was not committed is read again, once the disk takes it
                logger.error("Archive waits", reason=str(error))  # noqa: TRY400 - its words are enough
                self._observer.unwritable(str(error))
                await _pause(stopping, _DISK_SECONDS)
            except UnavailableError as error:
                logger.warning("Archive waits", reason=str(error))
                await _pause(stopping, _RETRY_SECONDS)

    async def run_to_end(self) -> int:
        """Archive everything that is there now, committed, and return the size of the tree.

        Raises:
            CorruptHistoryError: as `run`.
            StorageError: the archive's disk is full or broken; the same.
            UnavailableError: another process writes the archive, or Kafka is away; what was committed stays.
        """
        async with self._opened() as archive, self._reading(archive) as reader:
            ends = await self._client.end_offsets(reader.positions, committed=True)
            while any(reader.positions[place] < end for place, end in ends.items()):
                await self._poll(archive, reader)
            await self._commit(archive, caught_up=True)
        return self.tree_size

    # ------------------------------------------------------------------------------------------------------ the loop

    async def _archive_until(self, archive: Archive, stopping: asyncio.Event) -> None:
        since: float | None = None
        async with self._reading(archive) as reader:
            looked = time.monotonic()
            while not stopping.is_set():
                self._observer.turned()
                if time.monotonic() - looked > self._pace.discover_every.total_seconds():
                    await self._discover(archive, reader)
                    looked = time.monotonic()
                await self._poll(archive, reader)
                if archive.pending_rows == 0:
                    since = None
                elif since is None:
                    since = time.monotonic()
                elif time.monotonic() - since > self._pace.commit_after.total_seconds():
                    await self._commit(archive, caught_up=_caught_up(reader))
                    since = None
            await self._commit(archive, caught_up=_caught_up(reader))

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[Archive]:
        with storing(self._folder):
            archive = await asyncio.to_thread(
                Archive,
                self._folder,
                installation=self._installation,
                signer=self._signer.private_key,
                clock=self._clock,
                limits=self._limits,
            )
        try:
            self.tree_size, self._unpublished = archive.size, archive.note
            self._archive = archive
            self._observer.opened(archive.size)
            logger.info("Archive opened", leaves=archive.size, partitions=len(archive.committed))
            yield archive
        finally:
            self._archive = None
            archive.close()

    @contextlib.asynccontextmanager
    async def _reading(self, archive: Archive) -> AsyncIterator[RawReader]:
        reader = RawReader(self._client, {}, committed=True, lane="audit", keep_raw=True)
        self._known, self._missing, self._unproven, self.positions = set(), {}, {}, {}
        try:
            await self._discover(archive, reader)
            await self._check_ends(archive)
            yield reader
        finally:
            await reader.close()

    async def _poll(self, archive: Archive, reader: RawReader) -> None:
        for partition, batches in await reader.poll():
            for batch in batches:
                self._take(archive, partition, batch)
                reader.advance(partition, batch.next_offset)
                if archive.pending_rows >= self._pace.commit_rows or archive.pending_bytes >= self._pace.commit_bytes:
                    await self._commit(archive, caught_up=False)
            self.positions[partition] = reader.positions[partition]

    def _take(self, archive: Archive, partition: TopicPartition, batch: RawBatch) -> None:
        known = self._unproven.pop(partition, None)
        if known is None:
            archive.add(partition.topic, partition.partition, batch)
            self._observer.archived(partition.topic.partition(".")[0], batch.next_offset - batch.base_offset)
            return
        if known != position_after(batch):
            raise CorruptHistoryError(
                f"{partition}/{known.last.base_offset}",
                "the log holds another batch here than the one that was archived",
            )

    async def _commit(self, archive: Archive, *, caught_up: bool) -> None:
        """Commit in a thread, and wait for it even when cancelled: the archive must not be closed under it."""
        rows = archive.pending_rows
        committing = asyncio.ensure_future(asyncio.to_thread(archive.commit, caught_up=caught_up))
        try:
            with storing(self._folder):
                note = await asyncio.shield(committing)
        except asyncio.CancelledError:
            await asyncio.wait({committing})
            raise
        if note is not None:
            self.tree_size, self._unpublished = archive.size, note
            self._observer.committed(archive.size)
            self._observer.written()
            logger.info("Archive committed", rows=rows, leaves=archive.size)
        await self._publish()

    async def _publish(self) -> None:
        """Let the newest checkpoint leave the archive; one that could not goes with the next."""
        if self._publisher is None or self._unpublished is None:
            return
        try:
            key = origin_of(self._installation).encode()
            await self._publisher.publish(CHECKPOINTS, key=key, value=self._unpublished, partition=0)
        except UnavailableError as error:
            logger.warning("Checkpoint not published", reason=str(error))
        else:
            self._unpublished = None

    # -------------------------------------------------------------------------------------------------- what to read

    async def _discover(self, archive: Archive, reader: RawReader) -> None:
        """Begin with partitions that are new to this reader, each where it was left."""
        topics = set(filter(is_archived, await self._client.topics()))
        self._note_missing({topic for topic, _ in archive.committed} - topics)
        fresh = sorted(topics - self._known)
        if not fresh:
            return
        await self._client.warm(fresh)
        partitions = [
            TopicPartition(topic, number) for topic in fresh for number in range(await self._client.partitions(topic))
        ]
        starts = await self._client.log_starts(partitions)
        for partition in partitions:
            known = archive.committed.get(partition)
            position = 0 if known is None else known.next_offset
            if starts[partition] > position:
                raise CorruptHistoryError(
                    f"{partition}/{position}", f"the log starts at {starts[partition]}: offsets were never archived"
                )
            if known is not None and starts[partition] <= known.last.base_offset:
                # The last archived batch once more: a log that lost its end and grew again has another one there.
                self._unproven[partition] = known
                position = known.last.base_offset
            reader.assign(partition, position)
            self.positions[partition] = archive.next_offset(*partition)
        self._known.update(fresh)

    def _note_missing(self, topics: set[str]) -> None:
        now = time.monotonic()
        self._missing = {topic: self._missing.get(topic, now) for topic in topics}
        for topic, since in self._missing.items():
            if now - since > _MISSING_SECONDS:
                raise CorruptHistoryError(topic, "the topic was archived, and is not on the cluster any more")

    async def _check_ends(self, archive: Archive) -> None:
        """See that no log ends before what was archived of it."""
        committed = {TopicPartition(*place): known for place, known in archive.committed.items()}
        committed = {place: known for place, known in committed.items() if place.topic in self._known}
        deadline = time.monotonic() + _MISSING_SECONDS
        while short := _short(committed, await self._client.end_offsets(committed) if committed else {}):
            if time.monotonic() > deadline:
                place, end = short
                problem = f"the log ends at {end}, archived up to {committed[place].next_offset}"
                raise CorruptHistoryError(f"{place}/{end}", problem)
            await asyncio.sleep(_RETRY_SECONDS)


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)


def _short(
    committed: Mapping[TopicPartition, Position], ends: Mapping[TopicPartition, int]
) -> tuple[TopicPartition, int] | None:
    return next(((place, end) for place, end in ends.items() if end < committed[place].next_offset), None)


def _caught_up(reader: RawReader) -> bool:
    """Whether everything was read that each partition's last answer said was decided."""
    return all(
        position >= reader.last_stable.get(partition, position + 1) for partition, position in reader.positions.items()
    )

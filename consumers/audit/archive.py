"""The archive on disk: what is committed, and how a commit becomes durable.

    archive/
      lock               held by the one writer
      state.json         the tree state; replacing it is the commit
      segments/<first leaf>.avro      leaves/<first leaf>.leaves
      checkpoints.notes  every signed tree head, oldest first
      checkpoint         the newest, where C2SP's tools look for it

In this order: rows to the segment, leaves to the bundle, tree state, checkpoint. A crash leaves at worst rows and
leaves beyond what the state counts; opening the archive cuts them off, and they are read again from Kafka. A state
without its checkpoint is signed on opening.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from broker.clock import to_epoch_ms
from broker.errors import CorruptHistoryError, UnavailableError
from broker.model.naming import FEED_KINDS
from consumers.audit import checkpoint, segment
from consumers.audit.checkpoint import NoteSigner, TreeHead
from consumers.audit.files import Paths, append_bytes, replace_file, size_of, sync_folder
from consumers.audit.leaf import RowKind
from consumers.audit.merkle import CompactRange
from consumers.audit.recovery import load_state, recover
from consumers.audit.segment import Row
from consumers.audit.state import LastBatch, Position, SegmentState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from broker.clock import Clock
    from broker.transport.reader import RawBatch

SHARED_VALUE_BYTES_MIN = 64
"""Shorter values are kept in every row: the reference would be as long."""


_SHARING = frozenset({*FEED_KINDS, "inbox"})
"""Where the same value is expected again. Everything else is told from its own row alone, ledger entries above all."""


class Step(StrEnum):
    """A point of the commit at which a test may end the process."""

    BEGUN = "begun"
    SEGMENT = "segment"
    LEAVES = "leaves"
    STATE = "state"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class Limits:
    """When a segment is closed, and how many values are remembered as stored."""

    segment_bytes: int = 64 * 1024 * 1024
    segment_rows: int = 100_000
    """Bounds what `verify` holds of one segment in memory."""
    segment_age: timedelta = timedelta(days=1)
    remembered_values: int = 10_000
    """About 3 MB. A value that comes again after so many others, or after a restart, is stored once more."""


def position_after(batch: RawBatch) -> Position:
    """Return the position once a batch is archived, with what the batch is known by again."""
    return Position(
        batch.next_offset,
        LastBatch(
            base_offset=batch.base_offset,
            crc=batch.crc,
            producer_id=batch.producer_id,
            producer_epoch=batch.producer_epoch,
            base_sequence=batch.base_sequence,
        ),
    )


class Archive:
    """The one writer of an archive. After any error it is to be closed and opened anew."""

    def __init__(
        self,
        folder: Path,
        *,
        installation: str,
        signer: NoteSigner,
        clock: Clock,
        limits: Limits | None = None,
        at: Callable[[Step], None] = lambda _: None,
    ) -> None:
        """Open or found an archive, and cut off what was never committed.

        Args:
            folder: Made if missing.
            installation: The id whose records these are; the origin of its checkpoints.
            signer: The archive's Ed25519 key.
            clock: For the moments of commits and the age of segments.
            limits: When to close a segment.
            at: Called at each step of a commit; for tests.

        Raises:
            UnavailableError: another process writes it.
            CorruptHistoryError: files are missing, too short or contradict each other; nothing was changed.
        """
        self._paths = Paths(folder)
        self._signer, self._clock, self._limits, self._at = signer, clock, limits or Limits(), at
        self._origin = checkpoint.origin_of(installation)
        self._paths.segments.mkdir(parents=True, exist_ok=True)
        self._paths.leaves.mkdir(exist_ok=True)
        # Not thread-local: commits run in worker threads, and any thread may close the archive.
        self._lock = FileLock(self._paths.lock, thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UnavailableError(f"{folder} is being written by another process") from None
        try:
            self._state = load_state(self._paths, installation)
            self._tree = CompactRange(self._state.size, self._state.subtrees)
            if recover(self._paths, self._state):
                self._sign()
        except BaseException:
            self._lock.release()
            raise
        self._rows: list[Row] = []
        self._entries: list[bytes] = []
        self._bytes = 0
        self._positions: dict[tuple[str, int], Position] = {}
        self._stored: OrderedDict[bytes, int] = OrderedDict()

    # ------------------------------------------------------------------------------------------------------ reading

    @property
    def size(self) -> int:
        """How many leaves are committed."""
        return self._state.size

    @property
    def pending_rows(self) -> int:
        """How many rows wait for the next commit."""
        return len(self._rows)

    @property
    def pending_bytes(self) -> int:
        """About how many bytes they hold."""
        return self._bytes

    @property
    def committed(self) -> dict[tuple[str, int], Position]:
        """How far each partition is archived, by bare topic and partition; durable."""
        return self._state.positions

    @property
    def note(self) -> bytes | None:
        """The newest checkpoint, or None while nothing is committed."""
        return self._paths.checkpoint.read_bytes() if self._state.size else None

    def next_offset(self, topic: str, partition: int) -> int:
        """Return where to read on, pending rows included."""
        place = (topic, partition)
        position = self._positions.get(place) or self._state.positions.get(place)
        return position.next_offset if position else 0

    # ------------------------------------------------------------------------------------------------------ writing

    def add(self, topic: str, partition: int, batch: RawBatch) -> None:
        """Take a batch, to be durable with the next commit.

        Raises:
            CorruptHistoryError: it does not begin where the one before it ended.
        """
        expected = self.next_offset(topic, partition)
        if batch.base_offset != expected:
            raise CorruptHistoryError(
                f"{topic}/{partition}/{expected}", f"the next batch begins at offset {batch.base_offset}"
            )
        for row in segment.rows_of(topic, partition, batch):
            entry = segment.leaf_of(row)
            self._bytes += len(entry) + len(row["headers"]) + self._share(row, self._tree.size)
            self._tree.append(entry)
            self._rows.append(row)
            self._entries.append(entry)
        self._positions[topic, partition] = position_after(batch)

    def _share(self, row: Row, leaf: int) -> int:
        """Refer to a value that is stored already; return how many bytes the row holds itself."""
        value, digest = row["value"], row["value_sha256"]
        if value is None or digest is None:
            return 0
        shares = row["kind"] == RowKind.RECORD and row["topic"].partition(".")[0] in _SHARING
        if not shares or len(value) < SHARED_VALUE_BYTES_MIN:
            return len(value)
        stored = self._stored.get(digest)
        if stored is not None:
            row["value"], row["value_leaf"] = None, stored
            self._stored.move_to_end(digest)
            return 0
        self._stored[digest] = leaf
        if len(self._stored) > self._limits.remembered_values:
            self._stored.popitem(last=False)
        return len(value)

    def commit(self, *, caught_up: bool = False) -> bytes | None:
        """Make what was added durable, and sign the tree.

        Args:
            caught_up: Whether with this the archive holds everything that there was when it was last asked.

        Returns:
            The signed checkpoint; or None, where nothing was added. All of it is durable.
        """
        if not self._rows:
            return None
        self._at(Step.BEGUN)
        now = to_epoch_ms(self._clock.now())
        first, kept = self._segment_to_grow(now)
        path, bundle = self._paths.segment(first.first_leaf), self._paths.bundle(first.first_leaf)
        segment_bytes = segment.append_rows(path, self._rows)
        self._at(Step.SEGMENT)
        bundle_bytes = segment.append_entries(bundle, self._entries)
        if first.leaves == 0:
            sync_folder(self._paths.segments)
            sync_folder(self._paths.leaves)
        self._at(Step.LEAVES)
        grown = replace(
            first, leaves=first.leaves + len(self._rows), segment_bytes=segment_bytes, bundle_bytes=bundle_bytes
        )
        state = replace(
            self._state,
            size=self._tree.size,
            root=self._tree.root(),
            subtrees=self._tree.roots,
            segments=(*kept, grown),
            positions=self._state.positions | self._positions,
            checkpoints_bytes=size_of(self._paths.checkpoints),
            committed_at_ms=now,
            caught_up_at_ms=now if caught_up else self._state.caught_up_at_ms,
        )
        replace_file(self._paths.state, state.to_json())
        self._state = state
        self._rows, self._entries, self._bytes, self._positions = [], [], 0, {}
        self._at(Step.STATE)
        note = self._sign()
        self._at(Step.CHECKPOINT)
        return note

    def _segment_to_grow(self, now: int) -> tuple[SegmentState, tuple[SegmentState, ...]]:
        """Return the open segment, or a new one, and the closed ones before it."""
        segments = self._state.segments
        if segments:
            last = segments[-1]
            age = timedelta(milliseconds=now - last.opened_at_ms)
            if (
                last.segment_bytes < self._limits.segment_bytes
                and last.leaves + len(self._rows) <= self._limits.segment_rows
                and age < self._limits.segment_age
            ):
                return last, segments[:-1]
        return SegmentState(self._state.size, 0, 0, 0, now), segments

    def _sign(self) -> bytes:
        head = TreeHead(self._origin, self._state.size, self._state.root)
        note = checkpoint.sign(head, self._signer)
        append_bytes(self._paths.checkpoints, note)
        replace_file(self._paths.checkpoint, note)
        return note

    def close(self) -> None:
        """Let go of the archive; what was added and not committed is forgotten."""
        self._lock.release()

"""Check an archive from its files alone: rows, leaves, tree, signatures, offsets, and the router's account.

Nothing that the archive says of itself is believed. Every leaf is computed anew from its row, the root from the leaves;
only the signature under a checkpoint is trusted, and so the key that it is checked with.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from consumers.audit import checkpoint
from consumers.audit.account import Account
from consumers.audit.align import Alignment
from consumers.audit.checkpoint import BadNoteError, TreeHead
from consumers.audit.files import Paths, size_of
from consumers.audit.leaf import Leaf, RowKind
from consumers.audit.merkle import CompactRange, leaf_hash
from consumers.audit.report import Finding, Report
from consumers.audit.segment import HERE, read_entries, read_rows
from consumers.audit.state import TreeState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from broker.schema.codec import Codec
    from consumers.audit.segment import Row
    from consumers.audit.state import SegmentState

SETTLE = timedelta(seconds=60)
"""How old a feed record must be, when the archive was last caught up, for its entry and deliveries to be missed."""

PATIENCE = timedelta(seconds=2)
"""How long a checkpoint may follow its tree state, in a service that is running."""


@dataclass(slots=True)
class LeafIndex:
    """The hash of each leaf by partition and offset, to hold the live topics against: 40 bytes a leaf."""

    hashes: dict[tuple[str, int], dict[int, bytes]] = field(default_factory=lambda: defaultdict(dict))


class Verification:
    """One pass over an archive; `run` once."""

    def __init__(
        self,
        folder: Path,
        *,
        public: bytes,
        codec: Codec,
        published: Sequence[tuple[str, bytes]] = (),
        settled_ms: int | None = None,
        index: LeafIndex | None = None,
        patience: timedelta = PATIENCE,
    ) -> None:
        """Prepare to check an archive, which a service may go on writing meanwhile.

        Args:
            folder: The archive's.
            public: The audit key's 32 public bytes, from somewhere other than the archive.
            codec: To read ledger entries and what the broker says.
            published: Checkpoints that left the archive (the topic `checkpoints`, a witness), each with its place;
                they must have been read before this begins. They reveal an archive that was set back as a whole.
            settled_ms: What was appended before this and is not entered is missing; None: a minute before the archive
                was last caught up.
            index: Filled with the leaves, where the live topics are to be compared next.
            patience: How long to wait for the newest checkpoint.
        """
        self._paths, self._public, self._published = Paths(folder), public, published
        self._settled_ms, self._index, self._patience = settled_ms, index, patience
        self._account = Account(codec)
        self.report = Report()
        self.state: TreeState | None = None
        self._tree = CompactRange()
        self._roots: dict[int, bytes] = {}
        self._places: dict[int, str] = {}
        self.ends: dict[tuple[str, int], int] = {}
        """How far each partition is archived, by its leaves."""
        self._values: dict[int, bytes] = {}
        """Digest of each value that a row holds itself, by leaf: what later rows may refer to."""
        self._broken_offsets: list[Finding] = []
        self._broken_values: list[Finding] = []

    def run(self) -> Report:
        """Check everything; findings are in the report, nothing is raised for what the archive holds."""
        report, paths = self.report, self._paths
        before = self._read_notes()
        try:
            state = self.state = TreeState.from_json(paths.state.read_bytes())
        except (OSError, ValueError) as error:
            report.add(paths.state, f"the tree state cannot be read: {error}")
            return report
        heads = self._heads(self._await_checkpoint(state.size), state)
        self._check_cut_off(before, state)
        wanted = {head.size for _, head in heads} | {state.size}
        report.counts.checkpoints = len(heads)
        expected = 0
        for known in state.segments:
            if known.first_leaf != expected:
                report.add(paths.segment(known.first_leaf), f"should begin with leaf {expected}")
            self._check_segment(known, wanted)
            expected = known.next_leaf
        if expected != state.size:
            report.add(paths.state, f"counts {state.size} leaves, its segments {expected}")
        report.add_many(self._broken_offsets, "offsets that do not follow each other")
        report.add_many(self._broken_values, "values that are not where a row says")
        report.counts.partitions = len(self.ends)
        self._check_tree(heads, state)
        self._check_positions(state)
        settled = self._settled_ms
        if settled is None:
            settled = state.caught_up_at_ms - SETTLE // timedelta(milliseconds=1)
        self._account.settle(report, ends=self.ends, settled_ms=settled)
        return report

    # -------------------------------------------------------------------------------------------------- checkpoints

    def _read_notes(self) -> list[bytes]:
        path = self._paths.checkpoints
        return checkpoint.split(path.read_bytes())[0] if path.exists() else []

    def _await_checkpoint(self, size: int) -> list[bytes]:
        """Return the notes once they reach the tree state: a running service signs it a moment later."""
        deadline = time.monotonic() + self._patience.total_seconds()
        while True:
            notes = self._read_notes()
            if not size or any(_size_of(note) >= size for note in notes) or time.monotonic() > deadline:
                return notes
            time.sleep(0.05)

    def _heads(self, notes: list[bytes], state: TreeState) -> list[tuple[str, TreeHead]]:
        """Check every signature; return the tree heads within this state, smallest first."""
        place = self._paths.checkpoints
        own = self._signed([(f"{place} note {number}", note) for number, note in enumerate(notes)], state)
        if state.size and all(head.size != state.size for _, head in own):
            self.report.add(place, f"no valid checkpoint signs the tree of {state.size} leaves")
        if state.size:
            newest = self._paths.checkpoint
            self._signed([(str(newest), newest.read_bytes() if newest.exists() else b"")], state)
        others = self._signed(self._published, state)
        for kept_at, head in others:
            if head.size > state.size:
                self._add_cut_off(kept_at, head.size, state)
        # What was signed after the state was read belongs to the next verification.
        return sorted((one for one in (*own, *others) if one[1].size <= state.size), key=lambda one: one[1].size)

    def _signed(self, notes: Sequence[tuple[str, bytes]], state: TreeState) -> list[tuple[str, TreeHead]]:
        heads = []
        for place, note in notes:
            try:
                origin = checkpoint.origin_of(state.installation)
                heads.append((place, checkpoint.verify(note, origin=origin, public=self._public)))
            except BadNoteError as error:
                self.report.add(place, str(error))
        return heads

    def _add_cut_off(self, place: str, size: int, state: TreeState) -> None:
        self.report.add(place, f"signed {size} leaves, the archive holds {state.size}: its end is cut off")

    def _check_cut_off(self, before: list[bytes], state: TreeState) -> None:
        """What was signed before the state was read cannot be more than the state holds."""
        for number, note in enumerate(before):
            if _size_of(note) > state.size:
                self._add_cut_off(f"{self._paths.checkpoints} note {number}", _size_of(note), state)
        if size_of(self._paths.checkpoints) < state.checkpoints_bytes:
            self.report.add(self._paths.checkpoints, "is shorter than it was: checkpoints are missing")

    def _check_tree(self, heads: list[tuple[str, TreeHead]], state: TreeState) -> None:
        """Hold each signed root against the leaves; name the stretch between the last good one and the first bad."""
        good, wrong = 0, 0
        for place, head in heads:
            if head.size in self._roots and self._roots[head.size] == head.root:
                good = head.size if not wrong else good
                continue
            wrong += 1
            if wrong == 1:
                first, last = self._places.get(good, "the end"), self._places.get(head.size - 1, "the end")
                stretch = f"leaves {good} to {head.size - 1} ({first} to {last})"
                self.report.add(place, f"signed another root: one of {stretch} is not what it was")
        if wrong > 1:
            self.report.add(self._paths.checkpoints, f"{wrong - 1} later checkpoints signed another root, too")
        if self._tree.root() != state.root:
            self.report.add(self._paths.state, "its root is not that of the leaves")
        if self._tree.roots != state.subtrees:
            self.report.add(self._paths.state, "its subtrees are not those of the leaves")

    # ----------------------------------------------------------------------------------------------------- segments

    def _check_segment(self, known: SegmentState, wanted: set[int]) -> None:
        report, path, bundle = self.report, self._paths.segment(known.first_leaf), self._paths.bundle(known.first_leaf)
        report.counts.segments += 1
        entries, surplus = read_entries(self._committed(bundle, known.bundle_bytes))
        if len(entries) != known.leaves or surplus:
            report.add(bundle, f"holds {len(entries)} whole leaves, {known.leaves} were committed")
        alignment = Alignment(path.name, entries, known.first_leaf)
        data = self._committed(path, known.segment_bytes)
        for number, row in alignment.intact(read_rows(data) if data else ()):
            self._take(number, row)
        for cause, found in alignment.findings():
            report.add_many(found, cause)
        for number, entry in enumerate(entries, known.first_leaf):
            self._take_leaf(number, entry, wanted)

    def _committed(self, path: Path, length: int) -> bytes:
        """Return the committed part of a file; what lies beyond it never counted."""
        try:
            with path.open("rb") as file:
                data = file.read(length)
        except OSError as error:
            self.report.add(path, f"cannot be read: {error.strerror}")
            return b""
        if len(data) < length:
            self.report.add(path, f"ends after {len(data)} bytes, {length} were committed: its end is cut off")
        return data

    def _take(self, number: int, row: Row) -> None:
        """Take an intact row into the account, and see that a value it refers to is where it says."""
        counts, kind, digest = self.report.counts, row["kind"], row["value_sha256"]
        counts.records += kind == RowKind.RECORD
        counts.markers += kind == RowKind.MARKER
        counts.aborted_batches += kind == RowKind.ABORTED
        counts.undecodable_batches += kind == RowKind.UNDECODABLE
        if row["value"] is not None and digest is not None:
            self._values[number] = digest
        elif digest is not None and kind != RowKind.ABORTED:
            stored = row["value_leaf"]
            if stored == HERE or self._values.get(stored) != digest:
                place = f"{row['topic']}/{row['partition']}/{row['offset']}"
                self._broken_values.append(Finding(place, f"its value is not stored with leaf {stored}, as it says"))
        self._account.take(row)

    def _take_leaf(self, number: int, entry: bytes, wanted: set[int]) -> None:
        """Grow the tree by a leaf, and see that its partition goes on where it ended."""
        top = leaf_hash(entry)
        self._tree.append_hash(top)
        self.report.counts.leaves += 1
        if self._tree.size in wanted:
            self._roots[self._tree.size] = self._tree.root()
        try:
            leaf = Leaf.parse(entry)
        except ValueError as error:
            self.report.add(f"leaf {number}", str(error))
            return
        place = leaf.place
        if number in wanted or number + 1 in wanted or number == 0:
            self._places[number] = str(place)
        expected = self.ends.get(place[:2], 0)
        if place.offset != expected or leaf.next_offset <= place.offset:
            came = f"comes where offset {expected} is due" if place.offset != expected else "covers no offset"
            self._broken_offsets.append(Finding(str(place), came))
        self.ends[place[:2]] = max(expected, leaf.next_offset)
        if self._index is not None:
            self._index.hashes[place[:2]][place.offset] = top

    def _check_positions(self, state: TreeState) -> None:
        for place in sorted({*self.ends, *state.positions}):
            position = state.positions.get(place)
            said, found = position.next_offset if position else 0, self.ends.get(place, 0)
            if said != found:
                where = f"{place[0]}/{place[1]}/{min(said, found)}"
                self.report.add(where, f"the tree state says archived up to {said}, the leaves up to {found}")


def verify(
    folder: Path,
    *,
    public: bytes,
    codec: Codec,
    published: Sequence[tuple[str, bytes]] = (),
    settled_ms: int | None = None,
    patience: timedelta = PATIENCE,
) -> Report:
    """Check an archive from its files; see `Verification`."""
    return Verification(
        folder, public=public, codec=codec, published=published, settled_ms=settled_ms, patience=patience
    ).run()


def rows(folder: Path) -> Iterator[tuple[int, Row]]:
    """Yield the committed rows of an archive with their leaves' numbers, in order; unchecked.

    Raises:
        OSError: a file is missing.
        ValueError: the tree state or a segment cannot be read.
    """
    paths = Paths(folder)
    for known in TreeState.from_json(paths.state.read_bytes()).segments:
        with paths.segment(known.first_leaf).open("rb") as file:
            data = file.read(known.segment_bytes)
        number = known.first_leaf
        for block in read_rows(data):
            if not isinstance(block, list):
                msg = f"{paths.segment(known.first_leaf)}: {block.problem}; run audit verify"
                raise ValueError(msg)  # noqa: TRY004 - the file's content is wrong, not an argument's type
            for row in block:
                yield number, row
                number += 1


def _size_of(note: bytes) -> int:
    try:
        return checkpoint.parse(note).size
    except BadNoteError:
        return -1

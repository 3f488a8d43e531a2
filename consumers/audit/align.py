"""One segment against its bundle of leaves: which rows are intact, changed, missing, doubled, out of order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consumers.audit.leaf import Leaf, Place
from consumers.audit.report import Finding
from consumers.audit.segment import Damage, Row, leaf_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(slots=True)
class Alignment:
    """Goes through a segment's rows once; holds its leaves and, only where something is wrong, an index of them."""

    name: str
    """The segment's file, for damage that no record can be named for."""
    entries: list[bytes]
    first_leaf: int
    damaged: list[Finding] = field(default_factory=list)
    changed: list[Finding] = field(default_factory=list)
    missing: list[Finding] = field(default_factory=list)
    surplus: list[Finding] = field(default_factory=list)
    disordered: list[Finding] = field(default_factory=list)
    _by_entry: dict[bytes, int] | None = None
    _by_place: dict[Place, int] = field(default_factory=dict)

    def intact(self, blocks: Iterable[list[Row] | Damage]) -> Iterator[tuple[int, Row]]:
        """Yield each row that hashes to a leaf of this segment, with the leaf's number; note everything else."""
        order: list[tuple[int, int, Place]] = []
        seen = bytearray(len(self.entries))
        rows = 0
        for block in blocks:
            if isinstance(block, Damage):
                self.damaged.append(Finding(self.name, f"byte {block.at_byte}: {block.problem}"))
                continue
            for row in block:
                at = self._find(row, rows, seen)
                rows += 1
                if at is None:
                    continue
                if at != rows - 1:
                    order.append((at, rows - 1, place_of(row)))
                yield self.first_leaf + at, row
        self._note_missing(seen)
        # Where nothing is missing or doubled, exactly the rows that changed places are not where their leaf is.
        # Otherwise rows have moved up or down, and what counts is whether they still follow each other.
        highest = -1
        whole = rows == len(self.entries) and not (self.damaged or self.missing or self.surplus)
        for at, number, place in order:
            if whole or at < highest:
                problem = f"is row {number} of {self.name}, and its leaf says row {at}: swapped or moved"
                self.disordered.append(Finding(str(place), problem))
            highest = max(highest, at)

    def findings(self) -> Iterator[tuple[str, list[Finding]]]:
        """Yield what was noted, by cause."""
        yield "damaged", self.damaged
        yield "rows that do not hash to their leaves", self.changed
        yield "rows missing from their segment", self.missing
        yield "rows without a leaf", self.surplus
        yield "rows out of order", self.disordered

    def _find(self, row: Row, number: int, seen: bytearray) -> int | None:
        """Return the number of the leaf that a row hashes to, or note why there is none."""
        try:
            entry = leaf_of(row)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            self.changed.append(Finding(f"{self.name} row {number}", f"is no row ({type(error).__name__})"))
            return None
        except Exception as error:  # noqa: BLE001 - struct.error, for numbers that no log can hold
            self.changed.append(Finding(str(place_of(row)), f"is no row ({type(error).__name__})"))
            return None
        if number < len(self.entries) and entry == self.entries[number] and not seen[number]:
            seen[number] = 1
            return self._check_value(row, number)
        at = self._index().get(entry)
        if at is not None and not seen[at]:
            seen[at] = 1
            return self._check_value(row, at)
        place = place_of(row)
        if at is not None:
            self.surplus.append(Finding(str(place), f"is in {self.name} twice"))
            return None
        at = self._by_place.get(place)
        if at is None and number < len(self.entries) and not _parsable(self.entries[number]):
            seen[number] = 1
            self.changed.append(Finding(str(place), f"its leaf {self.first_leaf + number} cannot be read"))
            return None
        if at is None or seen[at]:
            self.surplus.append(Finding(str(place), f"is in {self.name}, and no leaf accounts for it"))
            return None
        seen[at] = 1
        parts = " and ".join(Leaf.parse(self.entries[at]).differences(Leaf.parse(entry)))
        self.changed.append(
            Finding(str(place), f"the row in {self.name} and leaf {self.first_leaf + at} differ: {parts}")
        )
        return None

    def _check_value(self, row: Row, at: int) -> int | None:
        """A row's own digest of its value is redundant, yet one that lies would mislead whoever reads the segment."""
        leaf = Leaf.parse(self.entries[at])
        if row["value_sha256"] != leaf.value:
            self.changed.append(Finding(str(leaf.place), f"the row in {self.name} states another digest of its value"))
            return None
        return at

    def _index(self) -> dict[bytes, int]:
        if self._by_entry is None:
            self._by_entry = {}
            for at, entry in enumerate(self.entries):
                self._by_entry.setdefault(entry, at)
                if _parsable(entry):
                    self._by_place.setdefault(Leaf.parse(entry).place, at)
        return self._by_entry

    def _note_missing(self, seen: bytearray) -> None:
        for at, found in enumerate(seen):
            if not found:
                entry = self.entries[at]
                place = str(Leaf.parse(entry).place) if _parsable(entry) else f"leaf {self.first_leaf + at}"
                self.missing.append(Finding(place, f"has leaf {self.first_leaf + at}, but no row in {self.name}"))


def place_of(row: Row) -> Place:
    """Return where a row was on the log."""
    return Place(row["topic"], row["partition"], row["offset"])


def _parsable(entry: bytes) -> bool:
    try:
        Leaf.parse(entry)
    except ValueError:
        return False
    return True

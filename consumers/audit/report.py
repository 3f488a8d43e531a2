"""What a verification says: what it looked at, what is wrong, and where."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

FINDINGS_PER_CAUSE_MAX = 50
"""A segment that is gone would otherwise name each of its 100,000 records; the first ones and a count say as much."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that an intact history does not show."""

    place: str
    """A record (`notices.africa/1/42`), or a file of the archive."""
    problem: str


@dataclass(slots=True)
class Counts:
    """What was looked at."""

    leaves: int = 0
    records: int = 0
    markers: int = 0
    aborted_batches: int = 0
    undecodable_batches: int = 0
    partitions: int = 0
    segments: int = 0
    checkpoints: int = 0
    ledger_entries: int = 0
    deliveries: int = 0
    """Copies in inboxes held against their feed record and its ledger entry."""
    compared_live: int = 0
    """Rows that were read again from Kafka."""


@dataclass(slots=True)
class Report:
    """The result of one verification."""

    counts: Counts = field(default_factory=Counts)
    findings: list[Finding] = field(default_factory=list)
    unsettled: int = 0
    """Ledger entries and deliveries that are too young, or not archived yet, to be missed."""
    behind: int | None = None
    """Offsets on the cluster that are not archived yet; None where no cluster was asked."""

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def add(self, place: object, problem: str) -> None:
        """Enter a finding."""
        self.findings.append(Finding(str(place), problem))

    def add_many(self, found: list[Finding], cause: str) -> None:
        """Enter findings of one cause, the first ones by name and the rest as a number."""
        self.findings += found[:FINDINGS_PER_CAUSE_MAX]
        rest = found[FINDINGS_PER_CAUSE_MAX:]
        if rest:
            self.add(f"{rest[0].place} to {rest[-1].place}", f"{len(rest)} more: {cause}")

    def to_json(self) -> dict[str, Any]:
        """Return it for a program to read."""
        return {"holds": self.holds, **asdict(self)}

"""The tree state: how far the archive is. Replacing this one file is the commit."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Self

FORMAT = 1


@dataclass(frozen=True, slots=True)
class LastBatch:
    """The batch before a position: compared on resuming, because a log that was cut and grew again looks alike."""

    base_offset: int
    crc: int
    producer_id: int
    producer_epoch: int
    base_sequence: int


@dataclass(frozen=True, slots=True)
class Position:
    """How far a partition is archived."""

    next_offset: int
    last: LastBatch


@dataclass(frozen=True, slots=True)
class SegmentState:
    """One segment and its leaf bundle, as committed; what lies beyond these lengths was never committed."""

    first_leaf: int
    leaves: int
    segment_bytes: int
    bundle_bytes: int
    opened_at_ms: int

    @property
    def next_leaf(self) -> int:
        """The first leaf of the segment after it."""
        return self.first_leaf + self.leaves


@dataclass(frozen=True, slots=True)
class TreeState:
    """All that is needed to go on: the tree, the files, the positions."""

    installation: str
    size: int = 0
    root: bytes = b""
    subtrees: tuple[bytes, ...] = ()
    segments: tuple[SegmentState, ...] = ()
    positions: dict[tuple[str, int], Position] = field(default_factory=dict)
    checkpoints_bytes: int = 0
    """How long the file of checkpoints was before this commit added its own."""
    committed_at_ms: int = 0
    caught_up_at_ms: int = 0
    """When the archive last held everything that there was; 0 if never."""

    def to_json(self) -> bytes:
        """Write it."""
        data: dict[str, Any] = {
            "format": FORMAT,
            "installation": self.installation,
            "size": self.size,
            "root": self.root.hex(),
            "subtrees": [root.hex() for root in self.subtrees],
            "segments": [asdict(segment) for segment in self.segments],
            "positions": [
                [topic, partition, position.next_offset, *asdict(position.last).values()]
                for (topic, partition), position in sorted(self.positions.items())
            ],
            "checkpoints_bytes": self.checkpoints_bytes,
            "committed_at_ms": self.committed_at_ms,
            "caught_up_at_ms": self.caught_up_at_ms,
        }
        return json.dumps(data, indent=None, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read it.

        Raises:
            ValueError: it is not a tree state of this format.
        """
        try:
            fields = json.loads(data)
            if (written := fields.pop("format")) != FORMAT:
                msg = f"is of a newer Noticewire (format {written}); start that one"
                raise ValueError(msg)
            return cls(
                **fields
                | {
                    "root": bytes.fromhex(fields["root"]),
                    "subtrees": tuple(bytes.fromhex(root) for root in fields["subtrees"]),
                    "segments": tuple(SegmentState(**segment) for segment in fields["segments"]),
                    "positions": {
                        (topic, partition): Position(next_offset, LastBatch(*last))
                        for topic, partition, next_offset, *last in fields["positions"]
                    },
                }
            )
        except (KeyError, TypeError, AttributeError) as error:
            msg = f"is no tree state: {error!r}"
            raise ValueError(msg) from error

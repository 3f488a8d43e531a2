"""The archive as a story: what was written when, by time, region, notice, bureau and topic."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from broker.clock import from_epoch_ms, to_epoch_ms
from broker.errors import CorruptHistoryError, NoticewireError
from broker.model.change import DirectoryChange
from broker.model.command import Command
from broker.model.ledger import LedgerEntry
from broker.model.message import Message
from broker.model.outcome import NoticeOfEnd, Outcome
from broker.model.receipt import Receipts
from broker.model.rejection import Rejection
from consumers.audit.align import place_of
from consumers.audit.leaf import Place, RowKind
from consumers.audit.segment import HERE
from consumers.audit.verify import rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from broker.model.base import Model
    from broker.schema.codec import Codec
    from consumers.audit.segment import Row

_REMEMBERED_BYTES = 64 * 1024 * 1024
"""Values that later rows may refer to; one that is older is looked up in its segment again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to replay; each absent part matches everything."""

    since: datetime | None = None
    """Appended at or after this."""
    until: datetime | None = None
    """Appended before this."""
    region: str | None = None
    """Regional topics only, of this region."""
    notice: str | None = None
    """Records whose key is this number: messages, deliveries, ledger entries, commands."""
    bureau: str | None = None
    """What lies in this bureau's inbox, and the receipts and changes that it wrote."""
    topic: str | None = None

    def matches(self, row: Row) -> bool:
        """Whether a row is one of them."""
        topic, key = row["topic"], row["key"]
        return (
            (self.since is None or row["timestamp_ms"] >= to_epoch_ms(self.since))
            and (self.until is None or row["timestamp_ms"] < to_epoch_ms(self.until))
            and (self.topic is None or topic == self.topic)
            and (self.region is None or topic.partition(".")[2] == self.region)
            and (self.notice is None or key == self.notice.encode())
            and (self.bureau is None or topic == f"inbox.{self.bureau}" or key == self.bureau.encode())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One row, in words that hold no personal data; the value itself only where it was asked for."""

    place: Place
    leaf: int
    at: datetime
    kind: str
    what: str
    """`record` rows: what the value is, and for a message its event and revision."""
    number: str | None
    value: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it for a program to read."""
        shown = {
            "place": str(self.place),
            "leaf": self.leaf,
            "at": self.at.isoformat(),
            "kind": self.kind,
            "what": self.what,
            "number": self.number,
        }
        return shown if self.value is None else shown | {"value": self.value}


def replay(folder: Path, wanted: Wanted, *, codec: Codec, with_values: bool = False) -> Iterator[Replayed]:
    """Yield the archived rows that match, in the archive's order: each partition's is the log's.

    Args:
        folder: The archive's.
        wanted: Which rows.
        codec: Reads the values.
        with_values: Also yield each value, decoded. It may hold personal data.

    Raises:
        CorruptHistoryError: the archive cannot be read there; `audit verify` says more.
    """
    values = _Values(folder)
    try:
        for leaf, row in rows(folder):
            values.remember(leaf, row)
            if wanted.matches(row):
                yield _replayed(leaf, row, values.of(row), codec=codec, with_values=with_values)
    except (OSError, ValueError) as error:
        raise CorruptHistoryError(str(folder), str(error)) from error


def _replayed(leaf: int, row: Row, value: bytes | None, *, codec: Codec, with_values: bool) -> Replayed:
    what, number = row["kind"], None
    model: Model | None = None
    if row["kind"] == RowKind.RECORD:
        try:
            model = codec.decode(value or b"")
        except NoticewireError:
            what = "no value" if value is None else "undecodable value"
        else:
            what, number = describe(model)
    return Replayed(
        place=place_of(row),
        leaf=leaf,
        at=from_epoch_ms(row["timestamp_ms"]),
        kind=row["kind"],
        what=what,
        number=number,
        value=model.model_dump(mode="json") if with_values and model is not None else None,
    )


def describe(model: Model) -> tuple[str, str | None]:
    """Return what a value is, in codes only, and the notice number that it is about."""
    match model:
        case Message():
            return f"{type(model).__name__.lower()} {model.event}, revision {model.revision}", model.number
        case LedgerEntry():
            reason = f" ({model.reason})" if model.reason else ""
            return f"ledger entry {model.kind} of {model.origin}{reason}", model.number
        case Outcome():
            return f"outcome {model.verdict} of {model.origin} for {model.bureau}", model.number
        case NoticeOfEnd():
            return f"notice of end, {model.event}, for {model.bureau}", model.number
        case Receipts():
            return f"{len(model.receipts)} receipts of {model.bureau}", None
        case Rejection():
            return f"rejection of {model.origin}: {model.reason}", None
        case DirectoryChange():
            return f"directory change {model.kind} of {model.code} by {model.author}", None
        case Command():
            return f"command {model.kind} by {model.asked_by}", model.number
        case _:
            return type(model).__name__, None


class _Values:
    """Values that rows refer to: the newest ones remembered, older ones read again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0

    def remember(self, leaf: int, row: Row) -> None:
        """Keep a value that later rows may refer to."""
        value = row["value"]
        if value is None or row["kind"] != RowKind.RECORD:
            return
        self._held[leaf] = value
        self._bytes += len(value)
        while self._bytes > _REMEMBERED_BYTES:
            self._bytes -= len(self._held.popitem(last=False)[1])

    def of(self, row: Row) -> bytes | None:
        """Return a row's value, wherever it is stored."""
        stored = row["value_leaf"]
        if row["value"] is not None or stored == HERE:
            return row["value"]
        if stored not in self._held:
            found = next((other for leaf, other in rows(self._folder) if leaf == stored), None)
            if found is None or found["value"] is None:
                raise CorruptHistoryError(str(place_of(row)), f"its value is not stored with leaf {stored}, as it says")
            self.remember(stored, found)
            return found["value"]
        return self._held[stored]

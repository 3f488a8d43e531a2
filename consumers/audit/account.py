"""The router's account held against what the archive holds: feeds, ledgers, inboxes.

Every offset of a feed is covered by exactly one ledger entry, in feed order; every bureau that an entry names was given
exactly one record, and it holds the same bytes, or says the same in an older version of the format where the entry
names that; no inbox holds anything else. Rows may come in any order between partitions, because the archive reads them
as they come.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from broker.clock import to_epoch_ms
from broker.errors import InvalidFieldError, NoticewireError
from broker.model.base import Model
from broker.model.diffusion import Diffusion
from broker.model.ledger import EntryKind, LedgerEntry
from broker.model.naming import FEED_KINDS, Origin, Region, bureaus_of, feeds
from broker.model.notice import Notice
from broker.model.outcome import NoticeOfEnd, Outcome
from broker.transport.headers import ORIGIN
from consumers.audit.align import place_of
from consumers.audit.leaf import Place, RowKind, decode_headers
from consumers.audit.report import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from broker.schema.codec import Codec
    from consumers.audit.report import Report
    from consumers.audit.segment import Row

_NO_VALUE = sha256(b"").digest()
"""What the ledger enters as the digest of a record without a value."""

_REGIONS = frozenset(str(region) for region in Region)
_ORIGIN_HEADER = ORIGIN.encode()


class _Entered(NamedTuple):
    """What a ledger entry says, and where it stands."""

    at: Place
    entry: LedgerEntry


class _Given(NamedTuple):
    """A record in an inbox that came from a feed record."""

    at: Place
    bureau: str
    kind: type[Model] | None
    """`NoticeOfEnd` or `Outcome`; None for the issuer's message itself."""
    digest: bytes
    """Of the value; of what the broker makes, the digest that it states of the issuer's message."""


@dataclass(slots=True)
class Account:
    """Gathers rows, about 500 bytes of memory for a feed record and each of its deliveries, and then compares."""

    codec: Codec
    _feeds: dict[tuple[str, int], dict[int, bytes]] = field(default_factory=lambda: defaultdict(dict))
    """Digest of each feed record's value, by partition and offset."""
    _entries: dict[tuple[str, int], list[_Entered]] = field(default_factory=lambda: defaultdict(list))
    """By the feed's partition, in ledger order."""
    _given: dict[Origin, list[_Given]] = field(default_factory=lambda: defaultdict(list))
    _words: dict[bytes, Outcome | NoticeOfEnd | None] = field(default_factory=dict)
    _meanings: dict[bytes, bytes] = field(default_factory=dict)
    """What each message's value says, whichever version it was written in: digest to digest in the newest."""
    _appended: dict[tuple[str, int], list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Offset and append time of every stretch of a feed."""
    _broken: list[Finding] = field(default_factory=list)

    def take(self, row: Row) -> None:
        """Take an intact row; of each partition in the order of its offsets."""
        family, _, rest = row["topic"].partition(".")
        if family == "inbox" and row["kind"] == RowKind.RECORD:
            self._take_inbox(row, rest)
        elif family == "ledger" and row["kind"] == RowKind.RECORD:
            self._take_entry(row)
        elif family in FEED_KINDS and rest in _REGIONS:
            place = (row["topic"], row["partition"])
            self._appended[place].append((row["offset"], row["timestamp_ms"]))
            if row["kind"] in {RowKind.RECORD, RowKind.UNDECODABLE}:
                self._feeds[place][row["offset"]] = row["value_sha256"] or _NO_VALUE
                self._take_meaning(row)

    def _take_entry(self, row: Row) -> None:
        at = place_of(row)
        # A ledger entry is never stored with another row, so its value is here or it has none.
        try:
            entry = self.codec.decode(row["value"] or b"", LedgerEntry)
        except NoticewireError as error:
            self._broken.append(Finding(str(at), f"is no ledger entry: {error}"))
            return
        region = at.topic.partition(".")[2]
        if region not in _REGIONS or entry.topic not in feeds(Region(region)) or entry.partition != at.partition:
            self._broken.append(Finding(str(at), f"enters {entry.origin}, which is not of its shard"))
            return
        self._entries[entry.topic, entry.partition].append(_Entered(at, entry))

    def _take_inbox(self, row: Row, bureau: str) -> None:
        at, digest = place_of(row), row["value_sha256"]
        if digest is None:
            self._broken.append(Finding(str(at), "an inbox record has no value"))
            return
        if digest not in self._words:
            self._words[digest] = self._word(row["value"] or b"")
        word = self._words[digest]
        try:
            if word is not None:
                kind: type[Model] | None = type(word)
                origin, digest = Origin.parse(word.origin), word.digest
                if word.bureau != bureau:
                    self._broken.append(Finding(str(at), "is made for another bureau"))
            else:
                kind = None
                stated = dict(decode_headers(row["headers"])).get(_ORIGIN_HEADER)
                origin = Origin.parse((stated or b"").decode(errors="replace"))
                self._take_meaning(row)
        except (InvalidFieldError, ValueError):
            self._broken.append(Finding(str(at), "an inbox record names no origin"))
            return
        self._given[origin].append(_Given(at, bureau, kind, digest))

    def _take_meaning(self, row: Row) -> None:
        """Note what a message says, from whichever of the rows that share its value holds it."""
        value, digest = row["value"], row["value_sha256"]
        if value is None or digest is None or digest in self._meanings:
            return
        try:
            message = self.codec.decode(value, Notice, Diffusion)
        except NoticewireError:
            return  # a reminder, or what the router has rejected
        self._meanings[digest] = sha256(self.codec.encode(message, bytes_max=None)).digest()

    def _word(self, value: bytes) -> Outcome | NoticeOfEnd | None:
        """Return what the broker says in a value, or None where it is an issuer's message."""
        try:
            word: Model = self.codec.decode(value, Outcome, NoticeOfEnd)
        except NoticewireError:
            return None
        return word if isinstance(word, Outcome | NoticeOfEnd) else None

    # ---------------------------------------------------------------------------------------------------- comparing

    def settle(self, report: Report, *, ends: Mapping[tuple[str, int], int], settled_ms: int) -> None:
        """Compare, and enter what does not hold.

        Args:
            report: Findings and counts go here.
            ends: How far each partition is archived.
            settled_ms: What was appended before this moment must have been entered, delivered and archived; what is
                younger and missing is only counted.
        """
        report.add_many(self._broken, "records that the account cannot use")
        entered: dict[Origin, _Entered] = {}
        missing: list[Finding] = []
        for place in sorted({*self._appended, *self._entries}):
            for one in self._cover(place, report, ends.get(place, 0), settled_ms, missing):
                entered[one.entry.origin] = one
        report.add_many(missing, "feed offsets without a ledger entry, or with several")
        self._compare_deliveries(report, entered, settled_ms)

    def _cover(
        self, place: tuple[str, int], report: Report, end: int, settled_ms: int, missing: list[Finding]
    ) -> Iterator[_Entered]:
        """Walk one feed partition's entries; yield those that cover offsets nobody covered before."""
        at = 0
        for one in self._entries.get(place, ()):
            entry = one.entry
            report.counts.ledger_entries += 1
            if entry.from_offset < at or entry.next_offset <= entry.from_offset:
                missing.append(Finding(str(entry.origin), f"is entered again at {one.at}"))
                continue
            if entry.from_offset > at:
                stretch = f"offsets {at} to {entry.from_offset - 1}"
                missing.append(Finding(str(Origin(*place, at)), f"{stretch} have no ledger entry before {one.at}"))
            at = entry.next_offset
            yield one
        uncovered = [(offset, appended) for offset, appended in self._appended.get(place, ()) if offset >= at]
        overdue = [offset for offset, appended in uncovered if appended < settled_ms]
        report.unsettled += len(uncovered) - len(overdue)
        if overdue:
            stretch = f"offsets {overdue[0]} to {end - 1}"
            missing.append(Finding(str(Origin(*place, overdue[0])), f"{stretch} have no ledger entry"))

    def _compare_deliveries(self, report: Report, entered: Mapping[Origin, _Entered], settled_ms: int) -> None:
        found: list[Finding] = []
        for origin, one in entered.items():
            given = self._given.get(origin, [])
            report.counts.deliveries += len(given)
            digest = self._feeds.get((origin.topic, origin.partition), {}).get(origin.offset)
            found += self._compare_digests(one, digest, given)
            entry = one.entry
            is_settled = to_epoch_ms(entry.appended_at) < settled_ms
            for kind, codes in ((None, entry.delivered), (NoticeOfEnd, entry.ended)):
                expected = bureaus_of(codes) if entry.kind is EntryKind.ROUTED else frozenset()
                absent = expected - {one.bureau for one in given if one.kind is kind}
                found += _compare_audience(origin, expected, [one for one in given if one.kind is kind])
                if is_settled:
                    what = "no copy" if kind is None else "no notice of end"
                    found += (
                        Finding(str(origin), f"inbox.{bureau} holds {what}, though {one.at} says so")
                        for bureau in sorted(absent)
                    )
                else:
                    report.unsettled += len(absent)
        for origin in self._given.keys() - entered.keys():
            # The ledger entry was written in the same transaction, but its partition may not be archived so far yet.
            for one_given in self._given[origin]:
                known = self._appended.get((origin.topic, origin.partition), [])
                appended = next((at for offset, at in reversed(known) if offset == origin.offset), None)
                if appended is None or appended < settled_ms:
                    found.append(Finding(str(one_given.at), f"comes from {origin}, which no ledger entry accounts for"))
                else:
                    report.unsettled += 1
        report.add_many(found, "deliveries that differ from the ledger")

    def _compare_digests(self, one: _Entered, digest: bytes | None, given: Iterable[_Given]) -> Iterator[Finding]:
        """Each copy is the issuer's bytes; or, for who reads an older version, those that the entry names for them."""
        entry = one.entry
        if digest is not None and entry.digest is not None and entry.digest != digest:
            yield Finding(str(entry.origin), f"its value is not the one that {one.at} states by its digest")
        truth = digest if digest is not None else entry.digest
        rewritten = {bureau: copy.digest for copy in entry.rewritten for bureau in bureaus_of(copy.delivered)}
        for delivery in given:
            if delivery.kind is None and delivery.bureau in rewritten:
                if delivery.digest != rewritten[delivery.bureau]:
                    yield Finding(str(delivery.at), f"holds other bytes than {one.at} says were written for its reader")
                elif truth is not None and self._meanings.get(delivery.digest) != self._meanings.get(truth):
                    yield Finding(str(delivery.at), f"does not say what its origin {entry.origin} says")
            elif truth is not None and delivery.digest != truth:
                what = "holds other bytes than" if delivery.kind is None else "states another digest of"
                yield Finding(str(delivery.at), f"{what} its origin {entry.origin}")


def _compare_audience(origin: Origin, expected: frozenset[str], given: list[_Given]) -> Iterator[Finding]:
    counted = Counter(one.bureau for one in given)
    for one in given:
        if one.bureau not in expected:
            yield Finding(str(one.at), f"comes from {origin}, whose ledger entry does not name {one.bureau}")
    for bureau, count in counted.items():
        if count > 1:
            yield Finding(str(origin), f"is in inbox.{bureau} {count} times")

"""The rejected desk: what was set aside, whole and proven, and which message has mended it since."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from broker.errors import CorruptHistoryError, RefusedError, RejectedRecordError
from broker.members.directory import Directory
from broker.model.ledger import EntryKind, LedgerEntry
from broker.model.naming import REJECTED, SHARDS, Origin, Region, ledger
from broker.model.outcome import BROKER
from broker.model.rejection import Rejection, RejectReason, mending_id
from broker.schema.codec import Codec
from broker.transport.batches import RawRecord
from broker.transport.headers import parse_headers
from broker.transport.kafka import RawClient, TopicPartition
from broker.transport.reader import RawReader
from broker.trust.signing import RecordKind, verify

_MENDING_VERSION = 5
"""Ids that follow from an origin are UUIDv5, those that programs choose UUIDv7: few entries need a closer look."""


class UnknownRejectionError(RefusedError):
    """Nothing of that origin was set aside, or it is not kept any more."""

    code = "unknown_rejection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mending:
    """A message that stands in for a rejected one.

    Attributes:
        origin: where it lies on its feed.
        issuer: who signed it.
        number: its notice number.
        is_routed: whether it was routed; otherwise it was rejected too, for `reason`.
        reason: why it was rejected, if it was.
    """

    origin: str
    issuer: str
    number: str
    is_routed: bool
    reason: str | None


class Mendings:
    """Every mended message of the ledgers, found by what it mends.

    Args:
        entries: of the ledgers, in the order of each.
    """

    def __init__(self, entries: Iterable[LedgerEntry]) -> None:
        self._by_id: dict[UUID, list[Mending]] = {}
        issuers: set[str] = set()
        for entry in entries:
            if entry.message_id is None or entry.issuer is None or entry.message_id.version != _MENDING_VERSION:
                continue
            if entry.kind not in {EntryKind.ROUTED, EntryKind.REJECTED}:
                continue
            issuers.add(entry.issuer)
            mending = Mending(
                origin=str(entry.origin),
                issuer=entry.issuer,
                number=entry.number or "",
                is_routed=entry.kind is EntryKind.ROUTED,
                reason=entry.reason,
            )
            self._by_id.setdefault(entry.message_id, []).append(mending)
        self._issuers = sorted(issuers)

    def of(self, origin: str) -> tuple[Mending, ...]:
        """Return what was sent in place of the record of an origin."""
        return tuple(
            mending
            for issuer in self._issuers
            for mending in self._by_id.get(mending_id(origin, issuer), ())
            if mending.issuer == issuer
        )


class RejectedDesk:
    """Reads what was set aside.

    Args:
        client: a started connection.
        codec: decodes.
        directory: at its end; holds the broker's keys.

    Attributes:
        strangers: how many records of the topic were passed over, because the broker has not signed them.
    """

    def __init__(self, *, client: RawClient, codec: Codec, directory: Directory) -> None:
        self._client = client
        self._codec = codec
        self._directory = directory
        self.strangers = 0

    async def rejections(
        self, *, reasons: frozenset[RejectReason] = frozenset(), region: Region | None = None
    ) -> AsyncIterator[Rejection]:
        """Yield what was set aside, oldest first.

        Args:
            reasons: only for one of these, if any are named.
            region: only from feeds of this region.

        Raises:
            UnavailableError: no broker answers.
        """
        self.strangers = 0
        async for record in self._records(TopicPartition(REJECTED, 0)):
            rejection = self._proven(record)
            if rejection is None:
                self.strangers += 1
            elif (not reasons or rejection.reason in reasons) and (region is None or _is_of(rejection, region)):
                yield rejection

    async def rejection(self, origin: Origin) -> Rejection:
        """Return what was set aside from a place on a feed.

        Raises:
            UnknownRejectionError: there is nothing.
            UnavailableError: no broker answers.
        """
        async for rejection in self.rejections():
            if rejection.origin == str(origin):
                return rejection
        raise UnknownRejectionError(f"nothing was set aside from {origin}; noticewire rejected list shows what was")

    async def mendings(self) -> Mendings:
        """Read every ledger for messages that mend something.

        Raises:
            CorruptHistoryError: a ledger holds something else than entries.
            UnavailableError: no broker answers.
        """
        entries: list[LedgerEntry] = []
        for shard in SHARDS:
            partition = TopicPartition(ledger(shard.region), shard.partition)
            async for record in self._records(partition):
                try:
                    entry = self._codec.decode(record.value or b"", LedgerEntry)
                except RejectedRecordError as error:
                    raise CorruptHistoryError(f"{partition}/{record.offset}", error.detail) from error
                if entry.message_id is not None and entry.message_id.version == _MENDING_VERSION:
                    entries.append(entry)
        return Mendings(entries)

    def _proven(self, record: RawRecord) -> Rejection | None:
        """Return what a record says, if the broker has signed it."""
        try:
            headers = parse_headers(record.headers)
            rejection = self._codec.decode(record.value or b"", Rejection)
        except RejectedRecordError:
            return None
        owner, key = self._directory.key(headers.key_id) or ("", None)
        if owner != BROKER or key is None:
            return None
        installation = self._directory.installation or ""
        is_signed = verify(key.public, headers.signature, RecordKind.BROKER, installation, record.value or b"")
        return rejection if is_signed else None

    async def _records(self, partition: TopicPartition) -> AsyncIterator[RawRecord]:
        """Yield a partition's committed records, up to where it ends now."""
        end = await self._client.end_offset(partition, committed=True)
        start = await self._client.log_start(partition)
        reader = RawReader(self._client, {partition: start}, committed=True, lane=f"desk-{partition}")
        try:
            while reader.positions[partition] < end:
                for _, batches in await reader.poll():
                    for batch in batches:
                        if not (batch.is_control or batch.is_aborted):
                            for record in batch.records:
                                yield record
                    reader.advance(partition, batches[-1].next_offset)
        finally:
            await reader.close()


def by_reason(rejections: Iterable[Rejection]) -> Mapping[RejectReason, int]:
    """Count rejections by their reasons, in the order in which the router looks for them."""
    counts = dict.fromkeys(RejectReason, 0)
    for one in rejections:
        counts[one.reason] += 1
    return {reason: count for reason, count in counts.items() if count}


def _is_of(rejection: Rejection, region: Region) -> bool:
    return Origin.parse(rejection.origin).topic.partition(".")[2] == region

"""From raw records to what the tracker enters: all that can be settled without asking what was delivered.

Verifying a record's signature takes 0.1 ms and more (`bench/routing.py`), so the service runs this in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

from broker.clock import from_epoch_ms
from broker.errors import CorruptHistoryError, InvalidFieldError, RejectedRecordError
from broker.model import naming
from broker.model.ledger import LedgerEntry
from broker.model.naming import NoticeNumber, Origin, Region, Shard
from broker.model.outcome import notice_of_end
from broker.model.receipt import Receipt, Receipts
from broker.schema.codec import Codec
from broker.transport.headers import parse_headers
from broker.trust.signing import RecordKind, verify
from consumers.tracker.book import ReadEntry, ReadReceipt
from consumers.tracker.judge import Claim, Reason
from consumers.tracker.keys import ReceiptKeys

if TYPE_CHECKING:
    from broker.transport.reader import RawBatch, RawRecord

T = TypeVar("T", ReadEntry, ReadReceipt)

ROWS_PER_UNIT = 20_000
"""A transaction of more rows than this is cut, between batches: bounds the memory and how long readers of PostgreSQL
or the other shards of a SQLite file wait."""

_FEEDS = frozenset(topic for region in Region for topic in naming.feeds(region))
_OFFSET_MAX = 2**63 - 1


def read_ledger(batches: Iterable[RawBatch], shard: Shard, codec: Codec) -> Iterator[tuple[int, list[ReadEntry]]]:
    """Read a stretch of the shard's ledger.

    Args:
        batches: as read_committed returns them, with markers and what was aborted.
        shard: whose ledger it is.
        codec: decodes entries, and encodes notices of end to know their digests.

    Yields:
        For each unit of work: the next offset to read after it, and its entries.

    Raises:
        CorruptHistoryError: a record that is no ledger entry; only the shard's router writes there.
    """
    return _units(
        (batch.next_offset, entries, sum(1 + entry.entry.delivered.count(" ") for entry in entries))
        for batch in batches
        for entries in [_entries(batch, shard, codec)]
    )


def _entries(batch: RawBatch, shard: Shard, codec: Codec) -> list[ReadEntry]:
    if batch.is_control or batch.is_aborted:
        return []
    if batch.error is not None:
        raise CorruptHistoryError(
            f"{naming.ledger(shard.region)}/{shard.partition}/{batch.base_offset}", f"unreadable batch: {batch.error}"
        )
    entries: list[ReadEntry] = []
    for record in batch.records:
        try:
            entry = codec.decode(record.value or b"", LedgerEntry)
        except RejectedRecordError as error:
            raise CorruptHistoryError(
                f"{naming.ledger(shard.region)}/{shard.partition}/{record.offset}", f"is no ledger entry: {error}"
            ) from error
        # The router signed and delivered exactly these bytes: made from the entry, by the newest schema version, under
        # the ids that it called schemas by then. When notices of end get a second version, entries of before need the
        # first one here.
        ends = {bureau: notice_of_end(entry, bureau) for bureau in naming.bureaus_of(entry.ended)}
        entries.append(
            ReadEntry(
                offset=record.offset,
                entry=entry,
                notices_of_end={
                    bureau: (notice.notice_id, sha256(codec.encode_as_beside(notice, record.value or b"")).digest())
                    for bureau, notice in ends.items()
                },
            )
        )
    return entries


def read_receipts(
    batches: Iterable[RawBatch], shard: Shard, codec: Codec, keys: ReceiptKeys
) -> Iterator[tuple[int, list[ReadReceipt]]]:
    """Read a stretch of the shard's receipts, where anybody may have written anything.

    Args:
        batches: as read_uncommitted returns them.
        shard: whose receipts they are.
        codec: decodes them.
        keys: of the directory as it was after the batches were read, so that none which signed these is missing.

    Yields:
        For each unit of work: the next offset to read after it, and its receipts.
    """
    return _units(
        (batch.next_offset, found, len(found))
        for batch in batches
        for found in [list(_receipts(batch, shard, codec, keys))]
    )


def _receipts(batch: RawBatch, shard: Shard, codec: Codec, keys: ReceiptKeys) -> Iterator[ReadReceipt]:
    if batch.is_control:
        return
    if batch.error is not None:
        yield ReadReceipt(
            offset=batch.base_offset,
            index=0,
            appended_at=_moment(batch.max_timestamp_ms),
            reason=Reason.UNDECODABLE,
        )
        return
    for record in batch.records:
        yield from _record(record, shard, codec, keys, is_transactional=batch.is_transactional)


def _record(
    record: RawRecord, shard: Shard, codec: Codec, keys: ReceiptKeys, *, is_transactional: bool
) -> Iterator[ReadReceipt]:
    appended_at = _moment(record.timestamp_ms)
    value = record.value or b""
    try:
        said = codec.decode(value, Receipts)
        headers = parse_headers(record.headers)
    except RejectedRecordError:
        # Whether a transaction was aborted depends on when one looks; that it was one does not.
        reason = Reason.TRANSACTIONAL if is_transactional else Reason.UNDECODABLE
        yield ReadReceipt(offset=record.offset, index=0, appended_at=appended_at, reason=reason)
        return
    if is_transactional:
        untrue: Reason | None = Reason.TRANSACTIONAL
    elif not headers.key_id or not headers.signature:
        untrue = Reason.UNSIGNED
    elif (signed_with := keys.at(headers.key_id, appended_at)) is None:
        untrue = Reason.KEY_NOT_VALID
    elif signed_with[0] != said.bureau:
        untrue = Reason.WRONG_BUREAU
    elif not verify(signed_with[1], headers.signature, RecordKind.RECEIPTS, keys.installation, value):
        untrue = Reason.WRONG_SIGNATURE
    else:
        untrue = None
    for index, receipt in enumerate(said.receipts):
        origin = _origin(receipt.origin)
        yield ReadReceipt(
            offset=record.offset,
            index=index,
            appended_at=appended_at,
            reason=untrue or _misfit(receipt, origin, shard),
            bureau=said.bureau,
            origin=origin,
            claim=Claim(
                number=receipt.number if _is_number(receipt.number) else "",
                message_id=receipt.message_id,
                digest=receipt.digest,
                stage=receipt.stage,
                decline_reason=receipt.reason,
                actor_kind=receipt.actor_kind,
                actor=receipt.actor,
                appended_at=appended_at,
                given_at=receipt.given_at,
            ),
        )


def _misfit(receipt: Receipt, origin: Origin | None, shard: Shard) -> Reason | None:
    if origin is None or not _is_number(receipt.number):
        return Reason.MALFORMED
    return None if origin.shard == shard else Reason.NOT_ITS_SHARD


def _moment(timestamp_ms: int) -> datetime:
    """Return an append time; a header that is broken may hold one that no calendar has."""
    try:
        return from_epoch_ms(timestamp_ms)
    except OverflowError:
        return from_epoch_ms(0)


def _origin(text: str) -> Origin | None:
    """Read an origin as strangers write them: only on a feed, in the one spelling, and no larger than Kafka counts."""
    try:
        origin = Origin.parse(text)
    except InvalidFieldError:
        return None
    if str(origin) != text or origin.topic not in _FEEDS or origin.offset > _OFFSET_MAX:
        return None
    return origin if origin.partition < naming.SHARDS_PER_REGION else None


def _is_number(text: str) -> bool:
    try:
        NoticeNumber.parse(text)
    except InvalidFieldError:
        return False
    return True


def _units(stretches: Iterable[tuple[int, Sequence[T], int]]) -> Iterator[tuple[int, list[T]]]:
    """Join batches up to some rows; the last unit may hold none, and then only moves the position."""
    unit: list[T] = []
    rows, reached, is_open = 0, 0, False
    for next_offset, items, weight in stretches:
        unit.extend(items)
        rows, reached, is_open = rows + weight, next_offset, True
        if rows >= ROWS_PER_UNIT:
            yield reached, unit
            unit, rows, is_open = [], 0, False
    if is_open:
        yield reached, unit

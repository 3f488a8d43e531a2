"""What the tracker writes: ledger entries and receipts into tables, in bulk and never a row at a time.

What the tables end as follows from how far each of the two logs was read, and not from the order in which they were
read: a receipt whose origin the ledger has not passed waits as pending, and is judged when the ledger gets there,
before any receipt that was appended after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Row, String, and_, bindparam, column, or_, select, update, values
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.errors import CorruptHistoryError
from broker.model import naming
from broker.model.ledger import EntryKind, LedgerEntry
from broker.model.naming import Origin, Shard
from broker.model.receipt import ActorKind, DeclineReason, Stage
from broker.store.positions import insert
from broker.store.tables import deliveries, messages, passed, receipts
from consumers.tracker.judge import Claim, Delivery, How, Reason, Verdict, advance, judge

T = TypeVar("T")

_PER_QUERY = 2_000
"""Pairs in one query: two parameters each, of which SQLite takes 32,766 and PostgreSQL's protocol 32,767."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadEntry:
    """A ledger entry as it was read."""

    offset: int
    entry: LedgerEntry
    notices_of_end: Mapping[str, tuple[UUID, bytes]] = field(default_factory=dict)
    """For each bureau that was given a notice of end: its id, and the SHA-256 of its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReceipt:
    """A receipt as it was read; or a record that holds none which can be read, and then only place and reason."""

    offset: int
    index: int
    appended_at: datetime
    reason: Reason | None
    """Why it cannot count whatever the ledger says."""
    bureau: str | None = None
    origin: Origin | None = None
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a receipt."""

    claim: Claim | None
    verdict: Verdict
    reason: Reason | None = None
    """Why not counted."""
    waited: timedelta | None = None
    """From the message's append to this receipt's, where it is the first of its delivery."""


async def enter_entries(connection: AsyncConnection, shard: Shard, entries: Sequence[ReadEntry]) -> list[Judged]:
    """Enter what a stretch of the shard's ledger says, and judge the receipts that waited for it.

    Returns:
        The receipts that were judged, none of them pending any more.

    Raises:
        CorruptHistoryError: an entry does not begin where the one before it on its feed ended.
    """
    if not entries:
        return []
    ahead = await _passed(connection, shard)
    message_rows: list[dict[str, Any]] = []
    delivery_rows: list[dict[str, Any]] = []
    for read in entries:
        _pass(ahead, shard, read)
        if _gives_something(read.entry):
            message_rows.append(_message_row(shard, read))
            delivery_rows += _delivery_rows(read)
    if message_rows:
        await connection.execute(messages.insert(), message_rows)
    if delivery_rows:
        await connection.execute(deliveries.insert(), delivery_rows)
    upsert = insert(connection.dialect, passed)
    await connection.execute(
        upsert.on_conflict_do_update(
            index_elements=["topic", "partition"], set_={"next_offset": upsert.excluded.next_offset}
        ),
        [
            {"topic": topic, "partition": shard.partition, "next_offset": next_offset}
            for topic, next_offset in ahead.items()
        ],
    )
    return await _judge_pending(connection, shard, ahead)


async def enter_receipts(connection: AsyncConnection, shard: Shard, read: Sequence[ReadReceipt]) -> list[Judged]:
    """Enter a stretch of the shard's receipts; judge those whose origin the ledger has passed.

    Returns:
        Each of them, pending ones too.
    """
    ahead = await _passed(connection, shard)
    due = {
        (receipt.offset, receipt.index): (str(receipt.origin), receipt.bureau, receipt.claim)
        for receipt in read
        if receipt.reason is None
        and receipt.origin is not None
        and receipt.bureau is not None
        and receipt.claim is not None
        and receipt.origin.offset < ahead.get(receipt.origin.topic, 0)
    }
    judged = dict(zip(due, await _judge(connection, list(due.values())), strict=True))
    each = [_settled(receipt, judged.get((receipt.offset, receipt.index))) for receipt in read]
    if each:
        rows = [_receipt_row(shard, receipt, one) for receipt, one in zip(read, each, strict=True)]
        await connection.execute(receipts.insert(), rows)
    return each


def _settled(receipt: ReadReceipt, judged: Judged | None) -> Judged:
    if receipt.reason is not None:
        return Judged(receipt.claim, Verdict.NOT_COUNTED, receipt.reason)
    return judged or Judged(receipt.claim, Verdict.PENDING)


async def _passed(connection: AsyncConnection, shard: Shard) -> dict[str, int]:
    rows = await connection.execute(
        select(passed.c.topic, passed.c.next_offset).where(
            passed.c.topic.in_(naming.feeds(shard.region)), passed.c.partition == shard.partition
        )
    )
    return {row.topic: row.next_offset for row in rows}


def _pass(ahead: dict[str, int], shard: Shard, read: ReadEntry) -> None:
    """Move a feed's mark past an entry; the router enters every offset once and in order, or the ledger is none."""
    entry = read.entry
    where = f"{naming.ledger(shard.region)}/{shard.partition}/{read.offset}"
    if entry.topic not in naming.feeds(shard.region) or entry.partition != shard.partition:
        raise CorruptHistoryError(where, f"is about {entry.origin}, which is not of this shard")
    expected = ahead.get(entry.topic, 0)
    if entry.from_offset != expected or entry.next_offset <= entry.from_offset:
        raise CorruptHistoryError(
            where, f"covers {entry.origin} to {entry.next_offset}, but the entries before it end at {expected}"
        )
    ahead[entry.topic] = entry.next_offset


def _gives_something(entry: LedgerEntry) -> bool:
    """Whether an entry is about a routed message; a command's entry has no event."""
    return entry.kind is EntryKind.ROUTED and entry.event is not None


def _message_row(shard: Shard, read: ReadEntry) -> dict[str, Any]:
    entry = read.entry
    withheld = naming.codes({code for codes in entry.withheld.values() for code in naming.bureaus_of(codes)})
    return {
        "origin": str(entry.origin),
        "region": shard.region.value,
        "partition": shard.partition,
        "ledger_offset": read.offset,
        "number": entry.number,
        "event": entry.event.value if entry.event else None,
        "revision": entry.revision,
        "message_id": entry.message_id,
        "issuer": entry.issuer,
        "digest": entry.digest,
        "appended_at": entry.appended_at,
        "withheld": withheld,
    }


def _delivery_rows(read: ReadEntry) -> Iterator[dict[str, Any]]:
    entry = read.entry
    origin = str(entry.origin)
    delivered = naming.bureaus_of(entry.delivered)
    rewritten = {bureau: copy.digest for copy in entry.rewritten for bureau in naming.bureaus_of(copy.delivered)}
    for bureau in sorted(delivered):
        yield {
            "origin": origin,
            "bureau": bureau,
            "how": How.DELIVERED.value,
            "message_id": entry.message_id,
            "digest": rewritten.get(bureau, entry.digest),
        }
    for bureau in sorted(naming.bureaus_of(entry.ended) - delivered):
        notice_id, digest = read.notices_of_end[bureau]
        yield {
            "origin": origin,
            "bureau": bureau,
            "how": How.ENDED.value,
            "message_id": notice_id,
            "digest": digest,
        }


async def _judge_pending(connection: AsyncConnection, shard: Shard, ahead: Mapping[str, int]) -> list[Judged]:
    rows = (
        await connection.execute(
            select(receipts)
            .where(receipts.c.verdict == Verdict.PENDING.value)
            .where(receipts.c.origin_partition == shard.partition)
            .where(
                or_(
                    *(
                        and_(receipts.c.origin_topic == topic, receipts.c.origin_offset < next_offset)
                        for topic, next_offset in ahead.items()
                    )
                )
            )
            .order_by(receipts.c.record_offset, receipts.c.record_index)
        )
    ).all()
    if not rows:
        return []
    judged = await _judge(
        connection,
        [
            (f"{row.origin_topic}/{row.origin_partition}/{row.origin_offset}", row.bureau, _claim_of_row(row))
            for row in rows
        ],
    )
    await connection.execute(
        update(receipts)
        .where(
            receipts.c.topic == bindparam("at_topic"),
            receipts.c.partition == bindparam("at_partition"),
            receipts.c.record_offset == bindparam("at_offset"),
            receipts.c.record_index == bindparam("at_index"),
        )
        .values(verdict=bindparam("new_verdict"), reason=bindparam("new_reason")),
        [
            {
                "at_topic": row.topic,
                "at_partition": row.partition,
                "at_offset": row.record_offset,
                "at_index": row.record_index,
                "new_verdict": one.verdict.value,
                "new_reason": None if one.reason is None else one.reason.value,
            }
            for row, one in zip(rows, judged, strict=True)
        ],
    )
    return judged


async def _judge(connection: AsyncConnection, claims: Sequence[tuple[str, str, Claim]]) -> list[Judged]:
    """Judge receipts one after the other, each over what those before it made of its delivery.

    Args:
        connection: inside the unit of work.
        claims: origin, bureau and what it says, as they lie on the log; the ledger has passed each origin.
    """
    known, published = await _deliveries(connection, [(origin, bureau) for origin, bureau, _ in claims])
    withheld = await _withheld(connection, [origin for origin, bureau, _ in claims if (origin, bureau) not in known])
    changed: set[tuple[str, str]] = set()
    judged: list[Judged] = []
    for origin, bureau, claim in claims:
        delivery = known.get((origin, bureau))
        reason = judge(claim, delivery, withheld=bureau in withheld.get(origin, ()))
        if reason is not None or delivery is None:
            judged.append(Judged(claim, Verdict.NOT_COUNTED, reason))
            continue
        waited = None if delivery.received_at is not None else claim.appended_at - published[origin]
        judged.append(Judged(claim, Verdict.COUNTED, waited=waited))
        known[origin, bureau] = advance(delivery, claim)
        changed.add((origin, bureau))
    if changed:
        await connection.execute(
            update(deliveries)
            .where(deliveries.c.origin == bindparam("at_origin"), deliveries.c.bureau == bindparam("at_bureau"))
            .values({name: bindparam(f"new_{name}") for name in _STATE}),
            [_state_row(key, known[key]) for key in sorted(changed)],
        )
    return judged


_STATE = (
    "stage",
    "received_at",
    "accepted_at",
    "actioned_at",
    "declined_at",
    "purged_at",
    "actor_kind",
    "actor",
    "given_at",
    "decline_reason",
)


def _state_row(key: tuple[str, str], delivery: Delivery) -> dict[str, Any]:
    return {"at_origin": key[0], "at_bureau": key[1]} | {f"new_{name}": getattr(delivery, name) for name in _STATE}


async def _deliveries(
    connection: AsyncConnection, keys: Sequence[tuple[str, str]]
) -> tuple[dict[tuple[str, str], Delivery], dict[str, datetime]]:
    """Return deliveries by origin and bureau, and when the message of each origin was appended to its feed."""
    known: dict[tuple[str, str], Delivery] = {}
    published: dict[str, datetime] = {}
    for some in _cut(sorted(set(keys))):
        # A join, because SQLite reads the whole table for (origin, bureau) IN (...).
        wanted = values(column("origin", String), column("bureau", String)).data(some).cte("wanted")
        rows = await connection.execute(
            select(deliveries, messages.c.number, messages.c.appended_at)
            .select_from(wanted)
            .join(deliveries, and_(deliveries.c.origin == wanted.c.origin, deliveries.c.bureau == wanted.c.bureau))
            .join(messages, messages.c.origin == deliveries.c.origin)
        )
        for row in rows:
            published[row.origin] = row.appended_at
            known[row.origin, row.bureau] = Delivery(
                number=row.number,
                message_id=row.message_id,
                digest=row.digest,
                stage=None if row.stage is None else Stage(row.stage),
                received_at=row.received_at,
                accepted_at=row.accepted_at,
                actioned_at=row.actioned_at,
                declined_at=row.declined_at,
                purged_at=row.purged_at,
                actor_kind=None if row.actor_kind is None else ActorKind(row.actor_kind),
                actor=row.actor,
                given_at=row.given_at,
                decline_reason=None if row.decline_reason is None else DeclineReason(row.decline_reason),
            )
    return known, published


async def _withheld(connection: AsyncConnection, origins: Sequence[str]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for some in _cut(sorted(set(origins))):
        rows = await connection.execute(
            select(messages.c.origin, messages.c.withheld).where(messages.c.origin.in_(some))
        )
        found |= {row.origin: naming.bureaus_of(row.withheld) for row in rows}
    return found


def _cut(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[at : at + _PER_QUERY] for at in range(0, len(items), _PER_QUERY))


def _receipt_row(shard: Shard, receipt: ReadReceipt, judged: Judged) -> dict[str, Any]:
    claim, origin = receipt.claim, receipt.origin
    return {
        "topic": naming.acks(shard.region),
        "partition": shard.partition,
        "record_offset": receipt.offset,
        "record_index": receipt.index,
        "appended_at": receipt.appended_at,
        "verdict": judged.verdict.value,
        "reason": None if judged.reason is None else judged.reason.value,
        "bureau": receipt.bureau,
        "number": None if claim is None else claim.number,
        "origin_topic": None if origin is None else origin.topic,
        "origin_partition": None if origin is None else origin.partition,
        "origin_offset": None if origin is None else origin.offset,
        "message_id": None if claim is None else claim.message_id,
        "digest": None if claim is None else claim.digest,
        "stage": None if claim is None else claim.stage.value,
        "decline_reason": None if claim is None or claim.decline_reason is None else claim.decline_reason.value,
        "actor_kind": None if claim is None else claim.actor_kind.value,
        "actor": None if claim is None else claim.actor,
        "given_at": None if claim is None else claim.given_at,
    }


def _claim_of_row(row: Row[Any]) -> Claim:
    return Claim(
        number=row.number,
        message_id=row.message_id,
        digest=row.digest,
        stage=Stage(row.stage),
        decline_reason=None if row.decline_reason is None else DeclineReason(row.decline_reason),
        actor_kind=ActorKind(row.actor_kind),
        actor=row.actor,
        appended_at=row.appended_at,
        given_at=row.given_at,
    )

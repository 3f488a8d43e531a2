"""What the store ends as depends on how far both logs were read, and on nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from broker.errors import CorruptHistoryError, FencedError
from broker.model.ledger import EntryKind, LedgerEntry
from broker.model.message import Event
from broker.model.naming import Origin, Region, Shard
from broker.model.receipt import ActorKind, DeclineReason, Stage
from broker.store.engine import make_engine
from broker.store.positions import Holding, Place, take
from broker.store.tables import metadata
from consumers.tracker.book import ReadEntry, ReadReceipt, enter_entries, enter_receipts
from consumers.tracker.judge import Claim, Delivery, Reason, Verdict, advance, judge

SHARD = Shard(Region.AFRICA, 1)
LEDGER, ACKS = Place("ledger.africa", 1), Place("acks.africa", 1)
BEGINNING = datetime(2026, 5, 1, tzinfo=UTC)
BUREAUS = ("ao", "bf", "bi")


class _KilledError(Exception):
    """The process ends inside a transaction."""


def an_entry(offset: int, start: int, many: int = 1, *, topic: str = "notices.africa", **more: Any) -> LedgerEntry:
    said: dict[str, Any] = {
        "kind": EntryKind.REPEAT,
        "topic": topic,
        "partition": 1,
        "from_offset": start,
        "next_offset": start + many,
        "appended_at": BEGINNING + timedelta(seconds=offset),
        "directory_offset": 3,
    }
    return LedgerEntry(**(said | more))


@st.composite
def ledgers(draw: st.DrawFn) -> list[ReadEntry]:
    """A ledger over two feeds, in the way that a router writes it."""
    next_offsets = {"notices.africa": 0, "diffusions.africa": 0}
    entries: list[ReadEntry] = []
    for offset in range(draw(st.integers(0, 6))):
        topic = draw(st.sampled_from(sorted(next_offsets)))
        start = next_offsets[topic]
        kind = draw(st.sampled_from([EntryKind.ROUTED, EntryKind.ROUTED, EntryKind.REPEAT, EntryKind.PASSED_OVER]))
        many = draw(st.integers(1, 3)) if kind is EntryKind.PASSED_OVER else 1
        next_offsets[topic] = start + many
        if kind is not EntryKind.ROUTED:
            entries.append(ReadEntry(offset=offset, entry=an_entry(offset, start, many, topic=topic, kind=kind)))
            continue
        fate = {bureau: draw(st.sampled_from(["delivered", "ended", "withheld", "not one"])) for bureau in BUREAUS}
        entry = an_entry(
            offset,
            start,
            topic=topic,
            kind=kind,
            number="zw-n-2026-000001",
            message_id=UUID(int=offset + 1),
            issuer="ipsg",
            event=Event.PUBLISHED,
            revision=1,
            digest=bytes([offset]) * 32,
            delivered=" ".join(bureau for bureau in BUREAUS if fate[bureau] == "delivered"),
            ended=" ".join(bureau for bureau in BUREAUS if fate[bureau] == "ended"),
            withheld={"clearance": " ".join(bureau for bureau in BUREAUS if fate[bureau] == "withheld")},
        )
        ends = {bureau: (UUID(int=100 + offset), b"\xee" * 32) for bureau in BUREAUS if fate[bureau] == "ended"}
        entries.append(ReadEntry(offset=offset, entry=entry, notices_of_end=ends))
    return entries


@st.composite
def receipts_about(draw: st.DrawFn, ledger: list[ReadEntry]) -> list[ReadReceipt]:
    """Receipts of every kind: true, repeated, out of order, of nothing, of what the ledger has not got to."""
    found: list[ReadReceipt] = []
    for number in range(draw(st.integers(0, 12))):
        offset, index = number // 2, number % 2
        at = BEGINNING + timedelta(minutes=offset)
        broken: int = draw(st.integers(0, 9))
        if not broken:
            found.append(ReadReceipt(offset=offset, index=index, appended_at=at, reason=Reason.UNDECODABLE))
            continue
        bureau = draw(st.sampled_from(BUREAUS))
        routed = [read for read in ledger if read.entry.kind is EntryKind.ROUTED]
        true: int = draw(st.integers(0, 5))
        if routed and true:
            read = draw(st.sampled_from(routed))
            origin = read.entry.origin
            identity, digest = read.notices_of_end.get(bureau, (read.entry.message_id, read.entry.digest))
        else:
            feed = draw(st.sampled_from(["notices.africa", "diffusions.africa", "commands.africa"]))
            beyond: int = draw(st.integers(0, 12))
            origin, identity, digest = Origin(feed, 1, beyond), UUID(int=1), b"\x00" * 32
        stage = draw(st.sampled_from(list(Stage)))
        claim = Claim(
            number=draw(st.sampled_from(["zw-n-2026-000001"] * 5 + ["zw-n-2026-000002"])),
            message_id=identity or UUID(int=0),
            digest=draw(st.sampled_from([digest or b""] * 5 + [b"\xff" * 32])),
            stage=stage,
            decline_reason=DeclineReason.DUPLICATE if stage is Stage.DECLINED else None,
            actor_kind=ActorKind.OFFICER,
            actor="desk-1",
            appended_at=at,
            given_at=BEGINNING + timedelta(minutes=draw(st.integers(0, 9))),
        )
        reason = draw(st.sampled_from([None] * 9 + [Reason.WRONG_SIGNATURE]))
        found.append(
            ReadReceipt(
                offset=offset, index=index, appended_at=at, reason=reason, bureau=bureau, origin=origin, claim=claim
            )
        )
    return found


async def read_on(
    holding: Holding, which: Place, many: int, logs: Mapping[Place, Sequence[ReadEntry | ReadReceipt]], *, killed: bool
) -> None:
    """Enter the next records of one log; offsets of acks hold two receipts each and are not torn apart."""
    start = holding.next_offsets[which]
    upto = start + many
    some = [item for item in logs[which] if start <= item.offset < upto]
    if not some:
        return
    async with holding.unit({which: some[-1].offset + 1}) as connection:
        await enter_entries(connection, SHARD, [item for item in some if isinstance(item, ReadEntry)])
        if which == ACKS:
            await enter_receipts(connection, SHARD, [item for item in some if isinstance(item, ReadReceipt)])
        if killed:
            raise _KilledError


async def rows(engine: AsyncEngine) -> dict[str, list[Any]]:
    """Every row of every table; of the positions, all but who came by."""
    dumped: dict[str, list[Any]] = {}
    async with engine.connect() as connection:
        for table in metadata.sorted_tables:
            columns = [column for column in table.columns if column.name != "epoch"]
            dumped[table.name] = sorted((tuple(row) for row in await connection.execute(select(*columns))), key=repr)
    return dumped


async def a_store() -> AsyncEngine:
    engine = make_engine("sqlite+aiosqlite:///:memory:")
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    return engine


def expected(ledger: list[ReadEntry], acks: list[ReadReceipt]) -> dict[tuple[int, int], Reason | str | None]:
    """Every receipt's fate, by walking the receipts once over the whole ledger, in memory."""
    passed: dict[str, int] = {}
    state: dict[tuple[Origin, str], Delivery] = {}
    withheld: set[tuple[Origin, str]] = set()
    for read in ledger:
        entry = read.entry
        passed[entry.topic] = entry.next_offset
        for bureau in entry.delivered.split():
            state[entry.origin, bureau] = Delivery(
                number=entry.number or "", message_id=entry.message_id or UUID(int=0), digest=entry.digest or b""
            )
        for bureau in entry.ended.split():
            identity, digest = read.notices_of_end[bureau]
            state[entry.origin, bureau] = Delivery(number=entry.number or "", message_id=identity, digest=digest)
        withheld |= {(entry.origin, bureau) for codes in entry.withheld.values() for bureau in codes.split()}
    fates: dict[tuple[int, int], Reason | str | None] = {}
    for receipt in acks:
        at = receipt.offset, receipt.index
        if receipt.reason or receipt.claim is None or receipt.origin is None or receipt.bureau is None:
            fates[at] = receipt.reason
        elif receipt.origin.offset >= passed.get(receipt.origin.topic, 0):
            fates[at] = "pending"
        else:
            key = receipt.origin, receipt.bureau
            fates[at] = judge(receipt.claim, state.get(key), withheld=key in withheld)
            if fates[at] is None:
                state[key] = advance(state[key], receipt.claim)
    return fates


STEPS = st.lists(
    st.tuples(
        st.sampled_from([LEDGER, ACKS]), st.integers(1, 5), st.sampled_from(["go on", "go on", "killed", "restarted"])
    ),
    max_size=14,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), STEPS)
def test_any_order_ends_equal(data: st.DataObject, steps: list[tuple[Place, int, str]]) -> None:
    """Ledger and receipts read in any order, cut anywhere, killed and taken over: every row ends equal."""
    ledger = data.draw(ledgers())
    acks = data.draw(receipts_about(ledger))
    logs: dict[Place, Sequence[ReadEntry | ReadReceipt]] = {LEDGER: ledger, ACKS: acks}

    async def run() -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        straight, crooked = await a_store(), await a_store()
        try:
            holding = await take(straight, (LEDGER, ACKS))
            await read_on(holding, LEDGER, 1000, logs, killed=False)
            await read_on(holding, ACKS, 1000, logs, killed=False)

            holding = await take(crooked, (LEDGER, ACKS))
            for which, many, how in steps:
                if how == "restarted":
                    holding = await take(crooked, (LEDGER, ACKS))
                try:
                    await read_on(holding, which, many, logs, killed=how == "killed")
                except _KilledError:
                    holding = await take(crooked, (LEDGER, ACKS))
            await read_on(holding, ACKS, 1000, logs, killed=False)
            await read_on(holding, LEDGER, 1000, logs, killed=False)
            return await rows(straight), await rows(crooked)
        finally:
            await straight.dispose()
            await crooked.dispose()

    straight, crooked = asyncio.run(run())

    assert straight == crooked
    columns = [column.name for column in metadata.tables["receipts"].columns]
    written = {
        (row[columns.index("record_offset")], row[columns.index("record_index")]): row[columns.index("reason")]
        or (None if row[columns.index("verdict")] == Verdict.COUNTED else row[columns.index("verdict")])
        for row in crooked["receipts"]
    }
    assert written == expected(ledger, acks)


@pytest.mark.parametrize("start", [0, 2])
async def test_ledger_with_a_hole(start: int) -> None:
    """A ledger that leaves an offset out, or enters one twice, is an incident, and nothing of it is written."""
    engine = await a_store()
    holding = await take(engine, (LEDGER, ACKS))
    await read_on(holding, LEDGER, 1, {LEDGER: [ReadEntry(offset=0, entry=an_entry(0, 0))]}, killed=False)
    before = await rows(engine)

    with pytest.raises(CorruptHistoryError, match=r"ledger\.africa/1/1"):
        await read_on(holding, LEDGER, 1, {LEDGER: [ReadEntry(offset=1, entry=an_entry(1, start))]}, killed=False)

    assert await rows(engine) == before
    await engine.dispose()


@pytest.mark.parametrize("place", [LEDGER, ACKS])
async def test_fenced_writes_nothing(place: Place) -> None:
    """Once somebody else took the shard, its former tracker writes nothing, whichever log it reads."""
    engine = await a_store()
    first = await take(engine, (LEDGER, ACKS))
    await take(engine, (LEDGER, ACKS))
    before = await rows(engine)
    garbage = ReadReceipt(offset=0, index=0, appended_at=BEGINNING, reason=Reason.UNDECODABLE)
    logs: dict[Place, Sequence[ReadEntry | ReadReceipt]] = {
        LEDGER: [ReadEntry(offset=0, entry=an_entry(0, 0))],
        ACKS: [garbage],
    }

    with pytest.raises(FencedError):
        await read_on(first, place, 1, logs, killed=False)

    assert await rows(engine) == before
    await engine.dispose()


async def test_a_reminder_awaits_no_receipt() -> None:
    """The copies of a command in inboxes are no deliveries: nothing is outstanding for one, and the ledger goes on."""
    engine = await a_store()
    holding = await take(engine, (LEDGER, ACKS))
    reminder = an_entry(
        0,
        0,
        topic="commands.africa",
        kind=EntryKind.ROUTED,
        number="zw-n-2026-000001",
        message_id=UUID(int=1),
        issuer="tracker",
        digest=b"\x01" * 32,
        delivered="ao bf",
    )
    await read_on(holding, LEDGER, 1, {LEDGER: [ReadEntry(offset=0, entry=reminder)]}, killed=False)

    written = await rows(engine)
    assert (written["messages"], written["deliveries"]) == ([], [])
    assert ("commands.africa", 1, 1) in written["passed"]
    await engine.dispose()

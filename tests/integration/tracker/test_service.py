from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from broker.clock import SystemClock
from broker.errors import FencedError
from broker.members.seed import seeds_of
from broker.model.ledger import EntryKind, LedgerEntry
from broker.model.message import Event
from broker.model.naming import DIRECTORY, Region, Shard
from broker.model.outcome import notice_of_end
from broker.model.receipt import DeclineReason, Receipt, Receipts, Stage
from broker.schema.codec import Codec
from broker.settings import KafkaSettings
from broker.store.engine import open_store, sqlite_url
from broker.store.positions import Place
from broker.store.tables import metadata, receipts
from broker.transport.directory import DirectoryFollower
from broker.transport.founding import found
from broker.transport.headers import signed_headers
from broker.transport.kafka import RawClient, TopicPartition
from broker.transport.publisher import Publisher
from broker.trust.keys import KeyRing, generate
from broker.trust.signing import RecordKind, Signer
from consumers.tracker import board
from consumers.tracker.service import TrackerService
from tests.support.eventually import eventually_async
from tests.support.kafka import create_topics, plain_write
from tests.support.shared_kafka import SharedKafka

CODEC = Codec.load()
SHARD = Shard(Region.AFRICA, 0)
LEDGER, ACKS = Place("ledger.africa", 0), Place("acks.africa", 0)
NUMBER = "zw-n-2026-000001"
MORNING = datetime(2026, 5, 1, 8, tzinfo=UTC)
VALUES = {at: f"message {at}".encode() for at in range(10)}
"""What stands for the feed's records; the tracker never sees more of them than their digests."""


@dataclass
class World:
    """A shard's two logs, written by plain producers, and trackers that follow them."""

    kafka: KafkaSettings
    client: RawClient
    keys: KeyRing
    installation: str
    folder: Path
    engines: list[AsyncEngine] = field(default_factory=list)

    async def store(self, name: str = "tracker") -> AsyncEngine:
        """Open a store in the test's folder."""
        engine = await open_store(sqlite_url(self.folder / f"{name}.db"))
        self.engines.append(engine)
        return engine

    async def enter(self, at: int, **said: Any) -> LedgerEntry:
        """Write the entry of a routed message, as the router would."""
        whole: dict[str, Any] = {
            "kind": EntryKind.ROUTED,
            "topic": "notices.africa",
            "partition": 0,
            "from_offset": at,
            "next_offset": at + 1,
            "appended_at": MORNING + timedelta(seconds=at),
            "directory_offset": 5,
            "number": NUMBER,
            "message_id": UUID(int=at + 1),
            "issuer": "ipsg",
            "event": Event.PUBLISHED,
            "revision": 1,
            "digest": sha256(VALUES[at]).digest(),
        }
        entry = LedgerEntry(**(whole | said))
        await plain_write(self.kafka, "ledger.africa", CODEC.encode(entry))
        return entry

    async def acknowledge(
        self, bureau: str, *given: Receipt, signer: Signer | None = None, installation: str | None = None
    ) -> None:
        """Write receipts as a bureau's client would; or with somebody else's key."""
        value, headers = self.signed(bureau, *given, signer=signer, installation=installation)
        await plain_write(self.kafka, "acks.africa", value, key=bureau.encode(), headers=headers)

    def signed(
        self, bureau: str, *given: Receipt, signer: Signer | None = None, installation: str | None = None
    ) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
        """Return value and headers of a record of receipts."""
        said = Receipts(bureau=bureau, receipts=given)
        value = CODEC.encode(said)
        signer = signer or self.keys.signer(bureau)
        signature = signer.sign(RecordKind.RECEIPTS, installation or self.installation, value)
        return value, tuple(signed_headers(said, key_id=signer.key_id, signature=signature))

    @asynccontextmanager
    async def following(self, engine: AsyncEngine) -> AsyncIterator[asyncio.Task[None]]:
        """Follow the shard for a block, as a process of its own would; afterwards it was told to stop, and has."""
        client = RawClient(self.kafka, client_id="tracker")
        await client.start()
        tracker = TrackerService(
            client=client,
            engine=engine,
            directory=DirectoryFollower(client, CODEC),
            codec=CODEC,
            max_wait=timedelta(milliseconds=100),
        )
        stop = asyncio.Event()
        task = asyncio.create_task(tracker.follow(SHARD, stop))
        try:
            yield task
        finally:
            stop.set()
            done, _ = await asyncio.wait([task], timeout=90)
            await client.stop()
        assert done, "the tracker does not stop"
        if not isinstance(task.exception(), FencedError):
            await task

    async def caught_up(self, engine: AsyncEngine) -> None:
        """Wait until the store holds both logs to their ends."""
        ends = await self.client.end_offsets([TopicPartition(*LEDGER), TopicPartition(*ACKS)])

        async def reached() -> bool:
            async with engine.connect() as connection:
                at = {
                    Place(row.topic, row.partition): row.next_offset
                    for row in await connection.execute(select(metadata.tables["positions"]))
                }
            return all(at.get(Place(*place), 0) >= end for place, end in ends.items())

        await eventually_async(reached, seconds=30, what="both logs are in the store")


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    settings = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, prefix=prefix)
    await create_topics(settings, {DIRECTORY: 1, "ledger.africa": 2, "acks.africa": 2})
    client, keys = RawClient(settings, client_id="test"), KeyRing(tmp_path / "keys")
    await client.start()
    async with Publisher(settings, client_id="test") as publisher:
        installation = await found(
            seeds_of({"ao", "bf"}),
            keyring=keys,
            publisher=publisher,
            codec=CODEC,
            follower=DirectoryFollower(client, CODEC),
            clock=SystemClock(),
        )
    world = World(settings, client, keys, installation, tmp_path)
    yield world
    for engine in world.engines:
        await engine.dispose()
    await client.stop()


def a_receipt(at: int, stage: Stage = Stage.RECEIVED, **said: Any) -> Receipt:
    """A bureau's receipt for the message at an offset of the feed."""
    whole: dict[str, Any] = {
        "number": NUMBER,
        "message_id": UUID(int=at + 1),
        "origin": f"notices.africa/0/{at}",
        "digest": sha256(VALUES[at]).digest(),
        "stage": stage,
        "actor": "test",
        "given_at": MORNING + timedelta(minutes=at),
    }
    return Receipt(**(whole | said))


async def verdicts(engine: AsyncEngine) -> list[tuple[int, int, str, str | None]]:
    """Every receipt: offset, index, verdict, reason."""
    async with engine.connect() as connection:
        rows = await connection.execute(
            select(receipts.c.record_offset, receipts.c.record_index, receipts.c.verdict, receipts.c.reason).order_by(
                receipts.c.record_offset, receipts.c.record_index
            )
        )
        return [tuple(row) for row in rows]


async def every_row(engine: AsyncEngine) -> dict[str, list[Any]]:
    """Every row of every table; of the positions, all but how often the shard was taken."""
    async with engine.connect() as connection:
        return {
            table.name: sorted(
                (
                    tuple(row)
                    for row in await connection.execute(
                        select(*(column for column in table.columns if column.name != "epoch"))
                    )
                ),
                key=repr,
            )
            for table in metadata.sorted_tables
        }


async def test_board(world: World) -> None:
    """What was delivered is due until its bureau says something; a notice of end is held against its own digest."""
    await world.enter(0, delivered="ao bf")
    end = await world.enter(1, event=Event.CANCELLED, delivered="ao", ended="bf")
    notice = notice_of_end(end, "bf")
    engine = await world.store()

    async with world.following(engine):
        await world.acknowledge("ao", a_receipt(0), a_receipt(1, Stage.PURGED))
        await world.caught_up(engine)
        ends = {LEDGER: 2}
        assert not await board.everyone_acknowledged(engine, ends)
        told = a_receipt(1, Stage.PURGED, message_id=notice.notice_id, digest=sha256(CODEC.encode(notice)).digest())
        await world.acknowledge("bf", a_receipt(0, Stage.DECLINED, reason=DeclineReason.DUPLICATE), told)
        await world.caught_up(engine)
        assert await board.everyone_acknowledged(engine, ends)
        assert not await board.everyone_acknowledged(engine, {LEDGER: 3})

    africa, *others = await board.read_board(engine)
    assert (africa.messages, africa.due, africa.received, africa.outstanding) == (2, 4, 4, 0)
    assert (africa.accepted, africa.actioned, africa.declined, africa.purged) == (0, 0, 1, 2)
    assert [(row.region, row.messages, row.due) for row in others] == [
        (region.value, 0, 0) for region in Region if region is not Region.AFRICA
    ]
    assert [(row.bureau, row.how, row.stage) for row in await board.read_deliveries(engine, NUMBER)] == [
        ("ao", "delivered", "received"),
        ("bf", "delivered", "declined"),
        ("ao", "delivered", "purged"),
        ("bf", "ended", "purged"),
    ]


async def test_whatever_strangers_write(world: World) -> None:
    """What does not hold is kept with its reason and stops nothing; a stranger's open transaction neither."""
    entry = await world.enter(0, delivered="ao", withheld={"clearance": "bf"})
    good = a_receipt(0)
    value, headers = world.signed("ao", good)
    unsigned = tuple((name, content) for name, content in headers if name not in {"key-id", "signature"})
    torn = (*(pair for pair in headers if pair[0] != "signature"), ("signature", b"AAAA"))

    async def write(value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        await plain_write(world.kafka, "acks.africa", value, headers=headers)

    stranger = AIOKafkaProducer(
        bootstrap_servers=world.kafka.bootstrap_servers, transactional_id=world.kafka.prefix + "stranger"
    )
    await stranger.start()
    await stranger.begin_transaction()
    try:
        await stranger.send_and_wait(world.kafka.prefix + "acks.africa", value, partition=0, headers=list(headers))
        steps: list[tuple[Callable[[], Awaitable[None]], str | None]] = [
            (lambda: write(b"\x00garbage", headers), "undecodable"),
            (lambda: write(None), "undecodable"),
            (lambda: write(CODEC.encode(entry), headers), "undecodable"),
            (lambda: write(value), "undecodable"),
            (lambda: write(value, unsigned), "unsigned"),
            (lambda: write(value, torn), "wrong_signature"),
            (lambda: world.acknowledge("ao", good, installation="a-trial-system"), "wrong_signature"),
            (lambda: world.acknowledge("ao", good, signer=generate("ao")), "key_not_valid"),
            (lambda: world.acknowledge("ao", good, signer=world.keys.signer("bf")), "wrong_bureau"),
            (lambda: world.acknowledge("ao", a_receipt(0, origin="notices.africa/1/0")), "not_its_shard"),
            (lambda: world.acknowledge("ao", a_receipt(0, origin="notices.africa/0/" + "9" * 5000)), "malformed"),
            (lambda: world.acknowledge("ao", a_receipt(0, number="no number\x00")), "malformed"),
            (lambda: world.acknowledge("ao", a_receipt(0, digest=b"\x00" * 32)), "digest"),
            (lambda: world.acknowledge("bf", good), "withheld"),
            (lambda: world.acknowledge("ipsg", good), "unknown_delivery"),
            (lambda: world.acknowledge("ao", good), None),
            (lambda: world.acknowledge("ao", good), "repeated"),
        ]
        for step, _ in steps:
            await step()
        engine = await world.store()

        async with world.following(engine):
            await world.caught_up(engine)
    finally:
        await stranger.abort_transaction()
        await stranger.stop()

    expected = [("not_counted", "transactional")] + [
        ("counted", None) if reason is None else ("not_counted", reason) for _, reason in steps
    ]
    assert [(verdict, reason) for _, _, verdict, reason in await verdicts(engine)] == expected
    assert (await board.read_board(engine, region=Region.AFRICA))[0].received == 1


async def test_receipt_before_its_entry(world: World) -> None:
    """A receipt waits for the ledger, and is then judged as if it had come afterwards."""
    await world.acknowledge("ao", a_receipt(0), a_receipt(1))
    engine = await world.store()

    async with world.following(engine):
        await world.caught_up(engine)
        assert await verdicts(engine) == [(0, 0, "pending", None), (0, 1, "pending", None)]
        await world.enter(0, delivered="ao")
        await world.enter(1, delivered="bf")
        await world.caught_up(engine)

    assert await verdicts(engine) == [(0, 0, "counted", None), (0, 1, "not_counted", "unknown_delivery")]


async def test_taken_over(world: World) -> None:
    """Once a second tracker takes the shard, the first is fenced and writes nothing; the second goes on from there."""
    await world.enter(0, delivered="ao bf")
    await world.acknowledge("ao", a_receipt(0))
    first, second = await world.store(), await world.store()

    async with world.following(first) as fenced:
        await world.caught_up(first)
        async with world.following(second):
            await world.caught_up(second)
            await world.acknowledge("bf", a_receipt(0, Stage.ACCEPTED))
            await world.caught_up(second)
            await world.enter(1, delivered="ao")
            await world.caught_up(second)
            await asyncio.wait([fenced], timeout=90)

    assert fenced.done()
    assert isinstance(fenced.exception(), FencedError)
    assert [row[2] for row in await verdicts(second)] == ["counted", "counted"]
    africa = (await board.read_board(second, region=Region.AFRICA))[0]
    assert (africa.messages, africa.due, africa.received, africa.accepted) == (2, 3, 2, 1)


async def test_deleted_store_is_rebuilt_equal(world: World) -> None:
    """A tracker that followed all along, restarted in between, and one that begins when all is over end equal."""
    engine = await world.store()
    async with world.following(engine):
        await world.acknowledge("bf", a_receipt(1, Stage.ACCEPTED), a_receipt(0))
        await world.enter(0, delivered="ao bf")
        await world.caught_up(engine)
    await world.acknowledge("ao", a_receipt(0, Stage.ACTIONED))
    await world.enter(1, delivered="bf", ended="ao")
    async with world.following(engine):
        await world.acknowledge("ao", a_receipt(0, Stage.PURGED), a_receipt(1))
        await plain_write(world.kafka, "acks.africa", b"garbage")
        await world.caught_up(engine)

    rebuilt = await world.store("rebuilt")
    async with world.following(rebuilt):
        await world.caught_up(rebuilt)

    rows = await every_row(engine)
    assert await every_row(rebuilt) == rows
    assert {name: len(found) for name, found in rows.items()} == {
        "positions": 2,
        "passed": 1,
        "messages": 2,
        "deliveries": 4,
        "receipts": 6,
    }

"""An outbox in the user's own database, and the relay that publishes it to a real Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, create_engine, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from broker.clock import ManualClock, SystemClock
from broker.errors import InvalidMessageError, MisuseError, UnavailableError
from broker.model.naming import Region, Shard
from broker.model.notice import Notice
from noticewire import outbox
from producers.client import Producer
from producers.relay import LEASE, Relay, Relayed, outbox_engine
from tests.support.builders import a_red_notice, bureaus, changed, regions
from tests.support.eventually import eventually_async
from tests.support.plain import read
from tests.support.postgres import a_postgres
from tests.support.processes import write_endpoints
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world

SHARDS = [Shard(Region.AFRICA, partition) for partition in (0, 1)]


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "fr")) as world:
        await asyncio.to_thread(write_endpoints, world)
        yield world


@contextmanager
def database(folder: Path) -> Iterator[Engine]:
    """The user's own database, with the outbox's tables."""
    engine = create_engine(url(folder))
    outbox.create(engine)
    try:
        yield engine
    finally:
        engine.dispose()


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'cases.db'}"


def requests(count: int, *, first: int = 1) -> list[Notice]:
    numbers = [f"zw-n-2026-{serial:06d}" for serial in range(first, first + count)]
    return [a_red_notice(number=number, event="requested", circulation=regions("europe")) for number in numbers] + [
        a_red_notice(number=number, event="withdrawn", issuer="zw", revision=0) for number in numbers
    ]


def left(engine: Engine) -> list[tuple[str, str | None]]:
    """Numbers and codes of what lies in the outbox."""
    with Session(engine) as session:
        rows = session.execute(
            select(outbox.OutboxMessage.number, outbox.OutboxMessage.code).order_by(outbox.OutboxMessage.id)
        )
        return [(row.number, row.code) for row in rows]


async def command(world: World, *words: str, fault: str = "", at: str = "") -> tuple[int, str]:
    """Run `noticewire relay` on the world's database; return its exit code and what it printed, results last."""
    database = at or url(world.data)
    argv = [sys.executable, "-m", "broker.cli.main", "relay", "--database", database, "--data", str(world.data)]
    environment = {**os.environ, "NOTICEWIRE_FAULT": fault}
    environment.pop("NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS", None)
    process = await asyncio.create_subprocess_exec(
        *argv, *words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, errors.decode() + out.decode()


async def test_only_what_is_committed_is_published_and_in_order(world: World) -> None:
    """A rolled back transaction publishes nothing; a committed one all, each notice in its order, sync and async."""
    messages = requests(3)
    rolled_back = requests(1, first=9)[0]
    with database(world.data) as engine:
        with Session(engine) as session:
            outbox.add(session, rolled_back)
            session.flush()
            session.rollback()
        with Session(engine) as session, session.begin():
            for message in messages[:4]:
                outbox.add(session, message)
        async_engine = create_async_engine(f"sqlite+aiosqlite:///{world.data / 'cases.db'}")
        async with AsyncSession(async_engine) as asynchronous, asynchronous.begin():
            for message in messages[4:]:
                outbox.add(asynchronous, message)
        await async_engine.dispose()

        code, out = await command(world, "--once", "--json")
        assert (code, json.loads(out)) == (0, {"published": 6, "refused": []})
        assert left(engine) == []
    feed = [record.value["message_id"] for record in await read(world.kafka, "notices.africa")]
    assert sorted(map(str, feed)) == sorted(str(message.message_id) for message in messages)
    for requested, withdrawn in zip(messages[:3], messages[3:], strict=True):
        assert feed.index(requested.message_id) < feed.index(withdrawn.message_id)


@pytest.mark.parametrize("point", ["relay_before_send:1:SIGKILL", "relay_after_send:1:SIGKILL"])
async def test_a_killed_relay_loses_and_doubles_nothing(world: World, point: str) -> None:
    """Killed before it sends, or before it deletes what landed: the next relay goes on, each message arrives once."""
    messages = requests(2)
    with database(world.data) as engine:
        with Session(engine) as session, session.begin():
            for message in messages:
                outbox.add(session, message)
        code, _ = await command(world, "--once", fault=point)
        assert code == -signal.SIGKILL
        assert len(left(engine)) == 4

        async with outbox_engine(url(world.data)) as opened, Producer.connect(data=world.data, outcomes=False) as sends:
            later = ManualClock(SystemClock().now() + LEASE + timedelta(seconds=1))  # the dead one's lease has ended
            with pytest.raises(UnavailableError, match="another relay works"):
                await Relay(engine=opened, producer=sends).once()
            done = await Relay(engine=opened, producer=sends, clock=later).once()
        assert (done.published, done.refused) == (4, [])
        assert left(engine) == []
    await world.route(*SHARDS)
    assert sorted(await world.messages_in("ipsg")) == sorted(str(message.message_id) for message in messages)
    kinds = [one.value["kind"] for one in await world.read_ledger(SHARDS)]
    assert kinds.count("routed") == 4
    assert kinds.count("repeat") == (4 if point.startswith("relay_after") else 0)


async def test_what_the_door_refuses_stays_with_its_reason(world: World) -> None:
    """A refused message is kept and reported, the others go on; when it is mended in the directory it is sent."""
    good = requests(1)[0]
    bad = a_red_notice(number="zw-n-2026-000001", event="requested", circulation=bureaus("xx"))
    with database(world.data) as engine:
        with Session(engine) as session, session.begin():
            outbox.add(session, bad)
            outbox.add(session, good)
        code, out = await command(world, "--once")
        assert code == 1
        assert "zw-n-2026-000001: refused: circulation.bureaus[0]: xx is not in the directory" in out
        assert out.splitlines()[-1] == "1 published, 1 refused"
        assert left(engine) == [("zw-n-2026-000001", "invalid_message")]
        code, out = await command(world, "--once")
        assert (code, out) == (0, "0 published, 0 refused\n")
        code, out = await command(world, "--once", "--retry-refused", "--json")
        assert code == 1
        assert [one["number"] for one in json.loads(out[out.index("{\n") :])["refused"]] == ["zw-n-2026-000001"]


async def test_a_relay_runs_until_it_is_told_to_stop_and_another_one_stands_by(world: World) -> None:
    """What is committed while it runs is published; at SIGTERM it ends with 0 and gives its lease back."""
    with database(world.data) as engine:
        running = asyncio.create_task(_run_until_stopped(world))
        first, process = requests(1)[0], await running
        try:
            with Session(engine) as session, session.begin():
                outbox.add(session, first)

            async def is_empty() -> bool:
                return not left(engine)

            await eventually_async(is_empty, seconds=90, what="the relay has published it")
            code, out = await command(world, "--once")
            assert code == 1
            assert "another relay works on this outbox" in out
        finally:
            process.terminate()
            async with asyncio.timeout(90):
                code = await process.wait()
        assert code == 0
        with Session(engine) as session:
            assert session.scalar(select(func.count()).select_from(outbox.OutboxLease)) == 0
    assert len(await read(world.kafka, "notices.africa")) == 1


async def _run_until_stopped(world: World) -> asyncio.subprocess.Process:
    argv = [sys.executable, "-m", "broker.cli.main", "relay", "--database", url(world.data), "--data", str(world.data)]
    environment = {**os.environ}
    environment.pop("NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS", None)
    return await asyncio.create_subprocess_exec(*argv, env=environment)


async def test_a_database_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A misspelt path makes no new database; another kind of database, and what is no URL, are refused."""
    for wrong, said in (
        (f"sqlite:///{tmp_path}/misspelt.db", "is not a database file"),
        ("mysql://localhost/cases", "not in mysql"),
        ("cases.db", "not a URL"),
    ):
        with pytest.raises(MisuseError, match=said):
            async with outbox_engine(wrong):
                pass
    assert not (tmp_path / "misspelt.db").exists()
    (tmp_path / "no.db").write_bytes(b"something else" * 100)
    with pytest.raises(MisuseError, match="file is not a database"):
        async with outbox_engine(f"sqlite:///{tmp_path}/no.db"):
            pass


# -------------------------------------------------------------------------------------------------------- PostgreSQL


@pytest.fixture(scope="module")
def postgres() -> Iterator[URL]:
    with a_postgres() as server:
        yield server


@pytest.fixture
async def cases(postgres: URL) -> AsyncIterator[AsyncEngine]:
    """A user's own database on PostgreSQL, fresh, with a table of theirs and none of the outbox's."""
    name = f"cases_{secrets.token_hex(3)}"
    server = create_async_engine(postgres.set(drivername="postgresql+asyncpg"), isolation_level="AUTOCOMMIT")
    async with server.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    await server.dispose()
    engine = create_async_engine(postgres.set(drivername="postgresql+asyncpg", database=name))
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE own (number text)"))
    yield engine
    await engine.dispose()


def said(engine: AsyncEngine) -> str:
    """Where it is, as a user would say it."""
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


async def waiting(engine: AsyncEngine) -> int:
    """How many messages lie in the outbox."""
    async with AsyncSession(engine) as session:
        return await session.scalar(select(func.count()).select_from(outbox.OutboxMessage)) or 0


async def test_postgresql_publishes_what_is_committed_once_and_in_order(world: World, cases: AsyncEngine) -> None:
    """A case and its message are both there or neither; the relay publishes each once, a notice's in their order."""
    messages = requests(3)
    async with cases.begin() as connection:
        await connection.run_sync(outbox.create)
    async with AsyncSession(cases) as session:
        await session.execute(text("INSERT INTO own VALUES ('rolled back')"))
        outbox.add(session, requests(1, first=9)[0])
        await session.flush()
        await session.rollback()
    for message in messages:
        async with AsyncSession(cases) as session, session.begin():
            await session.execute(text("INSERT INTO own VALUES (:number)"), {"number": message.number})
            outbox.add(session, message)
    async with cases.connect() as connection:
        own = (await connection.execute(text("SELECT number FROM own"))).scalars().all()
    assert own == [message.number for message in messages]
    assert await waiting(cases) == 6

    code, out = await command(world, "--once", "--json", at=said(cases))
    assert (code, json.loads(out)) == (0, {"published": 6, "refused": []})
    assert await waiting(cases) == 0
    feed = [record.value["message_id"] for record in await read(world.kafka, "notices.africa")]
    assert sorted(map(str, feed)) == sorted(str(message.message_id) for message in messages)
    for requested, withdrawn in zip(messages[:3], messages[3:], strict=True):
        assert feed.index(requested.message_id) < feed.index(withdrawn.message_id)


async def test_postgresql_lets_transactions_of_one_notice_wait_for_each_other(cases: AsyncEngine) -> None:
    """The second transaction with a notice waits until the first has ended, one with another notice does not."""
    async with cases.begin() as connection:
        await connection.run_sync(outbox.create)
    (first, second), (other, _) = requests(1), requests(1, first=2)

    async def add(message: Notice) -> int:
        async with AsyncSession(cases) as session, session.begin():
            outbox.add(session, message)
            await session.flush()
            return (await session.scalars(select(func.max(outbox.OutboxMessage.id)))).one()

    async def is_held_up() -> bool:
        async with cases.connect() as connection:
            held_up = text(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database ="
                " (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            return bool(await connection.scalar(held_up))

    async with AsyncSession(cases) as session, session.begin():
        outbox.add(session, first)
        await session.flush()
        added = asyncio.create_task(add(second))
        await eventually_async(is_held_up, seconds=30, what="the second transaction waits for the first")
        async with asyncio.timeout(30):
            await add(other)
        assert not added.done()
    await added
    async with AsyncSession(cases) as session:
        rows = await session.scalars(select(outbox.OutboxMessage).order_by(outbox.OutboxMessage.id))
        assert [row.number for row in rows] == [first.number, other.number, second.number]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_of_relays_that_start_together_one_works(world: World, cases: AsyncEngine, kind: str) -> None:
    """On a database without the outbox's tables all of them start, one publishes, and each message is there once."""
    (world.data / "cases.db").touch()
    here = said(cases) if kind == "postgresql" else url(world.data)
    messages = requests(20)
    async with contextlib.AsyncExitStack() as stack:
        producer = await stack.enter_async_context(Producer.connect(data=world.data, outcomes=False))
        opening = [stack.enter_async_context(outbox_engine(here)) for _ in range(4)]
        engines = await asyncio.gather(*opening)
        async with AsyncSession(engines[0]) as session, session.begin():
            for message in messages:
                outbox.add(session, message)
        relays = [Relay(engine=engine, producer=producer) for engine in engines]
        ended = await asyncio.gather(*(relay.once() for relay in relays), return_exceptions=True)
        assert await waiting(engines[0]) == 0
    done = [one for one in ended if isinstance(one, Relayed)]
    others = [one for one in ended if not isinstance(one, Relayed)]
    assert sum(one.published for one in done) == len(messages)
    assert others
    assert all(isinstance(one, UnavailableError) and "another relay works" in str(one) for one in others), others
    feed = [str(record.value["message_id"]) for record in await read(world.kafka, "notices.africa")]
    assert sorted(feed) == sorted(str(message.message_id) for message in messages)


# ----------------------------------------------------------------------------------------------------- without a relay


def test_what_breaks_a_rule_never_enters_a_transaction(tmp_path: Path) -> None:
    """`add` refuses it at once, naming the field; the session goes on without it."""
    wrong = changed(a_red_notice(event="requested"), "judicial.warrants", [])
    with database(tmp_path) as engine, Session(engine) as session, session.begin():
        with pytest.raises(InvalidMessageError, match=r"judicial\.warrants"):
            outbox.add(session, wrong)
        outbox.add(session, requests(1)[0])
    with sqlite3.connect(tmp_path / "cases.db") as plain:
        assert plain.execute("SELECT count(*) FROM noticewire_outbox").fetchone() == (1,)
    plain.close()

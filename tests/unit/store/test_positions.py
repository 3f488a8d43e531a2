"""The unit of work, on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from broker.errors import FencedError, MisuseError
from broker.store.engine import open_store, sqlite_url
from broker.store.positions import Place, next_offsets, take
from broker.store.tables import metadata, passed

LEDGER, ACKS = Place("ledger.africa", 0), Place("acks.africa", 0)


@pytest.fixture
async def engine() -> AsyncIterator[AsyncEngine]:
    engine = await open_store("sqlite+aiosqlite:///:memory:")
    yield engine
    await engine.dispose()


async def how_many(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return (await connection.execute(select(func.count()).select_from(passed))).scalar_one()


async def test_rows_and_position_are_one(engine: AsyncEngine) -> None:
    """What a unit writes is there with the position after it, and the next holder goes on there."""
    holding = await take(engine, (LEDGER, ACKS))

    async with holding.unit({LEDGER: 7}) as connection:
        await connection.execute(insert(passed).values(topic="notices.africa", partition=0, next_offset=1))

    assert await how_many(engine) == 1
    assert dict(holding.next_offsets) == {LEDGER: 7, ACKS: 0}
    assert dict((await take(engine, (LEDGER, ACKS))).next_offsets) == {LEDGER: 7, ACKS: 0}


async def test_neither_after_an_error(engine: AsyncEngine) -> None:
    """A unit that fails leaves neither rows nor a position, and may be done again."""
    holding = await take(engine, (LEDGER,))

    async def fail() -> None:
        async with holding.unit({LEDGER: 7}) as connection:
            await connection.execute(insert(passed).values(topic="notices.africa", partition=0, next_offset=1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert await how_many(engine) == 0
    async with holding.unit({LEDGER: 7}):
        pass
    async with engine.connect() as connection:
        assert await next_offsets(connection) == {LEDGER: 7}


async def test_taken_over(engine: AsyncEngine) -> None:
    """Whoever was taken over is fenced on every partition, also one that it does not move, before it writes."""
    first = await take(engine, (LEDGER, ACKS))
    await take(engine, (ACKS,))

    with pytest.raises(FencedError, match=r"acks\.africa/0"):
        async with first.unit({LEDGER: 7}):
            pytest.fail("the block of a fenced unit must not run")

    async with engine.connect() as connection:
        assert await next_offsets(connection) == {LEDGER: 0, ACKS: 0}


async def test_migrations_make_the_tables(engine: AsyncEngine) -> None:
    """The migrations, which never change, and the tables that the program uses say the same."""

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_newer_store(tmp_path: Path) -> None:
    """A store that a newer program made is refused; one of this program is opened again."""
    url = sqlite_url(tmp_path / "tracker.db")
    first = await open_store(url)
    await first.dispose()
    again = await open_store(url)
    async with again.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await again.dispose()

    with pytest.raises(MisuseError, match="9999"):
        await open_store(url)


async def test_two_engines_on_one_file(tmp_path: Path) -> None:
    """Two engines write to one SQLite file by turns, and each reads what the other wrote."""
    url = sqlite_url(tmp_path / "tracker.db")
    one, other = await open_store(url), await open_store(url)
    mine, theirs = await take(one, (LEDGER,)), await take(other, (ACKS,))

    for next_offset in (1, 2, 3):
        async with mine.unit({LEDGER: next_offset}):
            pass
        async with theirs.unit({ACKS: next_offset}):
            pass

    async with one.connect() as connection:
        assert await next_offsets(connection) == {LEDGER: 3, ACKS: 3}
    await one.dispose()
    await other.dispose()

"""The tracker's store on a real PostgreSQL: as on SQLite, it is made once, owned, and never opened past its version."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from broker.errors import MisuseError
from broker.store.engine import make_engine, open_store, open_to_read
from broker.store.tables import metadata
from tests.support.postgres import a_postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[URL]:
    with a_postgres() as server:
        yield server.set(drivername="postgresql+asyncpg")


@pytest.fixture
async def url(postgres: URL) -> str:
    """A database of its own, empty."""
    name = f"tracker_{secrets.token_hex(3)}"
    server = create_async_engine(postgres, isolation_level="AUTOCOMMIT")
    async with server.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    await server.dispose()
    return postgres.set(database=name).render_as_string(hide_password=False)


async def test_services_that_start_together_make_one_store(url: str) -> None:
    """Each waits for the one that migrates, and the tables are those that the program knows."""
    engines = await asyncio.gather(*(open_store(url) for _ in range(4)))

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with engines[0].connect() as connection:
        assert await connection.run_sync(differences) == []
    for engine in engines:
        await engine.dispose()


async def test_what_is_opened_to_read_is_neither_made_nor_changed(url: str) -> None:
    """An empty database is refused and stays empty; of a store, every statement that would change it is refused."""
    with pytest.raises(MisuseError, match="no service has written this store yet"):
        await open_to_read(url)
    service = await open_store(url)
    async with service.begin() as connection:
        await connection.execute(text("INSERT INTO positions VALUES ('ledger.africa', 0, 1, 7)"))
    shown = await open_to_read(url)
    async with shown.connect() as connection:
        assert (await connection.execute(text("SELECT next_offset FROM positions"))).scalar_one() == 7
        with pytest.raises(DBAPIError, match="read-only transaction"):
            await connection.execute(text("DELETE FROM positions"))
    await shown.dispose()
    await service.dispose()


async def test_a_newer_store_is_refused(url: str) -> None:
    """By its service and by whoever would only show it, and nothing in it is changed."""
    await (await open_store(url)).dispose()
    engine = make_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for opening in (open_store, open_to_read):
        with pytest.raises(MisuseError, match=r"newer Noticewire .*9999"):
            await opening(url)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one() == "9999"
    await engine.dispose()

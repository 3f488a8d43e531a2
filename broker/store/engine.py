"""Open a store: SQLite in a file or in memory, or PostgreSQL; brought to this program's tables, never past them.

Its service opens it with `open_store`, which makes and migrates it; whoever only shows what it holds, with
`open_to_read`, which changes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import StaticPool, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from broker.errors import MisuseError, StorageError
from broker.store.disk import disk_problem

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine

BUSY_TIMEOUT_MS = 30_000
"""SQLite has one writer; twelve shards of one tracker, and the console's reads, wait for each other this long."""

_MIGRATING = 0x6E77  # PostgreSQL's advisory lock: two services that start together do not both migrate
_MIGRATIONS = Path(__file__).parent / "migrations"
_NOT_YET = "no service has written this store yet: start the one that does, or name another"
_NEWER = "the store is of a newer Noticewire (its tables are of revision {}); start that one"


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file."""
    return f"sqlite+aiosqlite:///{path}"


def make_engine(url: str) -> AsyncEngine:
    """Return an engine over `sqlite+aiosqlite:///...` or `postgresql+asyncpg://...`; connects to nothing yet."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(parsed, pool_pre_ping=True)
    if parsed.database in {None, "", ":memory:"}:
        # Each connection to :memory: would be a store of its own.
        engine = create_async_engine(parsed, poolclass=StaticPool)
    else:
        engine = create_async_engine(parsed)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


async def open_to_read(url: str) -> AsyncEngine:
    """Return an engine over a store that has exactly the tables of this program; nothing can be written through it.

    Raises:
        MisuseError: there is no such store, or another version of the program made it.
    """
    engine = _reading_engine(url)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_refuse_other_tables)
    except BaseException:
        await engine.dispose()
        raise
    return engine


def _reading_engine(url: str) -> AsyncEngine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(parsed, pool_pre_ping=True, execution_options={"postgresql_readonly": True})
    path = Path(parsed.database or "").absolute()
    if not path.exists():
        raise MisuseError(_NOT_YET)
    database = f"file:{quote(str(path))}"
    engine = create_async_engine(parsed.set(database=database, query={"mode": "ro", "uri": "true"}))
    event.listen(engine.sync_engine, "connect", _wait_for_others)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _refuse_other_tables(connection: Connection) -> None:
    scripts = ScriptDirectory.from_config(_config())
    present, needed = MigrationContext.configure(connection).get_current_revision(), scripts.get_current_head()
    if present is None:
        raise MisuseError(_NOT_YET)
    if present not in {revision.revision for revision in scripts.walk_revisions()}:
        raise MisuseError(_NEWER.format(present))
    if present != needed:
        raise MisuseError(
            f"the store is of an older Noticewire (its tables are of revision {present}, not {needed}); start its"
            " service, which brings it up to date"
        )


async def open_store(url: str) -> AsyncEngine:
    """Return an engine over a store that has exactly the tables of this program.

    Raises:
        MisuseError: a newer program made it; nothing was changed.
        StorageError: its disk is full or broken.
    """
    engine = make_engine(url)
    try:
        async with engine.execution_options(writes=True).begin() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATING})
            await connection.run_sync(_migrate)
    except BaseException as error:
        await engine.dispose()
        if isinstance(error, OperationalError) and (problem := disk_problem(error.orig)) is not None:
            raise StorageError(engine.url.database, problem) from error
        raise
    return engine


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _migrate(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    present = MigrationContext.configure(connection).get_current_revision()
    if present is not None and present not in known:
        raise MisuseError(_NEWER.format(present))
    command.upgrade(config, "head")


def _prepare_sqlite(connection: Any, record: Any) -> None:
    _wait_for_others(connection, record)
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")  # the board is read while receipts are written
    # A power cut may take the last transactions, never half of one: rows and position go together, so what is lost is
    # read from the log again. FULL would wait for the disk at every poll for nothing.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _wait_for_others(connection: Any, _record: Any) -> None:
    # Without this Python's driver begins transactions by itself, and only before some statements.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once if another wrote in between, busy_timeout or not.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

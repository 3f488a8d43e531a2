"""A store that is only shown is neither made nor changed."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from broker.errors import MisuseError
from broker.store import engine as opening
from broker.store.engine import make_engine, open_store, open_to_read, sqlite_url

_LATER = """
revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None


def upgrade() -> None:
    pass
"""


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def a_store(path: Path) -> None:
    """What a tracker of today leaves behind."""
    await (await open_store(sqlite_url(path))).dispose()


async def test_what_is_opened_to_read_cannot_be_written(tmp_path: Path) -> None:
    """It shows what is there, beside its service that writes, and no statement through it changes anything."""
    path = tmp_path / "a b%.db"
    service = await open_store(sqlite_url(path))
    shown = await open_to_read(sqlite_url(path))
    async with service.begin() as connection:
        await connection.execute(text("INSERT INTO positions VALUES ('ledger.africa', 0, 1, 7)"))
    async with shown.connect() as connection:
        assert (await connection.execute(text("SELECT next_offset FROM positions"))).scalar_one() == 7
        with pytest.raises(OperationalError, match="readonly"):
            await connection.execute(text("DELETE FROM positions"))
    await shown.dispose()
    await service.dispose()


async def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """An empty one would show that nothing is outstanding."""
    with pytest.raises(MisuseError, match="no service has written this store yet"):
        await open_to_read(sqlite_url(tmp_path / "tracker.db"))
    assert names(tmp_path) == []


async def test_a_store_without_tables_is_refused(tmp_path: Path) -> None:
    """A file that holds none of ours shows nothing, and stays as it is."""
    (tmp_path / "tracker.db").touch()
    with pytest.raises(MisuseError, match="no service has written this store yet"):
        await open_to_read(sqlite_url(tmp_path / "tracker.db"))
    assert (tmp_path / "tracker.db").stat().st_size == 0


async def test_an_older_store_is_refused_and_not_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the service that owns a store brings it up to date."""
    path = tmp_path / "tracker.db"
    await a_store(path)
    before = sha256(path.read_bytes()).digest()
    migrations = shutil.copytree(opening._MIGRATIONS, tmp_path / "migrations")
    (migrations / "versions" / "0002_later.py").write_text(_LATER)
    monkeypatch.setattr(opening, "_MIGRATIONS", migrations)

    with pytest.raises(MisuseError, match=r"older Noticewire .*revision 0001, not 0002"):
        await open_to_read(sqlite_url(path))
    assert sha256(path.read_bytes()).digest() == before


async def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    """Its tables may mean something else."""
    path = tmp_path / "tracker.db"
    await a_store(path)
    engine = make_engine(sqlite_url(path))
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await engine.dispose()

    with pytest.raises(MisuseError, match=r"newer Noticewire .*9999"):
        await open_to_read(sqlite_url(path))

"""Stores and archives of every version so far open today; and none opens one that is newer than itself."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.errors import CorruptHistoryError, MisuseError
from broker.store.engine import open_store, sqlite_url
from broker.store.positions import Place, next_offsets
from broker.store.tables import messages
from consumers.bureau.state import BureauState
from consumers.router.life import NoticeState, Phase
from consumers.router.memory import MemoryCache
from tests.support.archives import check, open_archive
from tests.support.freeze import INSTALLATION, KEY, NUMBER, SHARD, thawed

FROZEN = sorted((Path(__file__).parents[1] / "data" / "frozen").iterdir())


@pytest.fixture(params=FROZEN, ids=lambda path: path.name)
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What a version left on disk."""
    return thawed(request.param, tmp_path / "data")


def made_newer(path: Path) -> Path:
    """The store as a later version might leave it."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
        database.commit()
    return path


async def test_a_tracker_s_store_opens(data: Path) -> None:
    """It is brought up to date, and has the positions and messages that it had."""
    engine = await open_store(sqlite_url(data / "tracker.db"))
    async with engine.connect() as connection:
        assert await next_offsets(connection) == {Place("acks.africa", 0): 0, Place("ledger.africa", 0): 1}
        assert (await connection.execute(select(messages.c.number, messages.c.issuer))).all() == [(NUMBER, "ipsg")]
    await engine.dispose()


def test_a_bureau_s_file_opens(data: Path) -> None:
    """It has its position, what was set aside, and the receipts that it still owes, byte for byte."""
    state = BureauState.open(data / "ke.db", bureau="ke", installation=INSTALLATION)

    assert state.position == 4
    assert [(one.offset, one.reason) for one in state.parked()] == [(3, "undecodable")]
    assert [(one.value, one.headers) for one in state.owed()] == [(b"a signed receipt", (("key-id", b"ke.0"),))]
    state.close()


def test_a_router_s_cache_opens(data: Path) -> None:
    """It spares the fold; were it lost instead, that would cost time only, and this test would say so."""
    cache = MemoryCache(data / "africa-0.db", shard=SHARD, log_id=INSTALLATION)
    memory, ledger_offset = cache.load()

    assert ledger_offset == 2
    assert memory.positions["notices.africa"] == 1
    assert memory.notice(NUMBER) == NoticeState(Phase.IN_FORCE, 1, frozenset({"ke", "zw"}))
    assert memory.digest(KEY) == bytes(32)
    cache.close()


def test_an_archive_opens_and_verifies(data: Path) -> None:
    """Offline with its public key; and its service goes on writing it."""
    assert check(data / "archive").holds
    archive = open_archive(data / "archive")
    assert archive.size == check(data / "archive").counts.leaves > 0
    archive.close()


def test_a_bureau_s_file_of_a_newer_version_is_refused(data: Path) -> None:
    """By its service and by whoever looks; it names the version."""
    path = made_newer(data / "ke.db")
    before = path.read_bytes()

    with pytest.raises(MisuseError, match=r"newer Noticewire .*99"):
        BureauState.open(path, bureau="ke", installation=INSTALLATION)
    with pytest.raises(MisuseError, match=r"newer Noticewire .*99"):
        BureauState.look(path)
    assert path.read_bytes() == before


def test_a_router_s_cache_of_a_newer_version_is_made_anew(data: Path) -> None:
    """It is a cache: the ledger is folded from its beginning."""
    cache = MemoryCache(made_newer(data / "africa-0.db"), shard=SHARD, log_id=INSTALLATION)

    memory, ledger_offset = cache.load()

    assert ledger_offset == 0
    assert memory.notice(NUMBER) is None
    cache.close()


def test_an_archive_of_a_newer_version_is_refused(data: Path) -> None:
    """Nothing is cut off what it does not understand."""
    path = data / "archive" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    before = {file: file.read_bytes() for file in (data / "archive").rglob("*") if file.is_file()}

    with pytest.raises(CorruptHistoryError, match=r"newer Noticewire .*99"):
        open_archive(data / "archive")
    assert {file: file.read_bytes() for file in before} == before

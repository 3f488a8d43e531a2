"""Stores and archives of every version so far open today; and none opens one that is newer than itself."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from broker.errors import CorruptHistoryError, MisuseError
from broker.model.notice import Notice
from broker.model.receipt import Stage
from broker.schema.codec import Codec
from broker.store.engine import open_store, sqlite_url
from broker.store.positions import Place as Partition
from broker.store.positions import next_offsets
from broker.store.tables import messages
from broker.transport.headers import parse_headers
from consumers.bureau.state import BureauState
from consumers.router.life import NoticeState, Phase
from consumers.router.memory import MemoryCache
from producers.importers.imported import Imported, Place
from producers.journal import Journal
from tests.support.archives import check, open_archive
from tests.support.freeze import AT, INSTALLATION, KEY, NUMBER, NUMBER_WAITING, SHARD, journal_key, thawed

ACCEPTED = Stage.ACCEPTED
ROWS_OF_VERSION_1 = """
INSERT INTO delivery VALUES ('ipsg', 'zw-n-2026-000001', '00000000-0000-0000-0000-000000000007', 'message',
    'notices.africa/0/0', x'01', 2, 'accepted', 1);
INSERT INTO holding VALUES ('zw-n-2026-000001', 'published', 1, 'notices.africa/0/0', 1777636800000,
    CAST('a copy' AS BLOB), x'01');
"""
FROZEN = sorted((Path(__file__).parents[1] / "data" / "frozen").iterdir())


@pytest.fixture(params=FROZEN[1:], ids=lambda path: path.name)
def later_data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What a version left on disk, from the one on that froze a journal, imports, and a bureau's file with rows."""
    return thawed(request.param, tmp_path / "data")


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
        assert await next_offsets(connection) == {Partition("acks.africa", 0): 0, Partition("ledger.africa", 0): 1}
        assert (await connection.execute(select(messages.c.number, messages.c.issuer))).all() == [(NUMBER, "ipsg")]
    await engine.dispose()


def test_a_bureau_s_file_opens(data: Path) -> None:
    """It has its position, what was set aside, and the receipts that it still owes, byte for byte."""
    state = BureauState.open(data / "ke.db", bureau="ke", installation=INSTALLATION)

    assert state.position == 4
    assert [(one.offset, one.reason) for one in state.parked()] == [(3, "undecodable")]
    assert [(one.value, one.headers) for one in state.owed()] == [(b"a signed receipt", (("key-id", b"ke.0"),))]
    state.close()


def test_a_bureau_s_file_keeps_its_deliveries_and_holdings(later_data: Path) -> None:
    """How far each delivery is, and the copy that is held, byte for byte, which can still be read."""
    state = BureauState.open(later_data / "gh.db", bureau="gh", installation=INSTALLATION)

    (held,), (waiting,) = state.deliveries(NUMBER), state.deliveries(NUMBER_WAITING)
    assert (held.signer, held.kind, held.offset, held.stage, held.finished) == ("ipsg", "message", 3, ACCEPTED, True)
    assert (waiting.offset, waiting.stage, waiting.finished) == (4, Stage.RECEIVED, False)
    assert held.traceparent is not None
    (holding,) = state.holdings()
    assert (holding.number, holding.event, holding.revision, holding.origin) == (NUMBER, "published", 1, held.origin)
    assert sha256(holding.value or b"").digest() == holding.digest == held.digest
    assert Codec.load().decode(holding.value or b"", Notice).message_id == held.id
    state.close()


def test_deliveries_of_a_bureau_s_first_file_are_migrated(tmp_path: Path) -> None:
    """What the first version froze, and rows as it wrote them: each is kept, and belongs to no trace."""
    path = thawed(FROZEN[0], tmp_path / "data") / "ke.db"
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        database.executescript(ROWS_OF_VERSION_1)

    state = BureauState.open(path, bureau="ke", installation=INSTALLATION)

    (known,) = state.deliveries(NUMBER)
    assert (known.signer, known.id, known.offset) == ("ipsg", UUID(int=7), 2)
    assert (known.digest, known.stage, known.finished, known.traceparent) == (b"\1", ACCEPTED, True, None)
    (holding,) = state.holdings()
    assert (holding.number, holding.event, holding.value, holding.digest) == (NUMBER, "published", b"a copy", b"\1")
    assert state.position == 4
    state.close()


async def test_a_publisher_s_journal_opens(later_data: Path) -> None:
    """It has what waits, sealed, byte for byte as it was signed, and what failed, with the reason."""
    journal = await Journal.open(later_data / "journal.db", key_file=journal_key(later_data))

    (waiting,), (failed,) = await journal.waiting(), await journal.failures()
    assert waiting.number == NUMBER_WAITING
    assert (failed.number, failed.accepted_at, failed.code) == (NUMBER, AT, "invalid_field")
    letter = await journal.letter(waiting.sequence)
    assert (letter.issuer, letter.installation) == ("ipsg", INSTALLATION)
    assert parse_headers(letter.headers).id == str(waiting.message_id)
    assert Codec.load().decode(letter.value, Notice).message_id == waiting.message_id
    await journal.close()


def test_a_record_of_imports_opens(later_data: Path) -> None:
    """What was imported is a repeat, with its time; a change continues what came to Kafka, and nothing else."""
    known = {1: bytes(32), 2: b"\1" * 32}

    def place(imported: Imported, serial: int, digest: bytes) -> Place:
        number, source = f"zw-d-2021-{serial:06d}", f"red/2021/{serial}"
        return imported.place(number=number, source=source, digest=digest, now=AT + timedelta(days=1))

    with Imported.open(later_data / "imports.db") as imported:
        assert [one.number for one in imported.unlanded()] == ["zw-d-2021-000002"]
        again = [place(imported, serial, digest) for serial, digest in known.items()]
    assert [(one.revision, one.issued_at, one.is_new) for one in again] == [(1, AT, False)] * 2
    with Imported.open(later_data / "imports.db") as imported:
        assert [place(imported, serial, b"changed").revision for serial in known] == [2, 1]


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


async def test_a_journal_and_imports_of_a_newer_version_are_refused(later_data: Path) -> None:
    """By whoever publishes or imports, and by whoever only looks; the version is named."""
    journal, imports = (made_newer(later_data / name) for name in ("journal.db", "imports.db"))
    before = imports.read_bytes()

    with pytest.raises(MisuseError, match=r"newer Noticewire .*99"):
        await Journal.open(journal, key_file=journal_key(later_data))
    for keep in (True, False):
        with pytest.raises(MisuseError, match=r"newer Noticewire .*99"), Imported.open(imports, keep=keep):
            pass
    assert imports.read_bytes() == before


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

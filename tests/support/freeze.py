"""Make a store of each kind and an archive, small and fictitious, as this version writes them.

    python -m tests.support.freeze tests/data/frozen/v1

What was frozen once is never made again: it stands for what lies on people's disks, and only what a folder lacks is
added. A version that changes a store freezes its own beside it, and the test opens all of them.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from broker.errors import InvalidFieldError
from broker.model.naming import Region, Shard
from broker.model.receipt import Stage
from broker.schema.codec import Codec
from broker.store.engine import open_store, sqlite_url
from broker.store.positions import Place, take
from broker.store.tables import messages
from broker.transport.inbox import InboxDecoder
from broker.trust.keys import generate
from broker.trust.private_files import write_private
from consumers.bureau.state import BureauState
from consumers.bureau.tables import Owed, Parked
from consumers.router.life import NoticeState, Phase
from consumers.router.memory import MemoryCache
from producers.importers.imported import Imported
from producers.journal import Journal
from producers.letter import Letter
from tests.support.archives import an_archive
from tests.support.inbox_world import InboxWorld, a_notice

INSTALLATION = "frozen"
SHARD = Shard(Region.AFRICA, 0)
NUMBER = "zw-n-2026-000001"
NUMBER_WAITING = "zw-n-2026-000002"
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
KEY = ("ipsg", NUMBER, str(UUID(int=7)))


async def freeze(folder: Path) -> None:
    """Write what is not there yet."""
    if not (folder / "archive").exists():
        an_archive(folder / "archive")
        (folder / "archive" / "lock").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        await _tracker(scratch / "tracker.db")
        _bureau(scratch / "ke.db")
        _bureau_with_rows(scratch / "gh.db")
        _memory(scratch / "africa-0.db")
        await _journal(scratch / "journal.db", journal_key(scratch))
        _imports(scratch / "imports.db")
        _add(scratch, folder)


def _add(scratch: Path, folder: Path) -> None:
    for store in scratch.glob("*.db"):
        if not (folder / store.name).exists():
            _whole(store, folder / store.name)


async def _tracker(path: Path) -> None:
    engine = await open_store(sqlite_url(path))
    places = [Place("ledger.africa", 0), Place("acks.africa", 0)]
    holding = await take(engine, places)
    async with holding.unit({places[0]: 1}) as connection:
        await connection.execute(
            messages.insert().values(
                origin="notices.africa/0/0",
                region="africa",
                partition=0,
                ledger_offset=0,
                number=NUMBER,
                event="published",
                revision=1,
                message_id=UUID(int=7),
                issuer="ipsg",
                digest=bytes(32),
                appended_at=AT,
                withheld="",
            )
        )
    await engine.dispose()


def _bureau(path: Path) -> None:
    state = BureauState.open(path, bureau="ke", installation=INSTALLATION)
    parked = Parked(offset=3, reason="undecodable", detail="too few bytes", appended_at=AT, key=b"k", value=b"v")
    owed = Owed(shard=SHARD, value=b"a signed receipt", headers=(("key-id", b"ke.0"),))
    state.seal(touched=[], parked=[parked], owed=[owed])
    state.settle([], next_offset=4)
    state.close()


def _bureau_with_rows(path: Path) -> None:
    """A notice that was accepted and is held, and one that is not finished."""
    world = InboxWorld(Codec.load())
    decoder = InboxDecoder(world.codec)
    held, waiting = (
        decoder.decode(world.record(a_notice(number=number), offset=offset), bureau="gh", directory=world.directory)
        for offset, number in enumerate((NUMBER, NUMBER_WAITING), start=3)
    )
    state = BureauState.open(path, bureau="gh", installation=INSTALLATION)
    state.seal(touched=[(held, Stage.ACCEPTED, True), (waiting, Stage.RECEIVED, False)], next_offset=4)
    state.close()


def journal_key(folder: Path) -> Path:
    """Write the key of the journal that is frozen: no mode 0600 survives in a repository."""
    path = folder / "journal.key"
    write_private(path, b"07" * 32 + b"\n")
    return path


async def _journal(path: Path, key_file: Path) -> None:
    """A message that waits for Kafka, and one that was refused."""
    journal = await Journal.open(path, key_file=key_file)
    signer = generate("ipsg")
    for number in (NUMBER, NUMBER_WAITING):
        letter = Letter.written(a_notice(number=number), signer=signer, installation=INSTALLATION, codec=Codec.load())
        entry = await journal.accept(letter, at=AT)
        if number == NUMBER:
            await journal.failed(entry.sequence, InvalidFieldError("texts", "is none", "one at least"), at=AT)
    await journal.close()


def _imports(path: Path) -> None:
    """An extract that came to Kafka, and one of which nobody knows."""
    with Imported.open(path) as imported:
        for serial, digest in ((1, bytes(32)), (2, b"\1" * 32)):
            number, source = f"zw-d-2021-{serial:06d}", f"red/2021/{serial}"
            place = imported.place(number=number, source=source, digest=digest, now=AT)
            if serial == 1:
                imported.landed(place)


def _memory(path: Path) -> None:
    cache = MemoryCache(path, shard=SHARD, log_id=INSTALLATION)
    memory, _ = cache.load()
    memory.notices[NUMBER] = NoticeState(Phase.IN_FORCE, 1, frozenset({"ke", "zw"}))
    memory.seen[KEY] = bytes(32)
    memory.positions["notices.africa"] = 1
    cache.save(memory, 2)
    cache.close()


def _whole(source: Path, target: Path) -> None:
    """Copy a store as one file."""
    with closing(sqlite3.connect(source)) as there, closing(sqlite3.connect(target)) as here:
        there.backup(here)
        here.execute("PRAGMA journal_mode = DELETE")
        here.execute("VACUUM")


def thawed(frozen: Path, folder: Path) -> Path:
    """Return a copy to be opened: opening changes a store."""
    return Path(shutil.copytree(frozen, folder))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(freeze(folder))

"""Make a store of each kind and an archive, small and fictitious, as this version writes them.

    python -m tests.support.freeze tests/data/frozen/v1

What was frozen once is never made again: it stands for what lies on people's disks. A version that changes a store
freezes its own beside it, and the test opens all of them.
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

from broker.model.naming import Region, Shard
from broker.store.engine import open_store, sqlite_url
from broker.store.positions import Place, take
from broker.store.tables import messages
from consumers.bureau.state import BureauState
from consumers.bureau.tables import Owed, Parked
from consumers.router.life import NoticeState, Phase
from consumers.router.memory import MemoryCache
from tests.support.archives import an_archive

INSTALLATION = "frozen"
SHARD = Shard(Region.AFRICA, 0)
NUMBER = "zw-n-2026-000001"
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
KEY = ("ipsg", NUMBER, str(UUID(int=7)))


async def freeze(folder: Path) -> None:
    """Write all of it."""
    an_archive(folder / "archive")
    with tempfile.TemporaryDirectory() as scratch:
        await _tracker(Path(scratch) / "tracker.db")
        _bureau(Path(scratch) / "ke.db")
        _memory(Path(scratch) / "africa-0.db")
        for store in ("tracker.db", "ke.db", "africa-0.db"):
            _whole(Path(scratch) / store, folder / store)


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
    folder.mkdir(parents=True)  # fails where something is frozen already
    asyncio.run(freeze(folder))
    (folder / "archive" / "lock").unlink(missing_ok=True)

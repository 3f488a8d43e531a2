"""The router's memory of a shard: a fold of its ledger partition, and the position in its feeds.

There is nothing to trust but the ledger. A local cache saves folding it from the start; it may be deleted. What the
cache holds need not lie in the process's memory as well: that grows for ever, at 700 bytes a message with eight bureaus
and 3,300 with all of them (measured), because an id that was used once must be known for good.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import structlog

from broker.errors import CorruptHistoryError, StorageError, UnavailableError
from broker.model.ledger import EntryKind, LedgerEntry
from broker.model.naming import Shard, bureaus_of, codes, feeds
from broker.observe.observers import StorageObserver
from broker.store.disk import disk_problem
from consumers.router.life import NoticeState, Phase, after

logger = structlog.get_logger(__name__)

MessageKey = tuple[str, str, str]
"""Issuer, notice number, message id: within these three, a message id is used once."""


class Past(Protocol):
    """Whatever knows a shard's past: a memory, or the cache."""

    def notice(self, number: str) -> NoticeState | None:
        """Return what is known of a notice."""
        ...

    def digest(self, key: MessageKey) -> bytes | None:
        """Return the digest of the message that was routed under an id, if one was."""
        ...


@dataclass(slots=True)
class Memory:
    """What a shard's past comes to.

    A draft is a memory laid over another: it reads through, and keeps what is new to itself until it is merged, so
    that what a failed transaction would have changed is dropped with it. In the same way a memory lies over the cache,
    and holds only what is not in there.
    """

    positions: dict[str, int]
    """Feed to the offset to read on from; the partition is the shard's."""
    notices: dict[str, NoticeState] = field(default_factory=dict)
    seen: dict[MessageKey, bytes] = field(default_factory=dict)
    """SHA-256 of every routed message's value."""
    beneath: Past | None = None

    @classmethod
    def empty(cls, shard: Shard) -> Self:
        """Return the memory of a shard of which nothing was read."""
        return cls(dict.fromkeys(feeds(shard.region), 0))

    def draft(self) -> Memory:
        """Return a memory over this one, to be merged once its transaction has committed."""
        return Memory(dict(self.positions), beneath=self)

    def merge(self, draft: Memory) -> None:
        """Take over what a draft of this memory learned."""
        self.positions = draft.positions
        self.notices |= draft.notices
        self.seen |= draft.seen

    def shelve(self) -> None:
        """Let go of what the cache beneath has taken over: it is read from there."""
        self.notices.clear()
        self.seen.clear()

    def notice(self, number: str) -> NoticeState | None:
        """Return what is known of a notice.

        Raises:
            UnavailableError: the cache beneath was lost.
        """
        found = self.notices.get(number)
        return found if found is not None or self.beneath is None else self.beneath.notice(number)

    def digest(self, key: MessageKey) -> bytes | None:
        """Return the digest of the message that was routed under an id, if one was.

        Raises:
            UnavailableError: the cache beneath was lost.
        """
        found = self.seen.get(key)
        return found if found is not None or self.beneath is None else self.beneath.digest(key)

    def enter(self, entry: LedgerEntry) -> None:
        """Fold one entry in.

        Raises:
            CorruptHistoryError: it does not begin where the one before it of the same feed ended.
        """
        expected = self.positions.get(entry.topic)
        if entry.from_offset != expected:
            raise CorruptHistoryError(
                str(entry.origin), f"the ledger enters this after {entry.topic} had been entered up to {expected}"
            )
        self.positions[entry.topic] = entry.next_offset
        if entry.kind is not EntryKind.ROUTED:
            return
        if entry.number is None or entry.message_id is None or entry.issuer is None or entry.digest is None:
            raise CorruptHistoryError(str(entry.origin), "a routed entry lacks number, message id, issuer or digest")
        self.seen[entry.issuer, entry.number, str(entry.message_id)] = entry.digest
        if entry.event is not None and entry.revision is not None:  # a command changes no notice
            self.notices[entry.number] = after(
                self.notice(entry.number),
                entry.event,
                entry.revision,
                owner=entry.number.rsplit("-", 3)[0],
                issuer=entry.issuer,
                given=bureaus_of(entry.delivered),
            )


class MemoryCache:
    """A shard's memory on disk, with the ledger offset up to which it is folded.

    Written after each commit and never before it, so it is at most behind. Losing it, also by a crash of the machine,
    costs a longer fold and nothing else: hence no fsync (`synchronous=NORMAL` with a write-ahead log keeps it whole).

    It is read from, too. Whoever reads what a predecessor that hangs, or a successor, has written meanwhile decides in
    a transaction that the fence fails, or finds the cache void at the next save.
    """

    _SCHEMA = """
        CREATE TABLE IF NOT EXISTS fold (of TEXT PRIMARY KEY, ledger_offset INTEGER NOT NULL);
        CREATE TABLE IF NOT EXISTS positions (topic TEXT PRIMARY KEY, next_offset INTEGER NOT NULL);
        CREATE TABLE IF NOT EXISTS notices
            (number TEXT PRIMARY KEY, phase TEXT NOT NULL, revision INTEGER NOT NULL, holders TEXT NOT NULL);
        CREATE TABLE IF NOT EXISTS seen
            (issuer TEXT, number TEXT, message_id TEXT, digest BLOB NOT NULL,
             PRIMARY KEY (issuer, number, message_id)) WITHOUT ROWID;
    """

    _VERSION = 1  # of these tables: a cache of any other version, older or newer, is lost, and folded anew

    def __init__(self, path: Path, *, shard: Shard, log_id: str, observer: StorageObserver | None = None) -> None:
        """Name the file.

        Args:
            path: the SQLite file; made where it is missing.
            shard: whose memory it is.
            log_id: names the log that is folded (the installation); a cache of another one is thrown away.
            observer: is told whether the disk takes it.
        """
        self._observer = observer or StorageObserver()
        self._path = path
        self._shard = shard
        self._of = f"{log_id} {shard}"
        self._database: sqlite3.Connection | None = None
        self._ledger_offset = 0
        # A save goes on in its thread when the task that awaits it is cancelled, and closes the file.
        self._using = threading.RLock()

    def load(self) -> tuple[Memory, int]:
        """Return a memory over this cache, and the ledger offset to fold on from; an unreadable one counts as none."""
        with self._using:
            self.close()
            for _ in ("as it is", "made anew"):
                try:
                    self._database = self._open()
                    memory, self._ledger_offset = self._read(self._database)
                except (sqlite3.Error, OSError, ValueError) as error:  # garbage; or a phase of a later version
                    self._lose(error)
                else:
                    return memory, self._ledger_offset
            return Memory.empty(self._shard), 0  # nothing can be kept on this disk: then every fold is a whole one

    def notice(self, number: str) -> NoticeState | None:
        """Return what is known of a notice.

        Raises:
            UnavailableError: the cache was lost or closed.
        """
        row = self._look("SELECT phase, revision, holders FROM notices WHERE number = ?", (number,))
        try:
            return None if row is None else NoticeState(Phase(row[0]), row[1], bureaus_of(row[2]))
        except ValueError as error:  # a phase of a later version
            with self._using:
                self._lose(error)
            raise UnavailableError("the shard's cache cannot be understood") from error

    def digest(self, key: MessageKey) -> bytes | None:
        """Return the digest of the message that was routed under an id, if one was.

        Raises:
            UnavailableError: the cache was lost or closed.
        """
        row = self._look("SELECT digest FROM seen WHERE issuer = ? AND number = ? AND message_id = ?", key)
        return None if row is None else bytes(row[0])

    def _look(self, query: str, values: tuple[str, ...]) -> Any:
        with self._using:
            if self._database is None:
                raise UnavailableError("the shard's cache was lost or closed")
            try:
                return self._database.execute(query, values).fetchone()
            except sqlite3.Error as error:
                self._lose(error)
                raise UnavailableError("the shard's cache cannot be read") from error

    def save(self, learned: Memory, ledger_offset: int) -> bool:
        """Add what was learned since the last save or load; does nothing once the cache was lost.

        It is lost to somebody else who wrote it, or to a disk that fails.

        Args:
            learned: a merged draft, or the whole memory after a fold.
            ledger_offset: the first ledger offset that is not folded.

        Returns:
            Whether the cache holds everything up to that offset.
        """
        with self._using:
            if self._database is None:
                return False
            try:
                with self._database as database:
                    is_ours = self._move(database, ledger_offset)
                    if is_ours:
                        self._write(database, learned)
            except sqlite3.Error as error:
                self._lose(error)
                return False
            if is_ours:
                self._ledger_offset = ledger_offset
                self._observer.written()
            else:
                self.close()
            return is_ours

    def renew(self, memory: Memory, ledger_offset: int) -> bool:
        """Begin anew after a loss, with a memory that holds the whole past.

        Returns:
            Whether the cache holds everything up to that offset.
        """
        with self._using:
            _, at = self.load()
            return at == 0 and self.save(memory, ledger_offset)

    def _move(self, database: sqlite3.Connection, ledger_offset: int) -> bool:
        """Move the offset from where we left it; if it is not there, the cache is nobody's any more."""
        moved = database.execute(
            "UPDATE fold SET ledger_offset = ? WHERE of = ? AND ledger_offset = ?",
            (ledger_offset, self._of, self._ledger_offset),
        )
        if moved.rowcount == 1:
            return True
        # A router that hung and woke, or its successor, wrote in between. The two would mix: void it for both.
        database.execute("DELETE FROM fold")
        return False

    def _write(self, database: sqlite3.Connection, learned: Memory) -> None:
        database.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?)", learned.positions.items())
        database.executemany(
            "INSERT OR REPLACE INTO notices VALUES (?, ?, ?, ?)",
            ((number, state.phase, state.revision, codes(state.holders)) for number, state in learned.notices.items()),
        )
        database.executemany(
            "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)",
            ((*key, digest) for key, digest in learned.seen.items()),
        )

    def _lose(self, error: Exception) -> None:
        logger.warning("Cache lost", shard=str(self._shard), problem=f"{type(error).__name__}: {error}")
        if (problem := disk_problem(error)) is not None:
            full = StorageError(self._path, problem)
            logger.error("The router goes on without a cache", shard=str(self._shard), reason=str(full))
            self._observer.unwritable(str(full))
        with contextlib.suppress(OSError):  # what stays is read, or lost, at the next load
            self.forget()

    def forget(self) -> None:
        """Delete the cache."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        with self._using:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, check_same_thread=False)
        try:
            with contextlib.closing(database.cursor()) as cursor:
                cursor.execute("PRAGMA journal_mode=WAL")
                cursor.execute("PRAGMA synchronous=NORMAL")
                cursor.execute("PRAGMA cache_size=-256")  # KiB a shard; the rest is the operating system's cache
                cursor.executescript(self._SCHEMA)
        except sqlite3.DatabaseError:
            database.close()
            raise
        return database

    def _read(self, database: sqlite3.Connection) -> tuple[Memory, int]:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version not in {0, self._VERSION}:  # 0: made now, or before versions were written, with the same tables
            msg = f"its tables are of version {version}"
            raise ValueError(msg)
        database.execute(f"PRAGMA user_version = {self._VERSION}")
        row = database.execute("SELECT ledger_offset FROM fold WHERE of = ?", (self._of,)).fetchone()
        memory = Memory.empty(self._shard)
        memory.beneath = self
        if row is None:
            with database:
                for table in ("fold", "positions", "notices", "seen"):
                    database.execute(f"DELETE FROM {table}")  # noqa: S608  # names from the line above
                database.execute("INSERT INTO fold VALUES (?, 0)", (self._of,))
            return memory, 0
        if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            msg = "the file is damaged"
            raise ValueError(msg)
        for query in ("SELECT phase, revision, holders FROM notices", "SELECT digest FROM seen"):
            database.execute(f"{query} LIMIT 1").fetchall()  # are they this version's tables?
        memory.positions |= dict(database.execute("SELECT topic, next_offset FROM positions"))
        return memory, row[0]

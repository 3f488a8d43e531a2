"""The journal's file: who uses it, its tables, its key."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from broker.errors import CorruptHistoryError, MisuseError, StorageError, UnavailableError
from broker.store.disk import disk_problem
from broker.trust.sealing import Seal

VERSION = 1
"""Of the file's tables (SQLite's `user_version`)."""

_PROBE = b"noticewire journal"

_TABLES = """
CREATE TABLE probe (sealed BLOB NOT NULL);
CREATE TABLE entries (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL,
    number TEXT NOT NULL,
    issuer TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    installation TEXT NOT NULL,
    digest BLOB NOT NULL,
    sealed BLOB NOT NULL,
    accepted_at INTEGER NOT NULL,
    failed_at INTEGER,
    code TEXT,
    problem TEXT,
    UNIQUE (issuer, number, message_id)
);
"""


def hold(path: Path) -> int:
    """Lock a journal; the kernel drops the lock when this process ends, whatever ends it.

    Returns:
        The lock's descriptor, to be closed by whoever lets go of the journal.

    Raises:
        MisuseError: another process holds it; says which.
    """
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise MisuseError(f"{path} is in use by process {holder or 'unknown'}; give each process its own") from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode("ascii"), 0)
    return lock


def opened(path: Path, key_file: Path) -> tuple[Seal, sqlite3.Connection]:
    """Open a journal's file, made if it is not there, with the key that its values are sealed with.

    Returns:
        The seal, and a connection that may be used from any one thread at a time; its transactions are explicit.

    Raises:
        MisuseError: it is of a newer program, or of another key.
        KeyFileError: the key is not there although the journal is, or others can read it.
        StorageError: its disk is full or broken.
        UnavailableError: the file cannot be read or written.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except (sqlite3.Error, OSError) as error:
        raise unusable(path, error) from error
    try:
        return _prepared(database, path, key_file), database
    except sqlite3.Error as error:
        database.close()
        raise unusable(path, error) from error
    except BaseException:
        database.close()
        raise


def unusable(path: Path, error: sqlite3.Error | OSError) -> UnavailableError:
    """Return what an error of the system or of SQLite means for whoever uses the journal."""
    if (problem := disk_problem(error)) is not None:
        return StorageError(path, problem)
    return UnavailableError(f"the journal {path} cannot be used: {error}")


def _prepared(database: sqlite3.Connection, path: Path, key_file: Path) -> Seal:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")  # a commit returns when the disk has it: that is the promise
    database.execute("PRAGMA secure_delete = ON")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise MisuseError(f"{path} is of a newer Noticewire (version {version}); start that one")
    # Where entries may be waiting, a fresh key in place of one that was lost would hide what happened.
    seal = Seal.load(key_file) if version else Seal.load_or_make(key_file)
    if not version:
        database.executescript(f"BEGIN IMMEDIATE; {_TABLES}")
        database.execute("INSERT INTO probe VALUES (?)", (seal.seal(_PROBE, b""),))
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    (probe,) = database.execute("SELECT sealed FROM probe").fetchone()
    try:
        seal.open(probe, b"", place=str(path))
    except CorruptHistoryError:
        raise MisuseError(f"{path} was sealed with another key than {key_file} holds") from None
    return seal

"""What a disk that is full or broken says, told from every other failure, so that whoever writes can wait for it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from broker.errors import StorageError

_DISK = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
_PRIMARY = 0xFF  # the rest of SQLite's extended code says where it happened


def disk_problem(error: BaseException | None) -> str | None:
    """Return what an error says of the disk; None where it is about something else (a lock, a wrong statement)."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0)  # Python's own errors have none
        return str(error) if code & _PRIMARY in _DISK else None
    return error.strerror or str(error) if isinstance(error, OSError) else None


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Let what the disk says of a file leave as an error of ours, which names the file and the mend.

    Raises:
        StorageError: it cannot be written now.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if (problem := disk_problem(error)) is None:
            raise
        raise StorageError(path, problem) from error

"""What a bureau has imported: under which number and revision, when, and from what; no personal data.

One SQLite file for each importing bureau. With it, the same extract again is the same message again, byte for byte,
which the router takes for a repeat; another content under the same number is the next revision. Without it (another
data folder), an extract that is on its feed already is rejected there, never delivered twice.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from broker.clock import from_epoch_ms, to_epoch_ms
from broker.errors import InvalidFieldError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS imported (
    number TEXT NOT NULL,
    revision INTEGER NOT NULL,
    source TEXT NOT NULL,
    digest BLOB NOT NULL,
    issued_at_ms INTEGER NOT NULL,
    PRIMARY KEY (number, revision)
) STRICT
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Which revision of its number an extract is, and when it was issued as that.

    Attributes:
        is_new: it was not imported before.
    """

    number: str
    revision: int
    issued_at: datetime
    is_new: bool


class Imported:
    """The record of one bureau's imports, open."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute(_SCHEMA)

    @classmethod
    @contextmanager
    def open(cls, path: Path, *, keep: bool = True) -> Iterator[Self]:
        """Open the file, or make it.

        Args:
            path: of the file.
            keep: write what is placed; otherwise a copy in memory is changed, and the file is neither made nor changed.
        """
        if keep:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(path if keep else ":memory:", isolation_level=None, timeout=10)
        try:
            if not keep and path.exists():
                source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
                source.backup(database)
                source.close()
            yield cls(database)
        finally:
            database.close()

    def place(self, *, number: str, source: str, digest: bytes, now: datetime) -> Place:
        """Return an extract's place, and keep it before anything is published.

        Args:
            number: the notice number that follows from the source.
            source: the extract's own name, such as `red/2021/12345`.
            digest: of what would be published, times and ids aside.
            now: the time of issue, if it is new.

        Raises:
            InvalidFieldError: the number is that of another source.
        """
        rows = self._database.execute(
            "SELECT revision, source, digest, issued_at_ms FROM imported WHERE number = ? ORDER BY revision", (number,)
        ).fetchall()
        for _, other, _, _ in rows:
            if other != source:
                rule = "one number for each notice: import one of the two under another bureau"
                raise InvalidFieldError("entity_id", f"gives the number {number}, which {other} has", rule)
        if rows and rows[-1][2] == digest:
            return Place(number, rows[-1][0], from_epoch_ms(rows[-1][3]), is_new=False)
        revision = rows[-1][0] + 1 if rows else 1
        self._database.execute(
            "INSERT INTO imported VALUES (?, ?, ?, ?, ?)", (number, revision, source, digest, to_epoch_ms(now))
        )
        return Place(number, revision, from_epoch_ms(to_epoch_ms(now)), is_new=True)

    def forget(self, place: Place) -> None:
        """Take a place back: it was refused, so nothing was published."""
        if place.is_new:
            self._database.execute(
                "DELETE FROM imported WHERE number = ? AND revision = ?", (place.number, place.revision)
            )

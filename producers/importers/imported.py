"""What a bureau has imported: under which number and revision, when, and from what; no personal data.

One SQLite file for each importing bureau. With it, the same extract again is the same message again, byte for byte,
which the router takes for a repeat; another content under the same number is the next revision. Without it (another
data folder), an extract that is on its feed already is rejected there, never delivered twice.

A place is kept before its message is sent, so that a repeat has the same bytes; it counts once Kafka is known to have
the message (`landed`). What never came there is not continued: a change of it begins where it should have begun.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Self

from broker.clock import from_epoch_ms, to_epoch_ms
from broker.errors import InvalidFieldError, MisuseError

VERSION = 1
"""Of the table (SQLite's `user_version`)."""

_MIGRATION = "ALTER TABLE imported ADD COLUMN landed INTEGER NOT NULL DEFAULT 0"
"""Of a file from before versions were written (0): nobody noted what Kafka had, so that is looked up once."""

_SCHEMA = """
CREATE TABLE imported (
    number TEXT NOT NULL,
    revision INTEGER NOT NULL,
    source TEXT NOT NULL,
    digest BLOB NOT NULL,
    issued_at_ms INTEGER NOT NULL,
    landed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (number, revision)
) STRICT
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Which revision of its number an extract is, and when it was issued as that.

    Attributes:
        source: the extract's own name.
        digest: of what is published, times and ids aside.
        is_new: it was not imported before.
        has_landed: Kafka is known to have it.
    """

    number: str
    revision: int
    issued_at: datetime
    source: str
    digest: bytes
    is_new: bool
    has_landed: bool = False


class Imported:
    """The record of one bureau's imports, open."""

    def __init__(self, database: sqlite3.Connection, *, trusting: bool = False) -> None:
        self._database = database
        self._trusting = trusting
        """A look asks nobody: whatever has a place is taken to have come to Kafka."""
        self._under_way: set[tuple[str, int]] = set()
        """What this run publishes: its messages of one notice are written in order, each after the one before."""

    @classmethod
    @contextmanager
    def open(cls, path: Path, *, keep: bool = True) -> Iterator[Self]:
        """Open the file, or make it.

        Args:
            path: of the file.
            keep: write what is placed; otherwise a copy in memory is changed, and the file is neither made nor changed.

        Raises:
            MisuseError: a newer program made it; nothing was changed.
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
            _prepare(database, path)
            yield cls(database, trusting=not keep)
        finally:
            database.close()

    def place(self, *, number: str, source: str, digest: bytes, now: datetime) -> Place:
        """Return an extract's place, and keep it before anything is published.

        A revision that never came to Kafka is repeated where the extract is the same still, with the same bytes, as it
        may come there late; otherwise the extract takes its place.

        Args:
            number: the notice number that follows from the source.
            source: the extract's own name, such as `red/2021/12345`.
            digest: of what would be published, times and ids aside.
            now: the time of issue, if it is new.

        Raises:
            InvalidFieldError: the number is that of another source.
        """
        known = self._known("WHERE number = ?", number)
        for one in known:
            if one.source != source:
                rule = "one number for each notice: import one of the two under another bureau"
                raise InvalidFieldError("entity_id", f"gives the number {number}, which {one.source} has", rule)
        counting = list(takewhile(self._counts, known))
        latest = known[: len(counting) + 1][-1:]  # the first that does not count may be there all the same
        if latest and latest[0].digest == digest:
            place = latest[0]
        else:
            revision, issued_at = len(counting) + 1, from_epoch_ms(to_epoch_ms(now))
            place = Place(number, revision, issued_at, source, digest, is_new=True)
            self._keep(place)
        self._under_way.add((number, place.revision))
        return place

    def landed(self, place: Place) -> None:
        """Note that Kafka has it: what comes next of its number continues it."""
        self._database.execute(
            "UPDATE imported SET landed = 1 WHERE number = ? AND revision = ?", (place.number, place.revision)
        )

    def unlanded(self) -> list[Place]:
        """Return what an earlier run placed, and ended before it knew whether Kafka has it."""
        return self._known("WHERE NOT landed")

    def forget(self, place: Place) -> None:
        """Take a place back, and what was to continue it: it was refused, so nothing was published."""
        if place.is_new:
            self._drop_from(place)

    def _counts(self, place: Place) -> bool:
        """Whether the next change of its notice continues it."""
        return self._trusting or place.has_landed or (place.number, place.revision) in self._under_way

    def _keep(self, place: Place) -> None:
        self._drop_from(place)  # it never came to Kafka, or followed what never did
        self._database.execute(
            "INSERT INTO imported (number, revision, source, digest, issued_at_ms) VALUES (?, ?, ?, ?, ?)",
            (place.number, place.revision, place.source, place.digest, to_epoch_ms(place.issued_at)),
        )

    def _drop_from(self, place: Place) -> None:
        self._database.execute(
            "DELETE FROM imported WHERE number = ? AND revision >= ?", (place.number, place.revision)
        )

    def _known(self, where: str, *values: str) -> list[Place]:
        rows = self._database.execute(
            f"SELECT number, revision, issued_at_ms, source, digest, landed FROM imported {where}"  # noqa: S608 - our own words
            " ORDER BY number, revision",
            values,
        )
        return [
            Place(number, revision, from_epoch_ms(at), source, digest, is_new=False, has_landed=bool(landed))
            for number, revision, at, source, digest, landed in rows
        ]


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    """Make the table, or bring an earlier program's to this one's.

    Raises:
        MisuseError: a newer program made it; nothing was changed.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise MisuseError(f"{path} is of a newer Noticewire (version {version}); start that one")
    if version == VERSION:
        return
    database.execute("BEGIN IMMEDIATE")  # two imports may come at the same time
    if database.execute("PRAGMA user_version").fetchone() == (0,):
        is_there = database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'imported'").fetchone() is not None
        database.execute(_MIGRATION if is_there else _SCHEMA)
        database.execute(f"PRAGMA user_version = {VERSION}")
    database.execute("COMMIT")

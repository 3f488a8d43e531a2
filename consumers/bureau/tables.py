"""The tables of a bureau's own file, and its rows as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from broker.model.naming import Shard
from broker.model.receipt import Stage

VERSION = 2
"""Of these tables (SQLite's `user_version`); a later one migrates from each before it (`MIGRATIONS`)."""

MIGRATIONS = {1: "ALTER TABLE delivery ADD COLUMN traceparent TEXT;"}
"""From a version to the one after it; files from before versions were written say 0, and have version 1's tables."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS client (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    bureau TEXT NOT NULL,
    installation TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    next_offset INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS delivery (
    signer TEXT NOT NULL,
    number TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    origin TEXT NOT NULL,
    digest BLOB NOT NULL,
    "offset" INTEGER NOT NULL,
    stage TEXT,
    finished INTEGER NOT NULL,
    traceparent TEXT,
    PRIMARY KEY (number, signer, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS delivery_id ON delivery (id);
CREATE TABLE IF NOT EXISTS holding (
    number TEXT PRIMARY KEY,
    event TEXT NOT NULL,
    revision INTEGER NOT NULL,
    origin TEXT NOT NULL,
    appended_at_ms INTEGER NOT NULL,
    value BLOB,
    digest BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS owed (
    id INTEGER PRIMARY KEY,
    region TEXT NOT NULL,
    partition INTEGER NOT NULL,
    value BLOB NOT NULL,
    headers TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS parked (
    "offset" INTEGER PRIMARY KEY,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    appended_at_ms INTEGER NOT NULL,
    key BLOB,
    value BLOB
) STRICT;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A delivery that this bureau has seen.

    Attributes:
        stage: the last one acknowledged, with the receipt sealed; `None` if none is.
        finished: whether the handler is done with it.
        traceparent: the trace that it belongs to; `None` of what came before that was written down.
    """

    signer: str
    number: str
    id: UUID
    kind: str
    origin: str
    digest: bytes
    offset: int
    stage: Stage | None
    finished: bool
    traceparent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A record of the inbox that was set aside: never handed to the handler, never acknowledged.

    The value is gone once the notice that the key names has ended here.
    """

    offset: int
    reason: str
    detail: str
    appended_at: datetime
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """A signed record of receipts on its way to `acks.<region>`, whole; `id` is its place in the file."""

    shard: Shard
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    id: int = 0

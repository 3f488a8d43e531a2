"""A bureau's own file: its position, what it has finished, what it holds, the receipts it owes, what it set aside.

SQLite, one file a bureau (`<data>/bureaus/<code>.db`, readable by its owner alone: it holds personal data). Deleting it
is safe for delivery, as everything is read again from the inbox's beginning, and costs repeated receipts.

Each write takes two steps, because Kafka and SQLite share no transaction:

`seal`     what was handled, and the receipts that say so, signed: one transaction
`settle`   after Kafka acknowledged those receipts: they are owed no longer, and the position moves: one transaction

A crash before `seal` hands the message to the handler again, and nobody was told anything. A crash after it does not:
the receipts are sent again, byte for byte (Ed25519 is deterministic), so that no second acknowledgement exists.

An end removes the data from every file of the folder: deleted content is overwritten in the database, and the log,
which keeps what pages held before, is emptied. With the holding goes the value of whatever was parked under the same
number (an unproven copy names the same person), while its place and reason stay: the record itself is in the inbox for
as long as the window lasts. What was parked without a number cannot be told from anything else, and stays.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from uuid import UUID

import structlog

from broker.clock import from_epoch_ms, to_epoch_ms
from broker.errors import CorruptHistoryError, FencedError, MisuseError
from broker.model.message import Event
from broker.model.naming import Region, Shard
from broker.model.receipt import FOLLOWS, Stage
from broker.store.disk import disk_problem, storing
from broker.transport.inbox import Delivery
from consumers.bureau.holdings import Holding, after
from consumers.bureau.tables import MIGRATIONS, SCHEMA, VERSION, Known, Owed, Parked

logger = structlog.get_logger(__name__)

_EMPTYING_WAIT_MS = 100
"""How long to wait for somebody who reads the file just now (`noticewire bureau CODE list`), before the log is emptied
with the next write instead."""


class BureauState:
    """One bureau's file, open.

    Whoever opens it with `open` owns it: an earlier owner's next write raises `FencedError`. `look` may be used beside
    a running client: it only reads, and notes a stage that a person acknowledged.
    """

    def __init__(self, database: sqlite3.Connection, *, path: Path, epoch: int | None) -> None:
        self._database = database
        self._epoch = epoch
        self._holds_traces = False
        """SQLite's log holds what was purged."""
        self.path = path

    @classmethod
    def open(cls, path: Path, *, bureau: str, installation: str) -> Self:
        """Open a bureau's file, or make it, and become its owner.

        Raises:
            CorruptHistoryError: the file is of another bureau or installation; its position means nothing here.
            MisuseError: a newer program made it; nothing was changed.
            StorageError: its disk is full or broken.
        """
        with storing(path):
            return cls._open(path, bureau=bureau, installation=installation)

    @classmethod
    def _open(cls, path: Path, *, bureau: str, installation: str) -> Self:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its side files the same mode
        log = path.with_name(f"{path.name}-wal")
        crashed = log.exists() and log.stat().st_size > 0
        database = sqlite3.connect(path, isolation_level=None, timeout=10)
        try:
            migrate(database, path)
            # Making an empty file needs no sync: until something is sealed, there is nothing to lose.
            database.execute("PRAGMA synchronous = OFF")
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
            # WAL with NORMAL never corrupts; a power cut may take the last transactions, and then their messages are
            # handled again, which "at least once" allows. A sync for each poll would cost 226 of them in one process.
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA secure_delete = ON")  # an end removes the data, not only the way to it
            database.execute("INSERT INTO client VALUES (1, ?, ?, 0, 0) ON CONFLICT DO NOTHING", (bureau, installation))
            owner, its_installation, epoch = database.execute(
                "UPDATE client SET epoch = epoch + 1 RETURNING bureau, installation, epoch"
            ).fetchone()
        except BaseException:
            database.close()
            raise
        if (owner, its_installation) != (bureau, installation):
            database.close()
            problem = f"belongs to {owner} of installation {its_installation}, not to {bureau} of {installation}"
            raise CorruptHistoryError(str(path), problem)
        state = cls(database, path=path, epoch=epoch)
        state._holds_traces = crashed  # it may have ended between a purge and the emptying of the log
        return state

    @classmethod
    def look(cls, path: Path) -> Self | None:
        """Open a bureau's file beside its owner; `None` if there is none yet.

        Raises:
            MisuseError: a newer program made it.
        """
        if not path.exists():
            return None
        database = sqlite3.connect(path, isolation_level=None, timeout=10)
        try:
            migrate(database, path)
        except BaseException:
            database.close()
            raise
        return cls(database, path=path, epoch=None)

    def close(self) -> None:
        """Close the file; what was sealed stays."""
        self._database.close()

    # ------------------------------------------------------------------------------------------------------ reading

    @property
    def position(self) -> int:
        """The next offset of the inbox: everything before it is finished, and its receipts are on Kafka."""
        row = self._database.execute("SELECT next_offset FROM client").fetchone()
        return 0 if row is None else int(row[0])

    def known(self, delivery: Delivery) -> Known | None:
        """Return what is known of this delivery: the same signer, number and message id."""
        rows = self._known("number = ? AND signer = ? AND id = ?", delivery.number, delivery.signer, str(delivery.id))
        return next(rows, None)

    def deliveries(self, name: str) -> list[Known]:
        """Return what came under a notice number or a message id, oldest first."""
        return sorted(self._known("number = ? OR id = ?", name, name), key=lambda known: known.offset)

    def _known(self, where: str, *values: str) -> Iterator[Known]:
        columns = 'signer, number, id, kind, origin, digest, "offset", stage, finished, traceparent'
        query = f"SELECT {columns} FROM delivery WHERE {where}"  # noqa: S608 - constants of this file
        for row in self._database.execute(query, values):
            signer, number, uid, kind, origin, digest, offset, stage, finished, traceparent = row
            yield Known(
                signer=signer,
                number=number,
                id=UUID(uid),
                kind=kind,
                origin=origin,
                digest=digest,
                offset=offset,
                stage=None if stage is None else Stage(stage),
                finished=bool(finished),
                traceparent=traceparent,
            )

    def holding(self, number: str) -> Holding | None:
        """Return what the bureau holds of a notice."""
        return next(self._holdings("WHERE number = ?", number), None)

    def holdings(self) -> list[Holding]:
        """Return what the bureau holds, by notice number; ended ones too, without their data."""
        return list(self._holdings("ORDER BY number"))

    def _holdings(self, rest: str, *values: str) -> Iterator[Holding]:
        query = f"SELECT number, event, revision, origin, appended_at_ms, value, digest FROM holding {rest}"  # noqa: S608 - constants of this file
        for number, event, revision, origin, appended_at_ms, value, digest in self._database.execute(query, values):
            yield Holding(
                number=number,
                event=Event(event),
                revision=revision,
                origin=origin,
                appended_at=from_epoch_ms(appended_at_ms),
                value=value,
                digest=digest,
            )

    def parked(self) -> list[Parked]:
        """Return what was set aside, by offset."""
        rows = self._database.execute(
            'SELECT "offset", reason, detail, appended_at_ms, key, value FROM parked ORDER BY "offset"'
        )
        return [
            Parked(
                offset=offset,
                reason=reason,
                detail=detail,
                appended_at=from_epoch_ms(appended_at_ms),
                key=key,
                value=value,
            )
            for offset, reason, detail, appended_at_ms, key, value in rows
        ]

    @property
    def owes(self) -> bool:
        """Whether there are receipts that Kafka has not acknowledged yet."""
        return bool(self._database.execute("SELECT EXISTS (SELECT 1 FROM owed)").fetchone()[0])

    def owed(self) -> list[Owed]:
        """Return the receipts that Kafka has not acknowledged yet, in the order in which they were given."""
        rows = self._database.execute("SELECT region, partition, value, headers, id FROM owed ORDER BY id")
        return [
            Owed(
                shard=Shard(Region(region), partition),
                value=value,
                headers=tuple((name, text.encode()) for name, text in json.loads(headers)),
                id=owed_id,
            )
            for region, partition, value, headers, owed_id in rows
        ]

    # ------------------------------------------------------------------------------------------------------ writing

    def seal(
        self,
        *,
        touched: Iterable[tuple[Delivery, Stage | None, bool]],
        parked: Sequence[Parked] = (),
        owed: Sequence[Owed] = (),
        next_offset: int | None = None,
    ) -> None:
        """Write down what was done, and the receipts that say so, in one transaction.

        Args:
            touched: deliveries with the last stage given since they were touched before, and whether they are finished;
                holdings follow from the finished ones, in this order.
            parked: what was set aside.
            owed: signed receipts, to be sent after this returns.
            next_offset: the new position; only where nothing is owed.

        Raises:
            FencedError: another client of this bureau has opened the file since.
            StorageError: its disk is full or broken; nothing was written.
        """
        with self._transaction() as database:
            purged = False
            for delivery, stage, finished in touched:
                self._touch(database, delivery, stage, finished=finished)
                if finished:
                    purged |= self._hold(database, delivery)
            database.executemany(
                "INSERT INTO parked VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [(p.offset, p.reason, p.detail, to_epoch_ms(p.appended_at), p.key, p.value) for p in parked],
            )
            database.executemany(
                "INSERT INTO owed (region, partition, value, headers) VALUES (?, ?, ?, ?)",
                [(o.shard.region, o.shard.partition, o.value, _as_json(o.headers)) for o in owed],
            )
            if purged or parked:
                purged |= _purge_parked(database)
            if next_offset is not None:
                self._move(database, next_offset)
        self._holds_traces |= purged
        self._empty_log()

    def settle(self, owed: Sequence[Owed], *, next_offset: int | None) -> None:
        """Kafka has acknowledged these receipts: they are owed no longer, and the position moves.

        Args:
            owed: as `owed` returned them.
            next_offset: everything before it is finished, and none of its receipts is owed; `None` leaves the position.

        Raises:
            FencedError: another client of this bureau has opened the file since.
            StorageError: its disk is full or broken; nothing was written.
        """
        with self._transaction() as database:
            database.executemany("DELETE FROM owed WHERE id = ?", [(one.id,) for one in owed])
            if next_offset is not None:
                self._move(database, next_offset)

    def note_stage(self, known: Known, stage: Stage) -> None:
        """Note a stage that was acknowledged beside the client that owns the file (`noticewire bureau CODE ack`).

        One that the client has gone beyond in the meantime stays as it is.

        Raises:
            StorageError: its disk is full or broken; nothing was written.
        """
        with storing(self.path):
            self._database.execute(
                "UPDATE delivery SET stage = ? WHERE number = ? AND signer = ? AND id = ? AND stage IS ?",
                (stage, known.number, known.signer, str(known.id), known.stage),
            )

    def _touch(self, database: sqlite3.Connection, delivery: Delivery, stage: Stage | None, *, finished: bool) -> None:
        """Write down how far a delivery is; a person may have acknowledged more by hand, which a stage never undoes."""
        stored = self.known(delivery)
        if stored is not None and stored.stage is not None and stage not in FOLLOWS[stored.stage]:
            stage = None
        database.execute(
            'INSERT INTO delivery (signer, number, id, kind, origin, digest, "offset", stage, finished, traceparent)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " stage = coalesce(excluded.stage, stage), finished = max(excluded.finished, finished)",
            (
                delivery.signer,
                delivery.number,
                str(delivery.id),
                delivery.kind,
                str(delivery.origin),
                delivery.digest,
                delivery.offset,
                stage,
                int(finished),
                delivery.traceparent,
            ),
        )

    def _hold(self, database: sqlite3.Connection, delivery: Delivery) -> bool:
        """Write down what a finished delivery makes of a holding, and return whether a copy went with it."""
        held = self.holding(delivery.number)
        holding = after(delivery, held)
        if holding is None or holding is held:
            return False
        database.execute(
            "INSERT OR REPLACE INTO holding VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                holding.number,
                holding.event,
                holding.revision,
                holding.origin,
                to_epoch_ms(holding.appended_at),
                holding.value,
                holding.digest,
            ),
        )
        return holding.value is None

    def _empty_log(self) -> None:
        if not self._holds_traces:
            return
        (usual,) = self._database.execute("PRAGMA busy_timeout").fetchone()
        self._database.execute(f"PRAGMA busy_timeout = {_EMPTYING_WAIT_MS}")
        try:
            (is_busy, _, _) = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError as error:
            # What was sealed is sealed: the log is emptied with the next write that the disk takes.
            if (problem := disk_problem(error)) is None:
                raise
            is_busy = True
            logger.warning("Purged data wait in the log to be overwritten", path=str(self.path), problem=problem)
        finally:
            self._database.execute(f"PRAGMA busy_timeout = {usual}")
        self._holds_traces = bool(is_busy)

    def _move(self, database: sqlite3.Connection, next_offset: int) -> None:
        database.execute("UPDATE client SET next_offset = max(next_offset, ?)", (next_offset,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with storing(self.path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._refuse_if_fenced()
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                self._database.rollback()
                raise

    def _refuse_if_fenced(self) -> None:
        (epoch,) = self._database.execute("SELECT epoch FROM client").fetchone()
        if epoch != self._epoch:
            raise FencedError(f"{self.path.name}: another client of this bureau has taken over")


def _purge_parked(database: sqlite3.Connection) -> bool:
    """Remove the values of what was parked under the number of a notice whose copy is removed."""
    purged = database.execute(
        "UPDATE parked SET value = NULL WHERE value IS NOT NULL"
        " AND key IN (SELECT CAST(number AS BLOB) FROM holding WHERE value IS NULL)"
    )
    return purged.rowcount > 0


def migrate(database: sqlite3.Connection, path: Path) -> None:
    """Bring the tables of an earlier program to this one's; an empty file is left empty.

    Raises:
        MisuseError: a newer program made it; nothing was changed.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise MisuseError(f"{path} is of a newer Noticewire (version {version}); start that one")
    if version == VERSION or database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'delivery'").fetchone() is None:
        return
    database.execute("BEGIN IMMEDIATE")  # a client and a command beside it may come at the same time
    (version,) = database.execute("PRAGMA user_version").fetchone()
    for step in range(max(version, 1), VERSION):
        database.execute(MIGRATIONS[step])
    database.execute(f"PRAGMA user_version = {VERSION}")
    database.execute("COMMIT")


def _as_json(headers: tuple[tuple[str, bytes], ...]) -> str:
    return json.dumps([(name, content.decode()) for name, content in headers])

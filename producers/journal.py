"""The publisher's journal: what was accepted is on this machine's disk, sealed, until Kafka has it.

One SQLite file, which one process uses at a time. Beside each entry's sealed bytes stand identifiers and codes in the
clear, never a subject's data.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID

from broker.clock import from_epoch_ms, to_epoch_ms
from broker.errors import CorruptHistoryError, InvalidFieldError, NoticewireError
from producers.journal_file import hold, opened, unusable
from producers.letter import Letter, unpacked

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """A message that is in the journal.

    Attributes:
        sequence: its place in the journal.
        message_id: the message.
        number: its notice number.
    """

    sequence: int
    message_id: UUID
    number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedEntry:
    """A message that was accepted and then refused for good; it stays until somebody sends it again or discards it.

    Attributes:
        sequence: its place in the journal.
        message_id: the message.
        number: its notice number.
        accepted_at: when the journal took it.
        failed_at: when it was refused.
        code: of the error.
        problem: what is wrong; no subject's data.
    """

    sequence: int
    message_id: UUID
    number: str
    accepted_at: datetime
    failed_at: datetime
    code: str
    problem: str


class Journal:
    """Keeps letters until they have landed.

    Whatever is asked of it while the disk is busy shares the next transaction, so a hundred messages accepted side by
    side cost one wait for the disk.

    Args:
        path: the file, made if it is not there.
        key_file: the key that values are sealed with, made with mode 0600 where the journal is new.

    Raises:
        MisuseError: another process uses it (named), it is of a newer program, or of another key.
        KeyFileError: the key is not there although entries are, or others can read it.
        StorageError: its disk is full or broken.
        UnavailableError: the file cannot be read or written.
    """

    def __init__(self, path: Path, *, key_file: Path) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._jobs: list[tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]]] = []
        self._working: asyncio.Task[None] | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = hold(path)
        try:
            self._seal, self._database = opened(path, key_file)
        except BaseException:
            os.close(self._lock)
            raise

    @classmethod
    async def open(cls, path: Path, *, key_file: Path) -> Self:
        """Open it, away from the loop."""
        return await asyncio.to_thread(cls, path, key_file=key_file)

    async def close(self) -> None:
        """Finish what was asked of it, and let go of the file."""
        if self._working is not None:
            await asyncio.gather(self._working, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        self._thread.shutdown()
        os.close(self._lock)

    async def accept(self, letter: Letter, *, at: datetime) -> JournalEntry:
        """Keep a letter; it is on disk once this returns, whatever happens to this process or machine.

        The same bytes again are the same entry; if it had failed, it waits anew.

        Raises:
            InvalidFieldError: another message of that id waits here.
            StorageError: the disk is full or broken; nothing was kept.
            UnavailableError: the file cannot be written; nothing was kept.
        """
        sealed = self._seal.seal(letter.packed(), _about(letter))

        def insert(database: sqlite3.Connection) -> int:
            identity = (letter.issuer, letter.number, str(letter.message_id))
            found = database.execute(
                "SELECT sequence, digest FROM entries WHERE issuer = ? AND number = ? AND message_id = ?", identity
            ).fetchone()
            if found is None:
                cursor = database.execute(
                    "INSERT INTO entries (issuer, number, message_id, topic, partition, key_id, installation, digest,"
                    " sealed, accepted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *identity,
                        letter.topic,
                        letter.partition,
                        letter.key_id,
                        letter.installation,
                        letter.digest,
                        sealed,
                        to_epoch_ms(at),
                    ),
                )
                return cursor.lastrowid or 0
            sequence, digest = found
            if digest != letter.digest:
                raise InvalidFieldError(
                    "message_id", "waits in the journal with another content", "one id, one message"
                )
            # Signed anew: the key of the first attempt may be why it failed.
            database.execute(
                "UPDATE entries SET key_id = ?, installation = ?, sealed = ?, failed_at = NULL, code = NULL,"
                " problem = NULL WHERE sequence = ?",
                (letter.key_id, letter.installation, sealed, sequence),
            )
            return int(sequence)

        sequence = await self._do(insert)
        return JournalEntry(sequence=sequence, message_id=letter.message_id, number=letter.number)

    async def waiting(self) -> list[JournalEntry]:
        """Return what has neither landed nor failed, in the order in which it was accepted."""
        rows = await self._do(
            lambda database: database.execute(
                "SELECT sequence, message_id, number FROM entries WHERE failed_at IS NULL ORDER BY sequence"
            ).fetchall()
        )
        return [JournalEntry(sequence=one[0], message_id=UUID(one[1]), number=one[2]) for one in rows]

    async def letter(self, sequence: int) -> Letter:
        """Return an entry's letter: the bytes that were accepted.

        Raises:
            CorruptHistoryError: it was changed, or is not there.
        """
        row = await self._do(
            lambda database: database.execute(
                "SELECT message_id, number, issuer, topic, partition, key_id, installation, sealed FROM entries"
                " WHERE sequence = ?",
                (sequence,),
            ).fetchone()
        )
        place = f"{self.path}, entry {sequence}"
        if row is None:
            raise CorruptHistoryError(place, "is not there")
        bare = Letter(
            message_id=UUID(row[0]),
            number=row[1],
            issuer=row[2],
            topic=row[3],
            partition=row[4],
            key_id=row[5],
            installation=row[6],
            value=b"",
            headers=[],
        )
        headers, value = unpacked(self._seal.open(row[7], _about(bare), place=place))
        return replace(bare, headers=headers, value=value)

    async def landed(self, sequence: int) -> None:
        """Forget an entry that Kafka has."""
        await self._do(lambda database: database.execute("DELETE FROM entries WHERE sequence = ?", (sequence,)))

    async def failed(self, sequence: int, error: NoticewireError, *, at: datetime) -> None:
        """Set an entry aside, with the reason."""
        await self._do(
            lambda database: database.execute(
                "UPDATE entries SET failed_at = ?, code = ?, problem = ? WHERE sequence = ?",
                (to_epoch_ms(at), error.code, str(error), sequence),
            )
        )

    async def failures(self) -> list[FailedEntry]:
        """Return what was set aside."""
        rows = await self._do(
            lambda database: database.execute(
                "SELECT sequence, message_id, number, accepted_at, failed_at, code, problem FROM entries"
                " WHERE failed_at IS NOT NULL ORDER BY sequence"
            ).fetchall()
        )
        return [
            FailedEntry(
                sequence=one[0],
                message_id=UUID(one[1]),
                number=one[2],
                accepted_at=from_epoch_ms(one[3]),
                failed_at=from_epoch_ms(one[4]),
                code=one[5],
                problem=one[6],
            )
            for one in rows
        ]

    async def discard(self, sequence: int) -> bool:
        """Drop an entry that has failed; return whether there was one."""
        cursor = await self._do(
            lambda database: database.execute(
                "DELETE FROM entries WHERE sequence = ? AND failed_at IS NOT NULL", (sequence,)
            )
        )
        return bool(cursor.rowcount)

    async def _do(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a job in the next transaction; it is on disk once this returns."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.append((job, future))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._jobs:
            jobs, self._jobs = self._jobs, []
            done = await loop.run_in_executor(self._thread, self._transact, [job for job, _ in jobs])
            for (_, future), (result, error) in zip(jobs, done, strict=True):
                if future.cancelled():
                    continue
                if error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(result)

    def _transact(self, jobs: list[Callable[[sqlite3.Connection], Any]]) -> list[tuple[Any, Exception | None]]:
        """Run jobs in one transaction, on the journal's thread. A job refuses before it writes anything."""
        done: list[tuple[Any, Exception | None]] = []
        try:
            self._database.execute("BEGIN IMMEDIATE")
            for job in jobs:
                try:
                    done.append((job(self._database), None))
                except NoticewireError as error:
                    done.append((None, error))
            self._database.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - each that asked is told, and the next transaction begins afresh
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            failure = unusable(self.path, error) if isinstance(error, sqlite3.Error) else error
            return [(None, failure)] * len(jobs)
        return done


def _about(letter: Letter) -> bytes:
    """Return what stands beside a sealed entry, so that nobody can exchange two of them unnoticed."""
    return "\n".join(
        (
            str(letter.message_id),
            letter.number,
            letter.issuer,
            letter.topic,
            str(letter.partition),
            letter.key_id,
            letter.installation,
        )
    ).encode()

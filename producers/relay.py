"""The relay: publishes what an outbox holds, each notice's messages in their order, and deletes what has landed."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import structlog
from sqlalchemy import delete, event, insert, inspect, or_, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from broker.clock import Clock, SystemClock
from broker.errors import FencedError, MisuseError, NoticewireError, RefusedError, RejectedRecordError, UnavailableError
from broker.model.diffusion import Diffusion
from broker.model.notice import Notice
from broker.observe.faultpoints import Faults
from broker.schema.codec import Codec
from producers.client import Producer
from producers.outbox import OutboxLease, OutboxMessage, create

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

logger = structlog.get_logger(__name__)

LEASE = timedelta(seconds=15)
"""A relay that is killed is replaced after this long. Two that work at the same time, since one hung or a clock is off,
do no harm: each sends each notice's messages in order, and whatever is sent twice is a repeat."""

IDLE = timedelta(milliseconds=500)
_BATCH = 100
_BACK_OFF_MAX = timedelta(seconds=10)
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A message of the outbox that was refused for good; its row stays."""

    id: int
    message_id: str
    number: str
    code: str
    problem: str


@dataclass(slots=True, kw_only=True)
class Relayed:
    """What a relay has done."""

    published: int = 0
    refused: list[Refused] = field(default_factory=list)


@asynccontextmanager
async def outbox_engine(url: str) -> AsyncIterator[AsyncEngine]:
    """Open the user's database, and make the outbox's tables there if they are missing.

    Args:
        url: as SQLAlchemy writes it; the driver may be left out.

    Raises:
        MisuseError: it is no URL of PostgreSQL or of a SQLite file that is there.
        UnavailableError: the database is away.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise MisuseError("--database is not a URL as SQLAlchemy writes it") from None
    driver = _DRIVERS.get(parsed.get_backend_name())
    if driver is None:
        raise MisuseError(f"the outbox is in SQLite or PostgreSQL, not in {parsed.get_backend_name()}")
    if driver == _DRIVERS["sqlite"] and not Path(parsed.database or "").is_file():  # noqa: ASYNC240 - once, at the start
        raise MisuseError(f"{parsed.database or ':memory:'} is not a database file")
    engine = create_async_engine(parsed.set(drivername=driver), pool_pre_ping=True, hide_parameters=True)
    if driver == _DRIVERS["sqlite"]:
        event.listen(engine.sync_engine, "connect", _patient)
    try:
        async with _begun(engine) as connection:
            await connection.run_sync(_create_missing)
    except DatabaseError as error:  # refused: no such role, no right to it, not a database
        await engine.dispose()
        raise MisuseError(f"the outbox's database cannot be used: {error.orig}") from error
    except BaseException:
        await engine.dispose()
        raise
    try:
        yield engine
    finally:
        await engine.dispose()


class Relay:
    """Publishes an outbox. Crash-safe: a message that had landed before its row was deleted is sent again, a repeat.

    Args:
        engine: of the database that holds the outbox.
        producer: publishes; signs as the messages' issuers.
        clock: says when the lease ends.
        faults: is told the points `relay_before_send` and `relay_after_send` (a test kills there).
    """

    def __init__(
        self, *, engine: AsyncEngine, producer: Producer, clock: Clock | None = None, faults: Faults | None = None
    ) -> None:
        self._engine = engine
        self._producer = producer
        self._clock = clock or SystemClock()
        self._faults = faults
        self._codec = Codec.load()
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    async def once(self) -> Relayed:
        """Publish what waits, and return.

        Raises:
            UnavailableError: another relay works (named), or Kafka or the database is away. What was published until
                then is.
        """
        if (other := await self._take()) is not None:
            raise UnavailableError(f"another relay works on this outbox: {other}")
        keeping = asyncio.create_task(self._keep())
        done = Relayed()
        try:
            while await self._batch(done):
                pass
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._release()
        return done

    async def run(self, stop: asyncio.Event) -> None:
        """Publish whatever comes, until told to stop; a second relay waits until the first has ended."""
        pause, standing_by = IDLE, False
        while not stop.is_set():
            try:
                other = await self._take()
                if other is not None:
                    if not standing_by:
                        logger.warning("Another relay works on this outbox; standing by", holder=other)
                    standing_by = True
                else:
                    standing_by = False
                    await self._while_held(stop)
                pause = IDLE
            except UnavailableError as error:
                logger.warning("The relay waits", problem=str(error), **error.log_fields())
                pause = min(pause * 2, _BACK_OFF_MAX)
            await _within(stop, pause)

    async def retry_refused(self) -> int:
        """Let everything that was refused wait to be published again; return how much that is."""
        async with _begun(self._engine) as connection:
            found = await connection.execute(
                update(OutboxMessage)
                .where(OutboxMessage.failed_at.is_not(None))
                .values(failed_at=None, code=None, problem=None)
            )
        return found.rowcount

    # ------------------------------------------------------------------------------------------------------- parts

    async def _while_held(self, stop: asyncio.Event) -> None:
        keeping = asyncio.create_task(self._keep())
        try:
            while not stop.is_set() and not keeping.done():
                if not await self._batch(Relayed()):
                    await _within(stop, IDLE)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._release()

    async def _batch(self, done: Relayed) -> bool:
        """Publish the oldest messages, side by side where they are of different notices; return whether any waited."""
        async with _begun(self._engine) as connection:
            rows = (
                await connection.execute(
                    select(OutboxMessage.__table__)
                    .where(OutboxMessage.failed_at.is_(None))
                    .order_by(OutboxMessage.id)
                    .limit(_BATCH)
                )
            ).all()
        notices: dict[str, list[Row[Any]]] = defaultdict(list)
        for row in rows:
            notices[row.number].append(row)
        await self._pass("relay_before_send")
        ended = await asyncio.gather(*(self._publish(of_one) for of_one in notices.values()), return_exceptions=True)
        settled: list[tuple[Row[Any], NoticewireError | None]] = []
        errors: list[BaseException] = []
        for one in ended:
            if isinstance(one, BaseException):
                errors.append(one)
            else:
                settled += one[0]
                errors += [] if one[1] is None else [one[1]]
        if settled:
            await self._pass("relay_after_send")
            await self._note(settled, done)
        if errors:
            raise errors[0]
        return bool(rows)

    async def _publish(
        self, rows: Sequence[Row[Any]]
    ) -> tuple[list[tuple[Row[Any], NoticewireError | None]], UnavailableError | None]:
        """Publish one notice's messages in order; those that are settled, and what stopped the others."""
        settled: list[tuple[Row[Any], NoticewireError | None]] = []
        for row in rows:
            try:
                message = cast("Notice | Diffusion", self._codec.decode(row.value, Notice, Diffusion))
                await self._producer.publish(message, mends=row.mends)
            except (UnavailableError, FencedError) as error:
                return settled, UnavailableError(str(error))
            except (RefusedError, RejectedRecordError) as error:
                fields = {"message_id": str(row.message_id), "number": row.number}
                logger.error("Message of the outbox refused", **fields, **error.log_fields())  # noqa: TRY400
                settled.append((row, error))
            else:
                settled.append((row, None))
        return settled, None

    async def _note(self, settled: Sequence[tuple[Row[Any], NoticewireError | None]], done: Relayed) -> None:
        """Delete what has landed, keep what was refused with the reason; in one transaction."""
        async with _begun(self._engine) as connection:
            landed = [row.id for row, error in settled if error is None]
            await connection.execute(delete(OutboxMessage).where(OutboxMessage.id.in_(landed)))
            for row, error in settled:
                if error is not None:
                    await connection.execute(
                        update(OutboxMessage)
                        .where(OutboxMessage.id == row.id)
                        .values(failed_at=self._clock.now(), code=error.code, problem=str(error))
                    )
        done.published += len(landed)
        for row, error in settled:
            if error is not None:
                done.refused.append(
                    Refused(
                        id=row.id,
                        message_id=str(row.message_id),
                        number=row.number,
                        code=error.code,
                        problem=str(error),
                    )
                )

    async def _take(self) -> str | None:
        """Take or renew the lease; return who has it instead."""
        now = self._clock.now()
        try:
            async with _begun(self._engine) as connection:
                taken = await connection.execute(
                    update(OutboxLease)
                    .where(OutboxLease.name == "relay")
                    # One that ends later than any taken now could: the clock was set back, and nobody waits for hours.
                    .where(
                        or_(
                            OutboxLease.holder == self.holder,
                            OutboxLease.until <= now,
                            OutboxLease.until > now + 2 * LEASE,
                        )
                    )
                    .values(holder=self.holder, until=now + LEASE)
                )
                if taken.rowcount:
                    return None
                holder = await connection.scalar(select(OutboxLease.holder).where(OutboxLease.name == "relay"))
                if holder is not None:
                    return str(holder)
                await connection.execute(
                    insert(OutboxLease).values(name="relay", holder=self.holder, until=now + LEASE)
                )
        except IntegrityError:
            return "one that was a moment faster"
        return None

    async def _keep(self) -> None:
        """Renew the lease until cancelled; return if it is lost."""
        while True:
            await asyncio.sleep(LEASE.total_seconds() / 3)
            try:
                if await self._take() is not None:
                    logger.warning("The relay's lease was taken over", holder=self.holder)
                    return
            except UnavailableError as error:
                logger.warning("The relay's lease was not renewed", **error.log_fields())

    async def _release(self) -> None:
        try:
            async with _begun(self._engine) as connection:
                await connection.execute(delete(OutboxLease).where(OutboxLease.holder == self.holder))
        except UnavailableError as error:  # it runs out by itself
            logger.warning("The relay's lease was not given back", **error.log_fields())

    async def _pass(self, point: str) -> None:
        if self._faults is not None:
            await self._faults(point)


@asynccontextmanager
async def _begun(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    try:
        async with engine.begin() as connection:
            yield connection
    except OSError as error:  # asyncpg, where nobody listens
        raise UnavailableError(f"the outbox's database is away: {error}") from error
    except DBAPIError as error:
        # asyncpg's errors that have no class in DB-API come as the root: shutting down, no such role, ...
        if isinstance(error, OperationalError | InterfaceError) or type(error) is DBAPIError:
            raise UnavailableError(f"the outbox's database is away: {error.orig}") from error
        raise


def _create_missing(connection: Connection) -> None:
    """Make what is missing; asks first, since a relay's role in the database need not be allowed to make tables."""
    there = set(inspect(connection).get_table_names())
    if not {OutboxMessage.__tablename__, OutboxLease.__tablename__} <= there:
        create(connection)


def _patient(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 30000")  # the user's own transactions come first
    cursor.close()


async def _within(stop: asyncio.Event, pause: timedelta) -> None:
    """Wait for a while, or until told to stop."""
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([waiting], timeout=pause.total_seconds())
    finally:
        waiting.cancel()

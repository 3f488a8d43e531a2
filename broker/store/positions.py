"""The unit of work of a database consumer: rows and the position that they follow from are written as one.

Kafka's group gives life, this gives safety: whoever takes a partition raises its epoch, and whoever held it before
finds no row to update, so it writes nothing any more, however late it notices.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InterfaceError, OperationalError

from broker.errors import FencedError, StorageError, UnavailableError
from broker.store.disk import disk_problem
from broker.store.tables import positions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from sqlalchemy import Dialect, Table
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


class Place(NamedTuple):
    """A partition, by its bare topic; the same fields as aiokafka's `TopicPartition`."""

    topic: str
    partition: int


class Holding:
    """Partitions that this consumer took together, and where it stands in each.

    One write at a time: the caller keeps writes of one holding apart.
    """

    def __init__(self, engine: AsyncEngine, epochs: Mapping[Place, int], next_offsets: Mapping[Place, int]) -> None:
        self._engine = engine.execution_options(writes=True)
        self._epochs = dict(epochs)
        self._next_offsets = dict(next_offsets)

    @property
    def next_offsets(self) -> Mapping[Place, int]:
        """The next offset to read of each partition."""
        return self._next_offsets

    @asynccontextmanager
    async def unit(self, moves: Mapping[Place, int]) -> AsyncIterator[AsyncConnection]:
        """Write what follows from reading on: all of it is committed, with the new positions, when the block ends.

        Rows of partitions that do not move are locked and checked too: what is written about one (a receipt is
        pending) must not pass by what is read from the other (the ledger got there).

        Args:
            moves: the next offset to read, by partition, once this is committed.

        Raises:
            FencedError: somebody else took a partition over; nothing was written.
            StorageError: the store's disk is full or broken.
            UnavailableError: the database is away, or its answer was; take the partitions again to see what it has.
        """
        async with _begun(self._engine, "writing to the store") as connection:
            for place in sorted(self._epochs):  # always in one order, so that two holders cannot deadlock
                start = self._next_offsets[place]
                moved = await connection.execute(
                    update(positions)
                    .where(positions.c.topic == place.topic, positions.c.partition == place.partition)
                    .where(positions.c.epoch == self._epochs[place], positions.c.next_offset == start)
                    .values(next_offset=moves.get(place, start))
                )
                if moved.rowcount != 1:
                    raise FencedError(f"{place.topic}/{place.partition} was taken over at {start}")
            yield connection
        # If the commit itself got no answer, this line is not reached: whoever wants to go on takes the partitions
        # again, and reads there what was committed.
        self._next_offsets.update(moves)


async def take(engine: AsyncEngine, places: Iterable[Place]) -> Holding:
    """Take partitions over from whoever holds them; from here on nobody else's unit on them is committed.

    Raises:
        StorageError: the store's disk is full or broken.
        UnavailableError: the database is away.
    """
    epochs: dict[Place, int] = {}
    next_offsets: dict[Place, int] = {}
    async with _begun(engine.execution_options(writes=True), "taking partitions in the store") as connection:
        for place in sorted(places):
            await connection.execute(
                insert(connection.dialect, positions)
                .values(topic=place.topic, partition=place.partition, epoch=0, next_offset=0)
                .on_conflict_do_nothing()
            )
            row = (
                await connection.execute(
                    update(positions)
                    .where(positions.c.topic == place.topic, positions.c.partition == place.partition)
                    .values(epoch=positions.c.epoch + 1)
                    .returning(positions.c.epoch, positions.c.next_offset)
                )
            ).one()
            epochs[place], next_offsets[place] = row.epoch, row.next_offset
    return Holding(engine, epochs, next_offsets)


async def next_offsets(connection: AsyncConnection) -> dict[Place, int]:
    """Return how far every partition has been read into this store."""
    rows = await connection.execute(select(positions.c.topic, positions.c.partition, positions.c.next_offset))
    return {Place(row.topic, row.partition): row.next_offset for row in rows}


def insert(dialect: Dialect, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that knows ON CONFLICT, which SQLAlchemy has only by dialect (the two agree)."""
    return postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)


@asynccontextmanager
async def _begun(engine: AsyncEngine, doing: str) -> AsyncIterator[AsyncConnection]:
    """Run a transaction; a database that is away leaves as an error of ours, a wrong statement as it is."""
    try:
        async with engine.begin() as connection:
            yield connection
    except (OperationalError, InterfaceError, OSError) as error:  # asyncpg says OSError where nobody listens
        if isinstance(error, OperationalError) and (problem := disk_problem(error.orig)) is not None:
            raise StorageError(engine.url.database, problem) from error
        raise UnavailableError(f"{doing}: {type(error).__name__}") from error

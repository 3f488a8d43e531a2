"""An outbox: messages are written down in the user's own database transaction, and published from there by a relay.

```python
from noticewire import outbox

with Session(engine) as session, session.begin():
    session.add(case)  # the user's own rows
    outbox.add(session, message)
# both are committed, or neither; `noticewire relay --database URL` publishes
```

SQLite and PostgreSQL. The message lies there as it will be published, in the clear: the database holds the case anyway.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    String,
    Text,
    UniqueConstraint,
    event,
    func,
    select,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import CreateIndex, CreateTable

from broker.clock import SystemClock
from broker.model import rules
from broker.model.diffusion import Diffusion
from broker.model.notice import Notice
from broker.schema.codec import Codec
from broker.store.columns import MomentMs

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncSession

metadata = MetaData()
"""The outbox's tables, for the user's own migrations (Alembic: add it to `target_metadata`)."""


class _Base(DeclarativeBase):
    metadata = metadata


class OutboxMessage(_Base):
    """A message that waits to be published, or was refused; what was published is deleted."""

    __tablename__ = "noticewire_outbox"
    __table_args__ = (
        UniqueConstraint("issuer", "number", "message_id", name="uq_noticewire_outbox_message"),
        {"sqlite_autoincrement": True},  # an id is never used twice: the relay reads in their order
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    message_id: Mapped[UUID]
    number: Mapped[str] = mapped_column(String(64), index=True)
    issuer: Mapped[str] = mapped_column(String(32))
    value: Mapped[bytes] = mapped_column(LargeBinary)
    """Framed Avro, as it will lie on the feed."""
    mends: Mapped[str | None] = mapped_column(String(96))
    added_at: Mapped[datetime] = mapped_column(MomentMs)
    failed_at: Mapped[datetime | None] = mapped_column(MomentMs)
    code: Mapped[str | None] = mapped_column(String(64))
    """Of the error, where it was refused."""
    problem: Mapped[str | None] = mapped_column(Text)
    """What is wrong, where it was refused; no subject's data."""


class OutboxLease(_Base):
    """Which relay works: one row."""

    __tablename__ = "noticewire_outbox_lease"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    holder: Mapped[str] = mapped_column(String(128))
    until: Mapped[datetime] = mapped_column(MomentMs)


def add(session: Session | AsyncSession, message: Notice | Diffusion, *, mends: str | None = None) -> None:
    """Write a message down in a session's transaction: it is published if that is committed, and only then.

    Messages of one notice are published in the order in which they were added, and transactions in the order of their
    commits: on PostgreSQL the second transaction with the same notice waits, when it is flushed, until the first has
    ended.

    Args:
        session: of SQLAlchemy, sync or async; nothing is awaited.
        message: breaks no rule of the domain. What the directory knows is checked by the relay.
        mends: the origin of the rejected record that it stands in for.

    Raises:
        InvalidMessageError: names each field, what is wrong with it, and the rule; the session is unchanged.
        InvalidFieldError: it is larger than a feed takes.
    """
    rules.check(message, today=datetime.now(UTC).date())
    session.add(
        OutboxMessage(
            message_id=message.message_id,
            number=message.number,
            issuer=message.issuer,
            value=_codec().encode(message),
            mends=mends,
            added_at=SystemClock().now(),
        )
    )


def create(bind: Engine | Connection) -> None:
    """Make the outbox's tables where they are not there: for whoever has no migrations.

    With an async engine: `await connection.run_sync(outbox.create)`.
    """
    if isinstance(bind, Engine):
        with bind.begin() as connection:
            create(connection)
        return
    # Two that start together must not both look, and then both make them.
    if bind.dialect.name == "postgresql":
        bind.execute(_lock(OutboxMessage.__tablename__))
        metadata.create_all(bind)  # "IF NOT EXISTS" would ask for the right to make tables, and is no lock
        return
    for table in metadata.sorted_tables:
        bind.execute(CreateTable(table, if_not_exists=True))
        for index in table.indexes:
            bind.execute(CreateIndex(index, if_not_exists=True))


@cache
def _codec() -> Codec:
    return Codec.load()


@event.listens_for(OutboxMessage, "before_insert")
def _in_order_of_commits(_mapper: Any, connection: Connection, row: OutboxMessage) -> None:
    """Let transactions with the same notice take their ids one after the other.

    PostgreSQL gives an id when a row is inserted, and shows the row when its transaction ends: a relay could see, and
    publish, the second message of a notice before the first. SQLite has one writer.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_lock(row.number))


def _lock(name: str) -> Select[Any]:
    """Return what waits for PostgreSQL's lock of a name, and holds it until the transaction ends."""
    key = int.from_bytes(sha256(f"noticewire outbox {name}".encode()).digest()[:8], "big", signed=True)
    return select(func.pg_advisory_xact_lock(key))

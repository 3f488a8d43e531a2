"""Tables of the database consumers.

Every row follows from the log alone: no column holds the time at which something was read or written here, so a store
that is deleted and rebuilt ends equal, row for row (only `positions.epoch` counts who came by).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text, Uuid

from broker.store.columns import MomentMs

metadata = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"},
)

positions = Table(
    "positions",
    metadata,
    Column("topic", String(64), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("epoch", BigInteger, nullable=False),  # how often the partition was taken; whoever has less is fenced
    Column("next_offset", BigInteger, nullable=False),  # everything before it is in this store
)

passed = Table(
    "passed",
    metadata,
    Column("topic", String(64), primary_key=True),  # a feed
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),  # the ledger has said what became of every offset before it
)

messages = Table(
    "messages",
    metadata,
    Column("origin", String(96), primary_key=True),  # `notices.africa/1/42`
    Column("region", String(32), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("ledger_offset", BigInteger, nullable=False),
    Column("number", String(64), nullable=False, index=True),
    Column("event", String(16), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("issuer", String(32), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("appended_at", MomentMs, nullable=False),  # of the feed record
    Column(
        "withheld", Text, nullable=False
    ),  # codes; tells a receipt for what was withheld from one for nothing at all
)
"""One for each routed message."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("origin", String(96), primary_key=True),
    Column("bureau", String(32), primary_key=True),
    Column("how", String(16), nullable=False),  # `How`
    Column("message_id", Uuid, nullable=False),  # these two are what a receipt must name
    Column("digest", LargeBinary(32), nullable=False),
    Column("stage", String(16)),  # `Stage`, null until the first receipt counts
    Column("received_at", MomentMs),  # append times of the receipts
    Column("accepted_at", MomentMs),
    Column("actioned_at", MomentMs),
    Column("declined_at", MomentMs),
    Column("purged_at", MomentMs),
    Column("actor_kind", String(16)),  # of the receipt that brought it to its stage
    Column("actor", String(64)),
    Column("given_at", MomentMs),  # by its sender's clock
    Column("decline_reason", String(32)),  # while the decline stands
)
"""One for each bureau that was given a message, or a notice of end in its place."""

receipts = Table(
    "receipts",
    metadata,
    Column("topic", String(64), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("record_offset", BigInteger, primary_key=True),
    Column("record_index", Integer, primary_key=True),  # within the record; 0 where it holds none that can be read
    Column("appended_at", MomentMs, nullable=False),
    Column("verdict", String(16), nullable=False),  # `Verdict`
    Column("reason", String(32)),  # `Reason`, where not counted
    # What follows is what the record says, true or not; null where it says nothing that can be read.
    Column("bureau", String(32)),
    Column("number", String(64)),
    Column("origin_topic", String(64)),
    Column("origin_partition", Integer),
    Column("origin_offset", BigInteger),
    Column("message_id", Uuid),
    Column("digest", LargeBinary(32)),
    Column("stage", String(16)),
    Column("decline_reason", String(32)),
    Column("actor_kind", String(16)),
    Column("actor", String(64)),
    Column("given_at", MomentMs),
)
"""Every receipt ever read, counted or not."""

Index(
    "ix_receipts_pending",
    receipts.c.origin_topic,
    receipts.c.origin_partition,
    receipts.c.origin_offset,
    sqlite_where=receipts.c.verdict == "pending",
    postgresql_where=receipts.c.verdict == "pending",
)
Index("ix_receipts_about", receipts.c.origin_topic, receipts.c.origin_partition, receipts.c.origin_offset)

"""The tracker's tables: positions, what the ledger has passed, messages, deliveries, receipts.

Written out and never changed again, unlike `broker.store.tables`: a store of today must migrate the same way for ever.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "positions",
        sa.Column("topic", sa.String(64), nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name="pk_positions"),
    )
    op.create_table(
        "passed",
        sa.Column("topic", sa.String(64), nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name="pk_passed"),
    )
    op.create_table(
        "messages",
        sa.Column("origin", sa.String(96), nullable=False),
        sa.Column("region", sa.String(32), nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("ledger_offset", sa.BigInteger, nullable=False),
        sa.Column("number", sa.String(64), nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("message_id", sa.Uuid, nullable=False),
        sa.Column("issuer", sa.String(32), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("appended_at", sa.BigInteger, nullable=False),
        sa.Column("withheld", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("origin", name="pk_messages"),
    )
    op.create_index("ix_messages_number", "messages", ["number"])
    op.create_table(
        "deliveries",
        sa.Column("origin", sa.String(96), nullable=False),
        sa.Column("bureau", sa.String(32), nullable=False),
        sa.Column("how", sa.String(16), nullable=False),
        sa.Column("message_id", sa.Uuid, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("stage", sa.String(16)),
        sa.Column("received_at", sa.BigInteger),
        sa.Column("accepted_at", sa.BigInteger),
        sa.Column("actioned_at", sa.BigInteger),
        sa.Column("declined_at", sa.BigInteger),
        sa.Column("purged_at", sa.BigInteger),
        sa.Column("actor_kind", sa.String(16)),
        sa.Column("actor", sa.String(64)),
        sa.Column("given_at", sa.BigInteger),
        sa.Column("decline_reason", sa.String(32)),
        sa.PrimaryKeyConstraint("origin", "bureau", name="pk_deliveries"),
    )
    op.create_table(
        "receipts",
        sa.Column("topic", sa.String(64), nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("record_offset", sa.BigInteger, nullable=False),
        sa.Column("record_index", sa.Integer, nullable=False),
        sa.Column("appended_at", sa.BigInteger, nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32)),
        sa.Column("bureau", sa.String(32)),
        sa.Column("number", sa.String(64)),
        sa.Column("origin_topic", sa.String(64)),
        sa.Column("origin_partition", sa.Integer),
        sa.Column("origin_offset", sa.BigInteger),
        sa.Column("message_id", sa.Uuid),
        sa.Column("digest", sa.LargeBinary(32)),
        sa.Column("stage", sa.String(16)),
        sa.Column("decline_reason", sa.String(32)),
        sa.Column("actor_kind", sa.String(16)),
        sa.Column("actor", sa.String(64)),
        sa.Column("given_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("topic", "partition", "record_offset", "record_index", name="pk_receipts"),
    )
    about = ["origin_topic", "origin_partition", "origin_offset"]
    pending = sa.text("verdict = 'pending'")
    op.create_index("ix_receipts_pending", "receipts", about, sqlite_where=pending, postgresql_where=pending)
    op.create_index("ix_receipts_about", "receipts", about)

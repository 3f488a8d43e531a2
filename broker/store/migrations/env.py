"""Alembic's entry: runs inside the connection and transaction that `broker.store.engine` hands it."""

from __future__ import annotations

from alembic import context

from broker.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter a column
)
with context.begin_transaction():
    context.run_migrations()

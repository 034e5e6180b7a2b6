"""Run by alembic: hands it the connection that the store opened."""

from __future__ import annotations

from alembic import context

from toolstore.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()

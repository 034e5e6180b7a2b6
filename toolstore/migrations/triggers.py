"""Makes the triggers that keep a table append-only."""

from __future__ import annotations

from alembic import op

from toolstore.triggers import postgresql_triggers, sqlite_triggers


def forbid_changes(table: str, keys: tuple[str, ...]) -> None:
    """Let rows of `table` be added, and never changed, replaced or deleted.

    `keys` are the columns that are unique by themselves. The audit wants these triggers on every
    table of `tables.APPEND_ONLY`.
    """
    if op.get_bind().dialect.name == "postgresql":
        statements = postgresql_triggers(table)
    else:
        statements = tuple(sqlite_triggers(table, keys).values())
    for statement in statements:
        op.execute(statement)

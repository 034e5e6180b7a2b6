"""Triggers that keep a table append-only, as each database spells them."""

from __future__ import annotations

from typing import Final

from alembic import op

POSTGRESQL_FUNCTION: Final = "toolstore_append_only"
"""What the triggers of a PostgreSQL store run."""

POSTGRESQL_BODY: Final = "BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END"


def forbid_changes(table: str, keys: tuple[str, ...]) -> None:
    """Let rows of `table` be added, and never changed, replaced or deleted.

    `keys` are the columns that are unique by themselves. The audit wants these triggers on every
    table of `tables.APPEND_ONLY`.
    """
    if op.get_bind().dialect.name == "postgresql":
        _on_postgresql(table)
    else:
        _on_sqlite(table, keys)


def _on_sqlite(table: str, keys: tuple[str, ...]) -> None:
    for action in ("update", "delete"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{action} BEFORE {action} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
    # INSERT OR REPLACE would delete the old row without the trigger above being asked.
    same = " OR ".join(f"{key} = NEW.{key}" for key in keys)
    taken = f"EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608 - names of the migrations
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {taken} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    )


def _on_postgresql(table: str) -> None:
    op.execute(
        f"CREATE OR REPLACE FUNCTION {POSTGRESQL_FUNCTION}() RETURNS trigger "
        f"LANGUAGE plpgsql AS $${POSTGRESQL_BODY}$$"
    )
    # For each statement: only so is TRUNCATE asked. ON CONFLICT DO UPDATE counts as an update.
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {POSTGRESQL_FUNCTION}()"
    )
    # A session that plays replica skips ordinary triggers.
    op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only")

"""The triggers that keep a table append-only, as each database spells them."""

from __future__ import annotations

from typing import Final

POSTGRESQL_FUNCTION: Final = "toolstore_append_only"
"""What the triggers of a PostgreSQL store run."""

POSTGRESQL_BODY: Final = "BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END"


def sqlite_triggers(table: str, keys: tuple[str, ...]) -> dict[str, str]:
    """The definitions of the triggers of `table`, by their names.

    `keys` are the columns that are unique by themselves.
    """
    stop = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    # INSERT OR REPLACE would delete the old row without the second trigger being asked.
    same = " OR ".join(f"{key} = NEW.{key}" for key in keys)
    taken = f"EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608 - names of the migrations
    when = {"update": "BEFORE update", "delete": "BEFORE delete", "replace": "BEFORE INSERT"}
    unless = {"replace": f" WHEN {taken}"}
    return {
        f"{table}_no_{action}": (
            f"CREATE TRIGGER {table}_no_{action} {moment} ON {table}{unless.get(action, '')} {stop}"
        )
        for action, moment in when.items()
    }


def postgresql_triggers(table: str) -> tuple[str, ...]:
    """The statements that make the trigger of `table`."""
    function = (
        f"CREATE OR REPLACE FUNCTION {POSTGRESQL_FUNCTION}() RETURNS trigger "
        f"LANGUAGE plpgsql AS $${POSTGRESQL_BODY}$$"
    )
    # For each statement: only so is TRUNCATE asked. ON CONFLICT DO UPDATE counts as an update.
    trigger = (
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {POSTGRESQL_FUNCTION}()"
    )
    # A session that plays replica skips ordinary triggers.
    always = f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only"
    return function, trigger, always

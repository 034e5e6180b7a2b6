"""What an audit asks a PostgreSQL server about the structure of a store."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, ForeignKeyConstraint, Table, exists, func, select, text

from toolstore.migrations.triggers import POSTGRESQL_BODY, POSTGRESQL_FUNCTION
from toolstore.tables import APPEND_ONLY, metadata

_HERE: Final = "relnamespace = current_schema()::regnamespace"
_BEFORE_CHANGES: Final = 2 | 8 | 16 | 32
"""`pg_trigger.tgtype`: a statement's BEFORE, DELETE, UPDATE, TRUNCATE."""

_TRIGGERS: Final = f"""
    SELECT t.tgname::text, c.relname::text, t.tgenabled::text, t.tgtype,
           t.tgqual IS NULL AS always, p.proname::text, p.prosrc
    FROM pg_trigger AS t
    JOIN pg_class AS c ON c.oid = t.tgrelid
    JOIN pg_proc AS p ON p.oid = t.tgfoid
    WHERE c.{_HERE} AND NOT t.tgisinternal
"""  # noqa: S608 - a constant of this module
_RULES: Final = f"""
    SELECT r.rulename::text, c.relname::text FROM pg_rewrite AS r
    JOIN pg_class AS c ON c.oid = r.ev_class
    WHERE c.{_HERE} AND c.relkind IN ('r', 'p')
"""  # noqa: S608 - a constant of this module
_REFERENCES: Final = f"""
    SELECT c.relname::text, f.relname::text, k.convalidated FROM pg_constraint AS k
    JOIN pg_class AS c ON c.oid = k.conrelid
    JOIN pg_class AS f ON f.oid = k.confrelid
    WHERE k.contype = 'f' AND c.{_HERE}
"""  # noqa: S608 - a constant of this module


def problems(connection: Connection) -> list[str]:
    """Triggers, rules and references that are not as the migrations made them."""
    found = _trigger_problems(connection)
    found += [
        f"the rule {rule} on {table} is not ours"
        for rule, table in connection.execute(text(_RULES))
    ]
    held = {
        (table, target) for table, target, valid in connection.execute(text(_REFERENCES)) if valid
    }
    for table in metadata.sorted_tables:
        for constraint in table.foreign_key_constraints:
            found += _reference_problems(connection, table, constraint, held)
    return found


def _trigger_problems(connection: Connection) -> list[str]:
    found = []
    missing = {f"{table}_append_only" for table in APPEND_ONLY}
    for name, table, enabled, kind, always, function, body in connection.execute(text(_TRIGGERS)):
        as_made = (f"{table}_append_only", "A", _BEFORE_CHANGES, True, POSTGRESQL_FUNCTION)
        if name not in missing or (name, enabled, kind, always, function) != as_made:
            found.append(f"the trigger {name} on {table} is not ours, or was changed")
        elif body != POSTGRESQL_BODY:
            found.append(f"the function {function} of the trigger {name} was changed")
        missing.discard(name)
    return found + [f"the trigger {name} is missing" for name in sorted(missing)]


def _reference_problems(
    connection: Connection,
    table: Table,
    constraint: ForeignKeyConstraint,
    held: set[tuple[str, str]],
) -> list[str]:
    target = constraint.referred_table
    found = []
    if (table.name, target.name) not in held:
        found.append(f"{table.name} is not held to refer to {target.name}")
    there = target.alias()
    pairs = [(element.parent, there.c[element.column.name]) for element in constraint.elements]
    lost = (
        select(func.count())
        .select_from(table)
        .where(*(column.is_not(None) for column, _ in pairs))
        .where(~exists().where(*(column == other for column, other in pairs)))
    )
    count = connection.scalar(lost) or 0
    if count:
        found.append(
            f"{count} rows of {table.name} refer to some of {target.name} that are missing"
        )
    return found

"""What an audit asks a PostgreSQL server about the structure of a store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sqlalchemy import (
    Connection,
    ForeignKeyConstraint,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    exists,
    func,
    select,
    text,
)

from toolstore.tables import APPEND_ONLY, metadata
from toolstore.triggers import POSTGRESQL_BODY, POSTGRESQL_FUNCTION

_MIGRATIONS: Final = "alembic_version"
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
_RELATIONS: Final = f"""
    SELECT relname::text, relkind::text, relpersistence::text, relrowsecurity FROM pg_class
    WHERE {_HERE} AND relkind NOT IN ('i', 'I', 'S', 't')
"""  # noqa: S608 - a constant of this module
_UNIQUE: Final = f"""
    SELECT c.relname::text, pg_get_expr(i.indpred, i.indrelid),
           array(SELECT a.attname::text FROM pg_attribute AS a
                 WHERE a.attrelid = c.oid AND a.attnum = ANY(i.indkey) ORDER BY 1)
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
    WHERE c.{_HERE} AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indexprs IS NULL
"""  # noqa: S608 - a constant of this module
_REQUIRED: Final = f"""
    SELECT c.relname::text, a.attname::text FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE c.{_HERE} AND c.relkind = 'r' AND a.attnum > 0 AND a.attnotnull
"""  # noqa: S608 - a constant of this module
_TABLE: Final = ("r", "p", False)
"""An ordinary table, kept through a crash, that hides no rows from anybody."""


def problems(connection: Connection) -> list[str]:
    """What is not as the migrations made it: tables, uniqueness, triggers, rules, references."""
    found = [*_relation_problems(connection), *_column_problems(connection)]
    found += _trigger_problems(connection)
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


def _relation_problems(connection: Connection) -> Iterator[str]:
    """A view in the place of a table, one that a crash empties, one that hides rows."""
    relations = {row[0]: tuple(row[1:]) for row in connection.execute(text(_RELATIONS))}
    for name in sorted(relations.keys() - metadata.tables.keys() - {_MIGRATIONS}):
        yield f"the relation {name} is not ours"
    for name in metadata.tables:
        if relations.get(name) != _TABLE:
            yield f"the table {name} is missing, or is no ordinary one any more"


def _column_problems(connection: Connection) -> Iterator[str]:
    kept = [(row[0], _plain(row[1]), tuple(row[2])) for row in connection.execute(text(_UNIQUE))]
    required = {(row[0], row[1]) for row in connection.execute(text(_REQUIRED))}
    for table in metadata.sorted_tables:
        for columns, where in _unique(table):
            if (table.name, where, columns) not in kept:
                yield f"{table.name} is not held to have each {', '.join(columns)} once"
        for column in table.columns:
            if not column.nullable and (table.name, column.name) not in required:
                yield f"{table.name} is not held to have a {column.name}"


def _unique(table: Table) -> Iterator[tuple[tuple[str, ...], str]]:
    """Columns, sorted, of which no two rows have the same; and of which rows that is true."""
    for constraint in table.constraints:
        if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint):
            yield tuple(sorted(column.name for column in constraint.columns)), ""
    for index in table.indexes:
        if index.unique:
            where = index.dialect_options["postgresql"]["where"]
            names = tuple(sorted(column.name for column in index.columns))
            yield names, _plain("" if where is None else str(where))


def _plain(condition: str | None) -> str:
    """A condition without what says nothing: layout, brackets, types."""
    return re.sub(r"::text|[()\s]", "", condition or "")


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

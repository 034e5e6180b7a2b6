"""What an audit asks SQLite about the structure of a store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, Float, Integer, LargeBinary, Table, inspect
from sqlalchemy.schema import CreateIndex, CreateTable

from toolstore.tables import APPEND_ONLY, metadata
from toolstore.triggers import sqlite_triggers

_SHOWN: Final = 20
"""So many problems of the pages are told; SQLite reads on for each."""

_MIGRATIONS: Final = "alembic_version"
_KEYS: Final = {
    "blob": ("digest",),
    "tool": ("id", "name", "skeleton"),
    "tool_version": ("digest",),
    "evidence": ("digest",),
    "event": ("sequence", "hash", "previous_hash"),
    "attestation": ("digest",),
    "checkpoint": ("number",),
}
"""The columns that are unique by themselves, as the migrations gave them to the triggers."""


def problems(connection: Connection) -> list[str]:
    """What is wrong with pages, references, definitions, and types of values."""
    tables = inspect(connection).get_table_names()
    return [
        *_page_problems(connection),
        *_reference_problems(connection),
        *_definition_problems(connection),
        *(
            found
            for table in metadata.sorted_tables
            if table.name in tables
            for found in _types(connection, table)
        ),
    ]


def _page_problems(connection: Connection) -> list[str]:
    found = connection.exec_driver_sql(f"PRAGMA integrity_check({_SHOWN})")
    return [str(row[0]) for row in found if row[0] != "ok"]


def _reference_problems(connection: Connection) -> list[str]:
    return [
        f"a row of {row[0]} refers to one of {row[2]} that is missing"
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check")
    ]


def _definition_problems(connection: Connection) -> Iterator[str]:
    """Tables, indexes and triggers are as the migrations made them, and there is nothing else.

    A view in the place of a table, a trigger that does nothing, an index that is gone: each lets
    be written or read what the rest of the audit does not see.
    """
    wanted = _definitions(connection)
    found = {
        str(name): (str(kind), _plain(str(sql or "")))
        for kind, name, sql in connection.exec_driver_sql(
            "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_autoindex_%'"
        )
    }
    for name, (kind, sql) in sorted(found.items()):
        if name not in wanted:
            if name not in {_MIGRATIONS, "sqlite_stat1"}:
                yield f"the {kind} {name} is not ours"
        elif sql != wanted[name]:
            yield f"the {kind} {name} is not as it was made"
    for name in sorted(wanted.keys() - found.keys()):
        yield f"{name} is missing"


def _definitions(connection: Connection) -> dict[str, str]:
    dialect = connection.dialect
    made = {}
    for table in metadata.sorted_tables:
        made[table.name] = str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            made[str(index.name)] = str(CreateIndex(index).compile(dialect=dialect))
    for name in APPEND_ONLY:
        made |= sqlite_triggers(name, _KEYS[name])
    return {name: _plain(sql) for name, sql in made.items()}


def _plain(sql: str) -> str:
    """A definition without what says nothing: layout, quotes, case."""
    return "".join(sql.split()).replace('"', "").casefold()


def _types(connection: Connection, table: Table) -> Iterator[str]:
    """Columns that hold values of another type than theirs, which SQLite allows."""
    kept = {
        column.name: "blob"
        if isinstance(column.type, LargeBinary)
        else "integer"
        if isinstance(column.type, Integer)
        else "real"
        if isinstance(column.type, Float)
        else "text"
        for column in table.columns
    }
    counts = ", ".join(
        f"count(*) FILTER (WHERE typeof({name}) NOT IN ('{kind}', 'null'))"
        for name, kind in kept.items()
    )
    row = connection.exec_driver_sql(f"SELECT {counts} FROM {table.name}").one()  # noqa: S608 - names of our own tables
    for (name, kind), count in zip(kept.items(), row, strict=True):
        if count:
            yield f"{count} value(s) of {table.name}.{name} are no {kind}"

"""Every change that somebody who can write to a store's database could make to one row of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from sqlalchemy import (
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Table,
    TextClause,
    UniqueConstraint,
    delete,
    insert,
    select,
    text,
    update,
)

from toolstore import tables

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Attack:
    """One change of one row, or of two."""

    kind: str
    """`change`, `delete`, `copy` or `swap`."""

    table: Table
    rows: tuple[Row, ...]
    """Those that it is about, as they were; of a change and a copy also as it becomes."""

    apply: Callable[[Connection], None]
    column: str = ""
    """Of a change."""

    how: str = ""

    @property
    def columns(self) -> set[str]:
        """What the second row has otherwise than the first; nothing for one row."""
        one, two = self.rows[0], self.rows[-1]
        return {name for name in one if one[name] is not two[name] and one[name] != two[name]}

    def __str__(self) -> str:
        keys = " ".join(f"{self.rows[0][column.name]!s:.24}" for column in _keys(self.table))
        where = f"{self.table.name}.{self.column}" if self.column else self.table.name
        return f"{self.kind} {where} of [{keys}] {self.how}".strip()


def attacks(connection: Connection) -> Iterator[Attack]:
    """Every attack on every row of the store that `connection` reads."""
    for table in tables.metadata.sorted_tables:
        rows = [dict(row) for row in connection.execute(select(table)).mappings()]
        for number, row in enumerate(rows):
            other = rows[(number + 1) % len(rows)]
            for column in table.columns:
                own, another = row[column.name], other[column.name]
                for how, value in _values(column, own, another, connection.dialect.name):
                    if isinstance(value, TextClause) or value != own:
                        yield _change(table, row, column.name, value, how)
            yield Attack("delete", table, (row,), _deletion(table, row))
            yield _copy(table, row, rows)
        keys = {column.name for column in _keys(table)}
        for one, two in pairwise(rows):
            if any(one[name] != two[name] for name in one.keys() - keys):
                yield Attack("swap", table, (one, two), _swap(table, one, two))


def _keys(table: Table) -> Sequence[Column[Any]]:
    return list(table.primary_key.columns)


def _where(table: Table, row: Row) -> list[Any]:
    return [column == row[column.name] for column in _keys(table)]


def _change(table: Table, row: Row, name: str, value: object, how: str) -> Attack:
    def apply(connection: Connection) -> None:
        connection.execute(update(table).where(*_where(table, row)).values({name: value}))

    return Attack("change", table, (row, row | {name: value}), apply, name, how)


def _deletion(table: Table, row: Row) -> Callable[[Connection], None]:
    def apply(connection: Connection) -> None:
        connection.execute(delete(table).where(*_where(table, row)))

    return apply


def _copy(table: Table, row: Row, rows: Sequence[Row]) -> Attack:
    """The row once more, under a key that is free."""
    unique = {column.name for column in table.columns if column.unique or column.primary_key}
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            unique |= {column.name for column in constraint.columns}
    free = {
        name: max(each[name] for each in rows) + 1
        if isinstance(table.c[name].type, Integer)
        else _another(row[name])
        for name in unique
    }

    def apply(connection: Connection) -> None:
        connection.execute(insert(table).values(row | free))

    return Attack("copy", table, (row, row | free), apply)


def _swap(table: Table, one: Row, two: Row) -> Callable[[Connection], None]:
    """Each has what the other had, but for the key."""
    keys = {column.name for column in _keys(table)}
    first = two | {name: one[name] for name in keys}
    second = one | {name: two[name] for name in keys}

    def apply(connection: Connection) -> None:
        for row in (one, two):
            connection.execute(delete(table).where(*_where(table, row)))
        connection.execute(insert(table).values(first))
        connection.execute(insert(table).values(second))

    return apply


def _values(
    column: Column[Any], value: Any, other: Any, dialect: str
) -> Iterator[tuple[str, object]]:
    """What could stand in place of `value`."""
    if column.nullable and value is not None:
        yield "nothing", None
    if other != value and other is not None:
        yield "that of another row", other
    yield from _others(column, value)
    if dialect == "sqlite":
        yield from _of_another_type(value)


def _others(column: Column[Any], value: Any) -> Iterator[tuple[str, object]]:
    if isinstance(column.type, LargeBinary):
        middle = len(value) // 2
        yield "its first byte", _flipped(value, 0)
        yield "its middle byte", _flipped(value, middle)
        yield "its last byte", _flipped(value, len(value) - 1)
        yield "cut off", value[:-1]
        yield "a byte more", value + b" "
        yield "emptied", b""
    elif isinstance(column.type, Float):
        yield "another number", 0.125 if value is None else value / 2
    elif isinstance(column.type, Integer):
        yield "one more", (value or 0) + 1
        yield "less than nothing", -1
    elif value is None:
        yield "something", "s-own"
    else:
        yield "another letter", _another(value)
        yield "emptied", ""
        yield "a space more", value + " "
        yield "in capitals", value.swapcase()


def _of_another_type(value: Any) -> Iterator[tuple[str, object]]:
    """What SQLite keeps in columns of any type."""
    if isinstance(value, str):
        yield "as bytes", text("CAST(:v AS BLOB)").bindparams(v=value)
        yield "no UTF-8", text("CAST(CAST(:v AS BLOB) || x'ff' AS TEXT)").bindparams(v=value)
        yield "a NUL more", text("CAST(CAST(:v AS BLOB) || x'00' AS TEXT)").bindparams(v=value)
    elif isinstance(value, bytes):
        yield "as text", text("CAST(:v AS TEXT)").bindparams(v=value)
    elif isinstance(value, int | float):
        yield "as text", text("'x' || :v").bindparams(v=str(value))


def _flipped(value: bytes, place: int) -> bytes:
    return value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :]


def _another(value: str) -> str:
    """`value` with another last letter."""
    return value[:-1] + ("1" if value.endswith("0") else "0")

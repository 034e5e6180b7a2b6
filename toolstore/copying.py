"""A whole store into another database: all of it, verified on both sides, or nothing.

Everything is copied as it is, the log with its hashes included, in one transaction of the target.
Before it ends the target is audited as the source was, and read back row by row against what
came out of the source. So a copy that was stopped left an empty store, and one that came to its
end is the same store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, func, insert, select

from policies.value import Value
from toolstore import audit
from toolstore.attest.guard import Guard, bind
from toolstore.database import Database
from toolstore.errors import StoreDamagedError, StoreUnusableError
from toolstore.layout import REVISIONS
from toolstore.models import VerifyReport
from toolstore.tables import metadata
from toolstore.texts import KeptText

BATCH: Final = 200
"""Rows in memory at a time; a blob may have megabytes."""

Progress = Callable[[str, int, int], None]
"""Hears what is being done (`copy blob`), how many rows of it are done, and how many there are."""


class CopiedTable(Value):
    """One table, the same on both sides."""

    table: str
    rows: int
    digest: str
    """`sha256:<hex>` over all rows, as read from either side."""


class CopyReport(Value):
    """What a copy did."""

    source: str
    target: str
    versions: int
    events: int
    blobs: int
    tables: tuple[CopiedTable, ...]


def copy_store(
    source: Database,
    target: Database,
    progress: Progress,
    guard: Callable[[], Guard] | None = None,
) -> CopyReport:
    """Copy what is in `source` into `target`, which must be empty.

    With `guard`, which makes a new one for each side, signatures are verified too.

    Raises:
        StoreUnusableError: the target is not empty, or one of the two cannot be used.
        StoreDamagedError: the source is damaged, or the target does not give back what was
            copied. Nothing was written.
        StoreBusyError: another process kept the target's lock.
    """
    _require_present(source)
    target.prepare()
    with source.translated_errors(), source.connect(writes=False) as taken, taken.begin():
        bind(taken, guard() if guard else None)
        report = _audited(taken, source.where, progress, "check the source")
        with target.translated_errors(), target.connect(writes=True) as given, given.begin():
            bind(given, guard() if guard else None)
            _require_empty(given, target.where)
            tables = copy_rows(taken, given, progress)
            _compare(given, target.where, tables, progress)
            target.after_bulk(given)
            _audited(given, target.where, progress, "check the target")
    return CopyReport(
        source=source.where,
        target=target.where,
        versions=report.versions,
        events=report.events,
        blobs=report.blobs,
        tables=tables,
    )


def copy_rows(
    source: Connection, target: Connection, progress: Progress
) -> tuple[CopiedTable, ...]:
    """Copy all rows, and check nothing."""
    return tuple(_copy_table(source, target, table, progress) for table in metadata.sorted_tables)


def _require_present(source: Database) -> None:
    missing = source.pending()
    if missing == REVISIONS:
        raise StoreUnusableError(
            source.where, "there is no store", advice="Nothing was copied; name the one to copy."
        )
    if missing:
        raise StoreUnusableError(
            source.where,
            f"its tables lack the revisions {', '.join(missing)}",
            advice="Nothing was copied. Run `toolkiln store migrate` on it first.",
        )


def _require_empty(connection: Connection, where: str) -> None:
    for table in metadata.sorted_tables:
        if connection.execute(select(table).limit(1)).first() is not None:
            raise StoreUnusableError(
                where,
                f"its table {table.name} holds something, and a log cannot be joined to another",
                advice="Nothing was copied. Choose an empty folder or database.",
            )


def _audited(connection: Connection, where: str, progress: Progress, what: str) -> VerifyReport:
    progress(what, 0, 1)
    report = audit.audit(connection)
    if not report.intact:
        first = report.damage[0]
        raise StoreDamagedError(
            f"{where} has {len(report.damage)} damages, the first at {first.where}: "
            f"{first.problem}; nothing was copied"
        )
    progress(what, 1, 1)
    return report


def _copy_table(
    source: Connection, target: Connection, table: Table, progress: Progress
) -> CopiedTable:
    whole = hashlib.sha256()
    done, count = 0, source.scalar(select(func.count()).select_from(table)) or 0
    for rows in _batches(source, table):
        target.execute(
            insert(table), [dict(zip(table.columns.keys(), r, strict=True)) for r in rows]
        )
        done += len(rows)
        _take_in(whole, rows)
        progress(f"copy {table.name}", done, count)
    return CopiedTable(table=table.name, rows=done, digest=f"sha256:{whole.hexdigest()}")


def _compare(
    target: Connection, where: str, copied: tuple[CopiedTable, ...], progress: Progress
) -> None:
    for expected in copied:
        whole, done = hashlib.sha256(), 0
        for rows in _batches(target, metadata.tables[expected.table]):
            done += len(rows)
            _take_in(whole, rows)
            progress(f"compare {expected.table}", done, expected.rows)
        if (done, f"sha256:{whole.hexdigest()}") != (expected.rows, expected.digest):
            raise StoreDamagedError(
                f"{where} does not give back what was copied into {expected.table}; "
                "nothing was kept"
            )


def _batches(connection: Connection, table: Table) -> Iterator[list[tuple[object, ...]]]:
    query = select(table).order_by(*_order(connection, table))
    found = connection.execute(query.execution_options(yield_per=BATCH))
    for rows in found.partitions():
        yield [tuple(row) for row in rows]


def _order(connection: Connection, table: Table) -> list[ColumnElement[Any]]:
    """One order on both databases, in which what is referred to stands first."""
    names = ("tool", "sequence") if table.name == "tool_version" else None
    columns = [table.c[name] for name in names] if names else list(table.primary_key.columns)
    if connection.dialect.name == "postgresql":
        return [c.collate("C") if isinstance(c.type, KeptText) else c for c in columns]
    return list(columns)


def _take_in(whole: hashlib._Hash, rows: list[tuple[object, ...]]) -> None:
    for row in rows:
        whole.update(repr(row).encode("utf-8", "surrogatepass"))

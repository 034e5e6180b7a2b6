"""What a database must be to be taken for a store: its mark and its revision.

Knows the driver alone, so that a quick look needs no more than that.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from toolstore.errors import StoreDamagedError, StoreUnusableError

APPLICATION_ID: Final = 0x746B6C6E  # "tkln"
REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006")
"""All revisions of the tables, oldest first."""

HEAD_REVISION: Final = REVISIONS[-1]


def revisions_after(revision: str | None) -> tuple[str, ...]:
    """The revisions that tables of `revision` lack, oldest first."""
    return REVISIONS if revision is None else REVISIONS[REVISIONS.index(revision) + 1 :]


def check_revision(revision: str | None, where: str) -> None:
    """Refuse tables that this program does not know.

    Raises:
        StoreUnusableError: a later program made them.
    """
    if revision is not None and revision not in REVISIONS:
        raise StoreUnusableError(
            where,
            f"its tables are of revision {revision!r}, which this program does not know",
            advice="A later toolkiln made it; use that one.",
        )


def database_revision(connection: sqlite3.Connection, database: Path) -> str | None:
    """The revision of the tables; None where there are none yet.

    Raises:
        StoreDamagedError: the database is another program's, or lost its mark.
    """
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = {
        row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    if "alembic_version" not in tables:
        if tables:
            raise StoreDamagedError(f"{database} is a database, but not one of a tool store")
        return None
    if mark != APPLICATION_ID:
        raise StoreDamagedError(f"{database} does not bear the mark of a tool store")
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def as_text(content: bytes) -> str:
    """Text as the file has it; what no store keeps is marked, and so equal to nothing kept.

    Left to the driver, one byte that is no UTF-8 would take the answer from every query that
    comes by its row.
    """
    return content.decode(errors="replace").replace("\0", "\ufffd")

"""Which database a location means, and what may be asked of either kind."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeAlias

from sqlalchemy import Connection

from toolstore import sqlite
from toolstore.database import BUSY_SECONDS, Database

Location: TypeAlias = Path | str
"""A folder (SQLite), or a URL `postgresql://user@host/database`."""

_SCHEMES: Final = ("postgresql://", "postgres://")


def is_server(location: Location) -> bool:
    """Whether `location` is the URL of a server, rather than a folder."""
    return str(location).startswith(_SCHEMES)


def database_at(location: Location, busy_seconds: float = BUSY_SECONDS) -> Database:
    """The database at `location`; nothing is opened yet.

    Raises:
        StoreUnusableError: the URL cannot be read, or the driver is not installed.
    """
    if not is_server(location):
        return sqlite.SqliteDatabase(Path(location), busy_seconds)
    # The driver is an extra, and takes time to import.
    from toolstore.postgres import PostgresDatabase  # noqa: PLC0415 - see above

    return PostgresDatabase.at(str(location), busy_seconds)


def structure_problems(connection: Connection) -> list[str]:
    """What the database itself finds wrong with its pages, references and triggers."""
    # One of the two at most, and only audits need it.
    if connection.dialect.name == "sqlite":
        from toolstore.sqlite_checks import problems  # noqa: PLC0415 - see above
    else:
        from toolstore.postgres_checks import problems  # noqa: PLC0415 - see above
    return problems(connection)

"""SQLite: a store in one folder of one machine.

What is particular to SQLite stands here, in `sqlite_checks`, in `files`, in the quick look of
`listing` and in the migrations' triggers, nowhere else.

Every commit is synced to the disk (`synchronous=FULL`): a revocation that was acknowledged is
still there after a power cut. A process killed at any point leaves a log from which SQLite
restores the last commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, event, exc
from sqlalchemy.pool import NullPool

from toolstore import files
from toolstore.errors import StoreBusyError, StoreDamagedError, StoreUnusableError
from toolstore.layout import (
    APPLICATION_ID,
    as_text,
    check_revision,
    database_revision,
    revisions_after,
)

_UNUSABLE: Final = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)


@dataclass(frozen=True, slots=True)
class SqliteDatabase:
    """The database in `folder`; see `database.Database`."""

    folder: Path
    busy_seconds: float

    @property
    def where(self) -> str:
        """Path of the file, the same from wherever it is asked for."""
        return str(self._file.absolute())

    @property
    def _file(self) -> Path:
        return self.folder / files.DATABASE_NAME

    def prepare(self) -> None:
        """Make the store where it is missing, and bring its tables to the present revision."""
        prepare(self.folder, self.busy_seconds)

    def pending(self) -> tuple[str, ...]:
        """The revisions that its tables lack; all of them where there is no store."""
        if not self.folder.is_dir():
            return revisions_after(None)
        files.check_folder(self.folder)
        database = files.check_files(self.folder)
        if not database.exists():
            return revisions_after(None)
        with self.translated_errors():
            return revisions_after(_revision_and_mode(database, self.busy_seconds)[0])

    def migrate(self) -> None:
        """Bring the tables to the present revision, as opening the store does."""
        self.prepare()

    def connect(self, *, writes: bool) -> Connection:
        """A connection whose transactions take the write lock at once (`writes`) or never."""
        return connect(self._file, self.busy_seconds, writes=writes)

    def after_bulk(self, connection: Connection) -> None:
        """Nothing: SQLite counts on from the highest key by itself."""

    def head_reader(self) -> SqliteHeadReader:
        """A reader of the end of the log."""
        return SqliteHeadReader(self._file, self.busy_seconds)

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Turn SQLite's errors into the store's."""
        with translated_errors(self._file, self.busy_seconds):
            yield


class SqliteHeadReader:
    """One prepared statement on a kept connection: microseconds."""

    def __init__(self, database: Path, busy_seconds: float) -> None:
        self._database = database
        self._busy_seconds = busy_seconds
        self._connection: sqlite3.Connection | None = None
        self._opened: files.OpenFile | None = None

    def last(self) -> int:
        """Sequence of the last event; 0 for none."""
        if self._connection is None or self._opened is None:
            self._opened = files.OpenFile(self._database)
            self._connection = raw_connection(self._database, self._busy_seconds, writes=False)
        self._opened.check()
        found = self._connection.execute("SELECT max(sequence) FROM event").fetchone()[0]
        return int(found or 0)

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def prepare(folder: Path, busy_seconds: float) -> Path:
    """Make the store where it is missing, and bring its tables to the present revision.

    Returns:
        The path of the database.

    Raises:
        StoreUnusableError: the folder or file cannot be used, or a later program made it.
        StoreDamagedError: the file is a link, no database, or another program's.
        StoreBusyError: another process kept the lock.
    """
    database = files.make_store_folder(folder)
    with translated_errors(database, busy_seconds):
        if _is_current(database, busy_seconds):
            return database
        with files.exclusive(folder, busy_seconds):
            if not _is_current(database, busy_seconds):
                _migrate(database, busy_seconds)
    return database


def connect(database: Path, busy_seconds: float, *, writes: bool) -> Connection:
    """A connection whose transactions take the write lock at once (`writes`) or never."""
    opened = files.OpenFile(database)
    engine = create_engine(
        "sqlite://",
        creator=lambda: raw_connection(database, busy_seconds, writes=writes),
        poolclass=NullPool,
    )
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        opened.check()
        connection.exec_driver_sql(begin)

    return engine.connect()


def raw_connection(database: Path, busy_seconds: float, *, writes: bool) -> sqlite3.Connection:
    """A connection of the driver, set up; it may move between threads, one at a time."""
    connection = sqlite3.connect(
        f"file:{quote(str(database))}?mode=rw",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.text_factory = as_text
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        # Without this, INSERT OR REPLACE deletes rows past the triggers that forbid it.
        connection.execute("PRAGMA recursive_triggers=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
        if not writes:
            connection.execute("PRAGMA query_only=ON")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def translated_errors(database: Path, busy_seconds: float) -> Iterator[None]:
    """Turn the database's errors into the store's."""
    try:
        yield
    except exc.DBAPIError as error:
        if not isinstance(error.orig, sqlite3.Error):
            raise
        raise _in_our_words(error.orig, database, busy_seconds) from error
    except sqlite3.Error as error:
        raise _in_our_words(error, database, busy_seconds) from error
    except UnicodeDecodeError as error:
        # The driver's own words about a spoilt definition repeat its bytes.
        raise StoreDamagedError(f"{database} does not answer as a store must ({error})") from error


def _in_our_words(error: sqlite3.Error, database: Path, busy_seconds: float) -> Exception:
    # Errors that the driver itself raises have no code; the low byte is the primary one.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreBusyError(busy_seconds)
    if code in _UNUSABLE:
        return StoreUnusableError(
            str(database), str(error), advice="Nothing was written; mend the disk and retry."
        )
    return StoreDamagedError(f"{database} does not answer as a store must ({error})")


def _is_current(database: Path, busy_seconds: float) -> bool:
    revision, mode = _revision_and_mode(database, busy_seconds)
    return not revisions_after(revision) and mode == "wal"


def _revision_and_mode(database: Path, busy_seconds: float) -> tuple[str | None, str]:
    with closing(raw_connection(database, busy_seconds, writes=False)) as connection:
        revision = database_revision(connection, database)
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    check_revision(revision, str(database))
    return revision, str(mode)


def _migrate(database: Path, busy_seconds: float) -> None:
    # alembic takes longer to import than all the rest; a store at head never needs it.
    from toolstore.migrations import upgrade  # noqa: PLC0415 - see above

    with closing(raw_connection(database, busy_seconds, writes=True)) as raw:
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute(f"PRAGMA application_id={APPLICATION_ID}")
    with connect(database, busy_seconds, writes=True) as connection, connection.begin():
        upgrade(connection)

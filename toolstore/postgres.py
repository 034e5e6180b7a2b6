"""PostgreSQL: a store that several hosts share.

What is particular to PostgreSQL stands here and in the migrations' triggers, nowhere else.

Writers take an advisory lock before they look at anything, so that each sees what all earlier
ones wrote: the chain cannot fork, and the unique hashes of the log would refuse it if it did.
Readers work on one snapshot. A commit is acknowledged when it is on the server's disk, whatever
the server's default is. A process that dies in a transaction has written nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

import psycopg
from psycopg import IsolationLevel, conninfo, errors
from sqlalchemy import Connection, create_engine, event, exc, func, select, text
from sqlalchemy.pool import NullPool

from toolstore.errors import StoreBusyError, StoreDamagedError, StoreUnusableError
from toolstore.layout import (
    APPLICATION_ID,
    REVISIONS,
    check_revision,
    revisions_after,
)
from toolstore.patience import PatientConnection
from toolstore.tables import metadata

OLDEST_SERVER: Final = 130_000
"""PostgreSQL 13: what the oldest supported Debian has."""

_LIVELY: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""A server that vanished is noticed within seconds, unless the URL says otherwise."""

_IDLE_SECONDS: Final = 60
"""How long a stopped process may keep the writers' lock before the server ends its transaction."""

_WRITERS_LOCK: Final = f"SELECT pg_advisory_xact_lock({APPLICATION_ID}, 'log_head'::regclass::int)"
_MAKERS_LOCK: Final = (
    f"SELECT pg_advisory_xact_lock({APPLICATION_ID}, current_schema()::regnamespace::int)"
)
_DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') = 'off'"
)
_PLANS: Final = """
    SELECT set_config('jit', 'off', false),
           set_config('max_parallel_workers_per_gather', '0', false),
           set_config('plan_cache_mode', 'force_custom_plan', false)
"""
"""Our queries take milliseconds: to compile them or to start workers for them takes longer. The
driver prepares what comes often, and a plan that was made without the values, for a word that few
tools have and one that all have, takes seconds for the second."""

_SEQUENCE_OF: Final = text("SELECT pg_get_serial_sequence(:table, :column)")
_SET_SEQUENCE: Final = text("SELECT setval(CAST(:sequence AS regclass), :to)")
_LAST: Final = "SELECT max(sequence) FROM event"
_OUR_TABLES: Final = """
    SELECT c.relname::text FROM pg_class AS c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
"""


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    """The store in one schema of a server's database; see `database.Database`."""

    where: str
    busy_seconds: float
    parameters: dict[str, Any] = field(repr=False)
    """What the driver connects with; holds the password where the URL did."""

    @classmethod
    def at(cls, url: str, busy_seconds: float) -> Self:
        """The database that `url` names.

        Raises:
            StoreUnusableError: the URL cannot be read.
        """
        try:
            parameters = dict(conninfo.conninfo_to_dict(url))
        except psycopg.ProgrammingError:
            # The driver's message repeats parts of the URL, and so perhaps the password.
            raise StoreUnusableError(
                "the given URL",
                "it cannot be read",
                advice="Write postgresql://USER@HOST:PORT/DATABASE; special characters as %XX.",
            ) from None
        return cls(_shown(parameters), busy_seconds, {**_LIVELY, **parameters})

    def prepare(self) -> None:
        """Make the tables where there are none; tables of an older program are left alone.

        They are shared: whoever migrates them shuts older programs out, so it is asked for by
        name (`toolkiln store migrate`).
        """
        missing = self.pending()
        if missing == REVISIONS:
            self.migrate()
        elif missing:
            raise StoreUnusableError(
                self.where,
                f"its tables lack the revisions {', '.join(missing)} of this program",
                advice="Run `toolkiln store migrate`; older toolkilns cannot use it then.",
            )

    def pending(self) -> tuple[str, ...]:
        """The revisions that the tables lack; all of them where there are no tables."""
        with self.translated_errors(), self._raw(writes=False) as connection:
            if connection.info.server_version < OLDEST_SERVER:
                raise self._unusable("the server is older than PostgreSQL 13", "Use a later one.")
            encoding = connection.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise self._unusable(
                    f"the database keeps text as {encoding}",
                    "Make one with ENCODING 'UTF8'.",
                )
            return revisions_after(self._revision(connection))

    def migrate(self) -> None:
        """Bring the tables to the present revision; the writers wait meanwhile."""
        from toolstore.migrations import upgrade  # noqa: PLC0415 - takes time to import

        with (
            self.translated_errors(),
            self._connect(writes=True, lock=_MAKERS_LOCK) as connection,
            connection.begin(),
        ):
            if "log_head" in set(connection.scalars(text(_OUR_TABLES))):
                connection.exec_driver_sql(_WRITERS_LOCK)
            upgrade(connection)

    def connect(self, *, writes: bool) -> Connection:
        """A connection whose transactions take the writers' lock at once (`writes`) or never."""
        return self._connect(writes=writes, lock=_WRITERS_LOCK if writes else None)

    def after_bulk(self, connection: Connection) -> None:
        """Set the sequences of generated keys behind the highest key."""
        for table in metadata.sorted_tables:
            for column in table.primary_key.columns:
                names = {"table": table.name, "column": column.name}
                sequence = connection.scalar(_SEQUENCE_OF, names)
                highest = connection.scalar(select(func.max(column))) if sequence else None
                if highest is not None:
                    connection.execute(_SET_SEQUENCE, {"sequence": sequence, "to": highest})

    def head_reader(self) -> PostgresHeadReader:
        """A reader of the end of the log."""
        return PostgresHeadReader(self)

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Turn PostgreSQL's errors into the store's."""
        try:
            yield
        except exc.DBAPIError as error:
            if not isinstance(error.orig, psycopg.Error):
                raise
            raise self._in_our_words(error.orig) from error.orig
        except psycopg.Error as error:
            raise self._in_our_words(error) from error

    def open_raw(self, *, writes: bool) -> psycopg.Connection[Any]:
        """A connection of the driver, set up; it may move between threads, one at a time."""
        connection = PatientConnection.connect(
            **self.parameters,
            autocommit=True,
            client_encoding="utf8",
            fallback_application_name="toolkiln",
        )
        try:
            milliseconds = max(int(self.busy_seconds * 1000), 1)
            connection.execute(f"SET lock_timeout = {milliseconds}".encode())
            connection.execute(_PLANS.encode())
            if writes:
                connection.execute(_DURABLE.encode())
                connection.execute(
                    f"SET idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'".encode()
                )
            connection.isolation_level = (
                IsolationLevel.READ_COMMITTED if writes else IsolationLevel.REPEATABLE_READ
            )
            connection.read_only = not writes
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self, *, writes: bool, lock: str | None) -> Connection:
        def create() -> psycopg.Connection[Any]:
            connection = self.open_raw(writes=writes)
            connection.autocommit = False
            return connection

        engine = create_engine(
            "postgresql+psycopg://", creator=create, poolclass=NullPool, use_native_hstore=False
        )
        if lock is not None:
            # Registered after the first connection: setting up is not a transaction of ours.
            @event.listens_for(engine, "begin")
            def _begin(connection: Connection) -> None:
                connection.exec_driver_sql(lock)

        return engine.connect()

    @contextmanager
    def _raw(self, *, writes: bool) -> Iterator[psycopg.Connection[Any]]:
        connection = self.open_raw(writes=writes)
        try:
            yield connection
        finally:
            connection.close()

    def _revision(self, connection: psycopg.Connection[Any]) -> str | None:
        """The revision of the tables; None where there are none."""
        tables = {row[0] for row in connection.execute(_OUR_TABLES)}
        if not tables:
            return None
        if not {"alembic_version", "event", "log_head"} <= tables:
            raise StoreDamagedError(
                f"{self.where} has tables, but not those of a tool store; "
                "give the store a database or a schema of its own"
            )
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        revision = None if row is None else str(row[0])
        check_revision(revision, self.where)
        return revision

    def _unusable(self, problem: str, advice: str) -> StoreUnusableError:
        return StoreUnusableError(self.where, problem, advice=advice)

    def _in_our_words(self, error: psycopg.Error) -> Exception:
        words = " ".join(self._without_password(str(error)).split()).rstrip(".?")
        words = words or type(error).__name__
        match error:
            case (
                errors.LockNotAvailable()
                | errors.SerializationFailure()
                | errors.DeadlockDetected()
            ):
                return StoreBusyError(self.busy_seconds)
            case errors.UniqueViolation() if error.diag.table_name in {"event", "log_head"}:
                # Somebody wrote past the lock; the log let one of the two in.
                return StoreBusyError(self.busy_seconds)
            case errors.InsufficientPrivilege() | errors.ReadOnlySqlTransaction():
                return self._unusable(words, "Nothing was written; ask for the rights it names.")
            case errors.InvalidPassword() | errors.InvalidAuthorizationSpecification():
                return self._unusable(words, "Check user and password, or ~/.pgpass.")
            case errors.DiskFull():
                return self._unusable(words, "Nothing was written; make room and retry.")
            case psycopg.DataError():
                return self._unusable(words, "Nothing was written; ask for something else.")
            case psycopg.OperationalError():
                return self._unusable(
                    words,
                    "Check that the server runs and answers, then retry; if a change was under "
                    "way, look first whether it is there.",
                )
            case _:
                return StoreDamagedError(f"{self.where} does not answer as a store must ({words})")

    def _without_password(self, words: str) -> str:
        password = str(self.parameters.get("password") or "")
        return words.replace(password, "…") if password else words


class PostgresHeadReader:
    """One prepared statement on a kept connection: a round trip to the server."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._connection: psycopg.Connection[Any] | None = None

    def last(self) -> int:
        """Sequence of the last event; 0 for none."""
        if self._connection is not None:
            try:
                return self._ask(self._connection)
            except psycopg.OperationalError:
                if not self._connection.broken:
                    raise
                self.close()  # the server was started anew since it was asked last
        self._connection = self._database.open_raw(writes=False)
        return self._ask(self._connection)

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @staticmethod
    def _ask(connection: psycopg.Connection[Any]) -> int:
        row = connection.execute(_LAST, prepare=True).fetchone()
        return int(row[0] or 0) if row else 0


def _shown(parameters: dict[str, Any]) -> str:
    """The place without its password."""
    user = f"{parameters['user']}@" if parameters.get("user") else ""
    port = f":{parameters['port']}" if parameters.get("port") else ""
    host = parameters.get("host") or parameters.get("hostaddr") or ""
    return f"postgresql://{user}{host}{port}/{parameters.get('dbname') or ''}"

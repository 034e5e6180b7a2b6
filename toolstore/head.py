"""The head of the log, asked at every turn: one statement on a kept connection."""

from __future__ import annotations

from threading import Lock

from toolstore.database import Database
from toolstore.errors import StoreDamagedError, StoreUnusableError


class Head:
    """Tells the sequence of the last event without a thread.

    Microseconds on SQLite; one round trip to a PostgreSQL server.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader = database.head_reader()
        self._lock = Lock()
        self._closed = False
        self._seen = 0

    def sequence(self) -> int:
        """Sequence of the last event; 0 for none.

        Raises:
            StoreDamagedError: the log is shorter than it was.
            StoreUnusableError: the store is closed, or its server does not answer.
        """
        with self._lock, self._database.translated_errors():
            if self._closed:
                raise StoreUnusableError(
                    self._database.where, "it was closed", advice="Open the store again."
                )
            found = self._reader.last()
        if found < self._seen:
            raise StoreDamagedError(f"the log ends at event {found}, and had {self._seen} before")
        self._seen = found
        return found

    def close(self) -> None:
        """Let go of the connection; safe to do twice."""
        with self._lock:
            self._closed = True
            self._reader.close()

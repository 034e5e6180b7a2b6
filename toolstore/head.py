"""The head of the log, asked at every turn: one prepared statement on a kept connection."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from threading import Lock

from toolstore.errors import StoreDamagedError, StoreUnusableError
from toolstore.index import raw_connection, translated_errors


class Head:
    """Tells the sequence of the last event in microseconds, without a thread."""

    def __init__(self, database: Path, busy_seconds: float) -> None:
        self._database = database
        self._busy_seconds = busy_seconds
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._seen = 0

    def sequence(self) -> int:
        """Sequence of the last event; 0 for none.

        Raises:
            StoreDamagedError: the log is shorter than it was.
            StoreUnusableError: the store is closed.
        """
        with self._lock, translated_errors(self._database, self._busy_seconds):
            connection = self._connected()
            found = connection.execute("SELECT max(sequence) FROM event").fetchone()[0] or 0
        if found < self._seen:
            raise StoreDamagedError(f"the log ends at event {found}, and had {self._seen} before")
        self._seen = found
        return int(found)

    def close(self) -> None:
        """Let go of the connection; safe to do twice."""
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _connected(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnusableError(
                str(self._database), "it was closed", advice="Open the store again."
            )
        if self._connection is None:
            self._connection = raw_connection(self._database, self._busy_seconds, writes=False)
        return self._connection

"""One thread with one connection: where the store's blocking work runs, in the order it came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from toolstore.errors import StoreUnusableError
from toolstore.index import connect, translated_errors

T = TypeVar("T")


class Lane:
    """Runs each piece of work in a transaction of its own.

    A caller that is cancelled stops waiting; work that already runs goes on to its end, and is
    then there wholly or, if it failed, not at all.
    """

    def __init__(self, database: Path, busy_seconds: float, *, writes: bool) -> None:
        self._database = database
        self._busy_seconds = busy_seconds
        self._writes = writes
        self._connection: Connection | None = None
        self._closed = False
        name = f"toolstore-{'write' if writes else 'read'}"
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction; an exception rolls it back.

        Raises:
            StoreBusyError: the write lock could not be had in time.
            StoreUnusableError: the store is closed, or its file cannot be used.
            StoreDamagedError: the database is broken.
        """
        if self._closed:
            raise StoreUnusableError(
                str(self._database), "it was closed", advice="Open the store again."
            )
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._transaction, work)

    async def close(self) -> None:
        """Finish what was begun, then let go of the connection and the thread."""
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        with translated_errors(self._database, self._busy_seconds):
            if self._connection is None:
                self._connection = connect(self._database, self._busy_seconds, writes=self._writes)
            with self._connection.begin():
                return work(self._connection)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

"""One thread with one connection: where the store's blocking work runs, in the order it came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, exc

from toolstore import texts
from toolstore.database import Database
from toolstore.errors import StoreUnusableError

T = TypeVar("T")


class Lane:
    """Runs each piece of work in a transaction of its own.

    A caller that is cancelled stops waiting; work that already runs goes on to its end, and is
    then there wholly or, if it failed, not at all.
    """

    def __init__(self, database: Database, *, writes: bool) -> None:
        self._database = database
        self._writes = writes
        self._connection: Connection | None = None
        self._begun = False
        self._closed = False
        name = f"toolstore-{'write' if writes else 'read'}"
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction; an exception rolls it back.

        Raises:
            StoreBusyError: the write lock could not be had in time.
            StoreUnusableError: the store is closed, or its file cannot be used.
            StoreDamagedError: the database is broken.
            TextError: something holds a text that no store keeps.
        """
        if self._closed:
            raise StoreUnusableError(
                self._database.where, "it was closed", advice="Open the store again."
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
        with self._database.translated_errors(), texts.translated_errors():
            kept = self._connection is not None
            try:
                return self._attempt(work)
            except exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                self._disconnect()
                # A server that was started anew meanwhile: what wrote nothing is tried again.
                if not kept or (self._writes and self._begun):
                    raise
            return self._attempt(work)

    def _attempt(self, work: Callable[[Connection], T]) -> T:
        self._begun = False
        if self._connection is None:
            self._connection = self._database.connect(writes=self._writes)
        with self._connection.begin():
            self._begun = True
            return work(self._connection)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

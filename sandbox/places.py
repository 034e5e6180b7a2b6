"""How many calls may run at once, and how many may wait for that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from sandbox.errors import SandboxBusyError

__all__ = ["Places"]


class Places:
    """A bounded number of places with a bounded queue before them."""

    def __init__(self, count: int, *, waiting: int, wait_seconds: float) -> None:
        self._count = count
        self._free = asyncio.Semaphore(count)
        self._most_waiting = waiting
        self._wait_seconds = wait_seconds
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def one(self, *, nested: bool = False) -> AsyncIterator[None]:
        """A place for the length of the block.

        A call that is made inside another takes none: its parent holds one and waits for it.

        Raises:
            SandboxBusyError: Too many wait already, or it waited for too long.
        """
        if nested:
            yield
            return
        if self._free.locked():
            await self._queue()
        else:
            await self._free.acquire()
        try:
            yield
        finally:
            self._free.release()

    async def _queue(self) -> None:
        if self._waiting >= self._most_waiting:
            raise SandboxBusyError(
                f"{self._count} calls run and {self._waiting} wait, which is as many as may"
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise SandboxBusyError(
                f"no place became free in {self._wait_seconds:g} s; {self._count} calls run and "
                f"{self._waiting - 1} others wait"
            ) from None
        finally:
            self._waiting -= 1

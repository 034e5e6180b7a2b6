"""Ends calls that run when their version is taken back, wherever that was done.

While calls run, the end of the store's log is looked at a few times a second; nothing is done
while none runs. A revocation on any host thus reaches a call in flight well within two seconds.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from toolstore.errors import StoreDamagedError, ToolNotFoundError, ToolStoreError
from toolstore.models import Lifecycle
from toolstore.store import ToolStore

T = TypeVar("T")

LOOK_SECONDS: Final = 0.25
"""Between two looks at the log."""

BLIND_LOOKS: Final = 6
"""After so many looks that failed, calls are ended: nobody could say that they may go on."""

MAY_GO_ON: Final = frozenset({Lifecycle.APPROVED, Lifecycle.DEPRECATED})
"""Deprecated in mid-call is no fault: what began with it may end with it."""


class CallStoppedError(Exception):
    """The version of a running call was taken back; its sandbox is gone."""

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(f"it became {state} while it ran: {reason}")
        self.state = state
        self.reason = reason


class CallWatch:
    """Watches the log of one store for as long as calls run."""

    def __init__(self, store: ToolStore) -> None:
        self._store = store
        self._running: defaultdict[str, set[asyncio.Task[Any]]] = defaultdict(set)
        self._stopped: dict[asyncio.Task[Any], CallStoppedError] = {}
        self._watcher: asyncio.Task[None] | None = None

    async def run(self, digest: str, work: Coroutine[Any, Any, T], *, seen: int) -> T:
        """Run `work`, a call of the version `digest`, until it ends or the version is taken back.

        Args:
            digest: Of the version.
            work: The call.
            seen: Sequence of the last event that was known when the call was let through.

        Raises:
            CallStoppedError: The version was taken back; `work` was cancelled and has ended.
        """
        task = asyncio.create_task(work)
        self._running[digest].add(task)
        self._watch(seen)
        try:
            return await task
        except asyncio.CancelledError:
            stopped = self._stopped.get(task)
            asking = asyncio.current_task()
            if stopped is None or (asking is not None and asking.cancelling() > 0):
                raise
            raise stopped from None
        finally:
            self._stopped.pop(task, None)
            self._running[digest].discard(task)
            if not self._running[digest]:
                del self._running[digest]

    async def close(self) -> None:
        """Stop watching."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None

    def _watch(self, seen: int) -> None:
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._look(seen), name="watch for revocations")

    async def _look(self, seen: int) -> None:
        blind = 0
        while self._running:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                head = await asyncio.to_thread(self._store.head)
                if head != seen:
                    for digest in tuple(self._running):
                        await self._check(digest)
                seen, blind = head, 0
            except ToolStoreError as error:
                blind += 1
                if blind >= BLIND_LOOKS:
                    for digest in tuple(self._running):
                        self._stop(digest, CallStoppedError("unknown", str(error)))

    async def _check(self, digest: str) -> None:
        """End the calls of a version that may not go on."""
        try:
            version = await self._store.version(digest)
        except (StoreDamagedError, ToolNotFoundError) as error:
            self._stop(digest, CallStoppedError("damaged", str(error)))
            return
        if version.state not in MAY_GO_ON:
            self._stop(digest, CallStoppedError(version.state.value, version.state_reason))

    def _stop(self, digest: str, why: CallStoppedError) -> None:
        for task in self._running.get(digest, ()):
            if task not in self._stopped and not task.done():
                self._stopped[task] = why
                task.cancel()

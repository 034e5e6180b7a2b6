"""Warm containers of approved versions: each serves one version, one tenant and one policy.

One call at a time in each of them, so that no two calls ever share a kernel's view of anything.
There are as many as processors for one version, and more only where calls wait for something
else than a processor. One that has served for long, or that saw anything odd, is replaced.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Final

from sandbox.base import ApprovedVersion, CallOptions, Program
from sandbox.errors import SandboxPostureError
from sandbox.forkserver import ForkServer, launch_fork_server, next_users
from sandbox.launcher import Launcher
from sandbox.runtimes import RuntimeKind
from sandbox.serverwalls import ServerWalls

__all__ = ["ProcessSettings", "ProcessTier", "TierRefusedError"]

_TEND_SECONDS: Final = 5.0
_BLOCKED_SECONDS: Final = 0.05
"""Where no call has ended for so long while others wait, those in flight wait for something."""

_SOON_SECONDS: Final = 0.005
"""A call that comes so soon after the last finds its server still starting a process."""

_CLOSED: Final = "this sandbox has been closed"
_RETRY_SECONDS: Final = 30.0
"""After a server that did not start, although the engine may work."""


class TierRefusedError(Exception):
    """This call cannot be served by a warm container; nothing ran."""


@dataclass(frozen=True)
class ProcessSettings:
    """Bounds of the process tier of one sandbox."""

    at_once: int = max(2, os.cpu_count() or 1)
    """Containers for one version while calls compute."""

    most: int = 8
    """Containers for one version while calls wait for something else."""

    total: int = 24
    """Containers of all versions."""

    calls: int = 10_000
    """One that has served so many is replaced,"""

    seconds: float = 900.0
    """and one that is so old,"""

    idle_seconds: float = 60.0
    """and one that nobody has called for so long goes."""


@dataclass(frozen=True)
class _Key:
    """Two calls share a container only if all of it is equal."""

    approved: ApprovedVersion
    program: Program


@dataclass(eq=False)
class _Shelf:
    """The servers of one version."""

    key: _Key
    idle: deque[ForkServer] = field(default_factory=deque)
    waiters: deque[asyncio.Future[ForkServer]] = field(default_factory=deque)
    count: int = 0
    """In whatever state."""

    starting: int = 0
    moved: float = 0.0
    """When a server last became free."""

    timer: asyncio.TimerHandle | None = None


class ProcessTier:
    """Belongs to one event loop and one launcher."""

    def __init__(
        self, launcher: Launcher, image_digest: str, settings: ProcessSettings = ProcessSettings()
    ) -> None:
        self._launcher = launcher
        self._image_digest = image_digest
        self._settings = settings
        self._shelves: dict[_Key, _Shelf] = {}
        self._busy: dict[ForkServer, _Shelf] = {}
        self._freed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._refused_until = 0.0
        self._closed = False
        self.refusal = ""
        """Why no server could be started, when the last one could not."""

    def serves(self, program: Program, options: CallOptions) -> bool:
        """Whether a call of `program` with these options may be tried here.

        Services keep threads and connections for a call, which a server takes for a trace;
        connections leave theirs in the kernel's tables of the container.
        """
        return (
            options.approved is not None
            and not options.services
            and not program.sockets
            and not self._closed
            and self._launcher.has_pipes
            and self._launcher.runtime.kind in (RuntimeKind.RUNC, RuntimeKind.CRUN)
        )

    async def claim(self, approved: ApprovedVersion, program: Program) -> tuple[ForkServer, bool]:
        """A server for one call, and whether it was warm; `release` it afterwards.

        Raises:
            TierRefusedError: There is none, and none can be made.
        """
        if self._closed:
            raise TierRefusedError(_CLOSED)
        key = _Key(approved, program)
        shelf = self._shelves.get(key)
        if shelf is None:
            shelf = self._shelves[key] = _Shelf(key)
        now = asyncio.get_running_loop().time()
        while shelf.idle:
            # The one that is idle for longest has its next process ready.
            server = shelf.idle.popleft()
            if server.alive:
                self._busy[server] = shelf
                if now - server.idle_since < _SOON_SECONDS:
                    self._grow_to(shelf, self._settings.at_once)
                return server, True
            self._retire(shelf, server)
        warm = shelf.count > shelf.starting
        self._grow_to(shelf, self._settings.at_once)
        return await self._wait(shelf), warm

    async def _wait(self, shelf: _Shelf) -> ForkServer:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[ForkServer] = loop.create_future()
        shelf.waiters.append(waiter)
        if shelf.timer is None:
            shelf.timer = loop.call_later(_BLOCKED_SECONDS, self._look_for_blocked, shelf)
        try:
            server = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._put(self._free(waiter.result()), waiter.result())
            raise
        finally:
            if waiter in shelf.waiters:
                shelf.waiters.remove(waiter)
        if self._closed:  # in the moment between
            self.release(server, clean=False)
            raise TierRefusedError(_CLOSED)
        return server

    def release(self, server: ForkServer, *, clean: bool) -> None:
        """This call is over; what is not `clean` never sees another."""
        shelf = self._free(server)
        now = asyncio.get_running_loop().time()
        settings = self._settings
        spent = server.calls + 1 >= settings.calls or now - server.born >= settings.seconds
        if not clean or spent or self._closed:
            self._retire(shelf, server)
        else:
            server.renew()
            self._put(shelf, server)

    def _free(self, server: ForkServer) -> _Shelf:
        """Nobody uses it any more; where it belongs."""
        self._freed.set()
        return self._busy.pop(server)

    def _put(self, shelf: _Shelf, server: ForkServer) -> None:
        """Hand it to the first who waits, or keep it."""
        if self._closed:
            self._retire(shelf, server)
            return
        shelf.moved = asyncio.get_running_loop().time()
        while shelf.waiters:
            waiter = shelf.waiters.popleft()
            if not waiter.done():
                self._busy[server] = shelf  # at once: whoever waits learns of it a moment later
                waiter.set_result(server)
                return
        shelf.idle.append(server)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TEND_SECONDS, self._tend)

    def _tend(self) -> None:
        """Retire what nobody has called for long."""
        self._timer = None
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._settings.idle_seconds
        for shelf in tuple(self._shelves.values()):
            for server in [idle for idle in shelf.idle if idle.idle_since < oldest]:
                shelf.idle.remove(server)
                self._retire(shelf, server)
            if not shelf.count and not shelf.waiters:
                del self._shelves[shelf.key]
        if not self._closed and any(shelf.idle for shelf in self._shelves.values()):
            self._timer = loop.call_later(_TEND_SECONDS, self._tend)

    def _retire(self, shelf: _Shelf, server: ForkServer) -> None:
        shelf.count -= 1
        server.kill_now()
        self._spawn(self._launcher.discard(server.container))
        if shelf.waiters and not self._closed:
            self._grow(shelf)

    # --- growing

    def _look_for_blocked(self, shelf: _Shelf) -> None:
        """One more server while calls wait behind others that seem to use no processor."""
        shelf.timer = None
        if self._closed or not shelf.waiters:
            return
        loop = asyncio.get_running_loop()
        if loop.time() - shelf.moved >= _BLOCKED_SECONDS:
            self._grow_to(shelf, self._settings.most)
        shelf.timer = loop.call_later(_BLOCKED_SECONDS, self._look_for_blocked, shelf)

    def _grow_to(self, shelf: _Shelf, most: int) -> None:
        """Start one more, one at a time but for as many as there are processors."""
        at_once = self._settings.at_once
        if shelf.count < most and (shelf.count < at_once or not shelf.starting):
            self._grow(shelf)

    def _grow(self, shelf: _Shelf) -> None:
        if asyncio.get_running_loop().time() < self._refused_until:
            if not shelf.count:  # else those that there are serve all
                self._fail(shelf, self.refusal)
            return
        if self._total >= self._settings.total and not self._make_room(shelf):
            if not shelf.count:
                self._fail(shelf, "as many warm containers as may be are in use")
            return
        shelf.count += 1
        shelf.starting += 1
        self._spawn(self._start(shelf))

    @property
    def _total(self) -> int:
        return sum(shelf.count for shelf in self._shelves.values())

    def _make_room(self, wanted: _Shelf) -> bool:
        """Give up the longest idle server of another version; whether there was one."""
        idle = [
            (server.idle_since, shelf, server)
            for shelf in self._shelves.values()
            if shelf is not wanted
            for server in shelf.idle
        ]
        if not idle:
            return False
        _, shelf, server = min(idle, key=lambda entry: entry[0])
        shelf.idle.remove(server)
        self._retire(shelf, server)
        return True

    async def _start(self, shelf: _Shelf) -> None:
        program = shelf.key.program
        walls = ServerWalls(
            image=program.image or self._image_digest,
            level=program.level,
            limits=program.limits,
            sockets=program.sockets,
            calls=self._settings.calls,
            first_user=next_users(),
        )
        try:
            server = await launch_fork_server(self._launcher, walls, program)
        except Exception as error:  # noqa: BLE001  whoever waits must not wait for ever
            shelf.count -= 1
            self._refuse(error)
            if not shelf.count:
                self._fail(shelf, str(error))
        else:
            self._put(shelf, server)
        finally:
            shelf.starting -= 1

    def _refuse(self, error: Exception) -> None:
        """Try no more for a while; walls that cannot be had will not be had later either."""
        self.refusal = str(error)
        lasting = isinstance(error, SandboxPostureError)
        now = asyncio.get_running_loop().time()
        self._refused_until = float("inf") if lasting else now + _RETRY_SECONDS

    def _fail(self, shelf: _Shelf, reason: str) -> None:
        """Tell whoever waits; at once or as soon as it does."""

        def tell() -> None:
            while shelf.waiters:
                waiter = shelf.waiters.popleft()
                if not waiter.done():
                    waiter.set_exception(TierRefusedError(reason))

        asyncio.get_running_loop().call_soon(tell)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- ending

    async def settle(self) -> None:
        """End what is not in use, and wait until it is gone."""
        self._retire_idle()
        while self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            self._retire_idle()  # those as well that were only being started

    def _retire_idle(self) -> None:
        for shelf in self._shelves.values():
            while shelf.idle:
                self._retire(shelf, shelf.idle.popleft())

    def shut(self) -> tuple[ForkServer, ...]:
        """Take no more calls, tell whoever waits, and say which servers are in use."""
        self._closed = True
        for shelf in self._shelves.values():
            self._fail(shelf, _CLOSED)
        return tuple(self._busy)

    async def close(self) -> None:
        """End everything; calls in flight end with their containers."""
        for server in self.shut():
            server.kill_now()
        if self._timer is not None:
            self._timer.cancel()
        await self.settle()
        while self._busy:
            self._freed.clear()
            await self._freed.wait()
            await self.settle()

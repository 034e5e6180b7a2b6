"""Guests that are started ahead of need, each used once.

A shelf holds the ready guests of one kind: same image, same walls, same limits. A call takes one
from its shelf, or waits for the next that becomes ready. How many stand ready follows how often
calls arrive and how long a start takes. Starting and discarding are the engine's work and cost
far more than a call, so they stay out of the way of calls in flight where they can.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

__all__ = ["Pool", "PoolClosedError", "PoolSettings"]

_MEMORY_SECONDS: Final = 10.0
"""Over which arrivals are averaged."""

_HINT_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 1.0
"""After a start that failed although nobody waited for it."""

_QUIET_SECONDS: Final = 0.02
"""After the last call; the next one often follows at once."""

_TEND_SECONDS: Final = 5.0
_FIRST_GUESS_SECONDS: Final = 0.3


class PoolClosedError(Exception):
    """The pool has been closed."""


class Guest(Protocol):
    """What a pool has to know of what it holds."""

    @property
    def alive(self) -> bool:
        """Whether it can still be used."""
        ...


_G = TypeVar("_G", bound=Guest)
_K = TypeVar("_K", bound=Hashable)


@dataclass(frozen=True)
class PoolSettings:
    """Bounds of a pool."""

    idle: int = 16
    """At most so many stand ready, over all shelves."""

    idle_seconds: float = 30.0
    """One that is not wanted any more goes after this time."""

    capacity: int = 96
    """At most so many exist, in whatever state."""

    starts: int = max(4, 2 * (os.cpu_count() or 1))
    """At most so many are started at once, and as many discarded."""


@dataclass
class _Shelf(Generic[_G]):
    """The guests of one kind."""

    ready: deque[tuple[float, _G]] = field(default_factory=deque)
    """With the time since when."""

    waiters: deque[tuple[float, asyncio.Future[_G]]] = field(default_factory=deque)
    """With the time since when."""

    starting: int = 0
    hint: int = 0
    hint_until: float = 0.0
    arrivals: int = 0
    rate: float = 0.0
    last_arrival: float = 0.0
    start_seconds: float = _FIRST_GUESS_SECONDS
    retry_at: float = 0.0

    def leave(self, waiter: asyncio.Future[_G]) -> None:
        """He waits no longer."""
        self.waiters = deque(entry for entry in self.waiters if entry[1] is not waiter)

    def arrived(self, now: float) -> None:
        """A call has come."""
        self.rate = self.rate_at(now) + 1 / _MEMORY_SECONDS
        self.last_arrival = now
        self.arrivals += 1

    def rate_at(self, now: float) -> float:
        """Calls a second, of late."""
        return self.rate * math.exp((self.last_arrival - now) / _MEMORY_SECONDS)

    def target(self, now: float, ceiling: int) -> int:
        """How many should stand ready: what arrives while one is started, or what was announced.

        One call alone announces no other.
        """
        follow = 0
        if self.arrivals > 1:
            follow = round(self.rate_at(now) * max(self.start_seconds, 1.0) + 0.4)
        hinted = self.hint if now < self.hint_until else 0
        return min(max(follow, hinted), ceiling)


class Pool(Generic[_K, _G]):
    """Ready guests by kind; belongs to one event loop."""

    def __init__(
        self,
        start: Callable[[_K], Awaitable[_G]],
        discard: Callable[[_G], Awaitable[None]],
        settings: PoolSettings,
    ) -> None:
        self._start = start
        self._discard = discard
        self._settings = settings
        self._shelves: dict[_K, _Shelf[_G]] = {}
        self._spent: deque[_G] = deque()
        self._busy: set[_G] = set()
        self._released = asyncio.Event()
        self._starting = 0
        self._discarding = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._last_use = 0.0
        self._closed = False

    async def claim(self, kind: _K, *, beyond_capacity: bool = False) -> tuple[_G, bool]:
        """A guest for one use, and whether it stood ready; `release` it afterwards.

        Raises:
            PoolClosedError: The pool has been closed.
            Exception: What `start` raises.
        """
        if self._closed:
            raise PoolClosedError
        loop = asyncio.get_running_loop()
        self._last_use = loop.time()
        shelf = self._shelves.setdefault(kind, _Shelf())
        shelf.arrived(self._last_use)
        while shelf.ready:
            _, guest = shelf.ready.popleft()
            if guest.alive:
                self._busy.add(guest)
                self._tend_soon()
                return guest, True
            self._spent.append(guest)
        waiter: asyncio.Future[_G] = loop.create_future()
        shelf.waiters.append((self._last_use, waiter))
        self._tend(extra=1 if beyond_capacity else 0)
        try:
            guest = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._take_back(shelf, waiter.result())
            raise
        finally:
            shelf.leave(waiter)
        if self._closed:  # in the moment between
            self.release(guest)
            raise PoolClosedError
        return guest, False

    def _take_back(self, shelf: _Shelf[_G], guest: _G) -> None:
        """It was handed to one who has gone meanwhile."""
        self._busy.discard(guest)
        self._released.set()
        self._put(shelf, guest)

    def release(self, guest: _G) -> None:
        """This guest has been used; it is discarded in the background."""
        self._busy.discard(guest)
        self._released.set()
        self._spent.append(guest)
        self._last_use = asyncio.get_running_loop().time()
        self._tend_soon()

    def prepare(self, kind: _K, count: int) -> None:
        """Have `count` stand ready for a while."""
        if self._closed:
            return
        shelf = self._shelves.setdefault(kind, _Shelf())
        now = asyncio.get_running_loop().time()
        shelf.hint = count if now >= shelf.hint_until else max(count, shelf.hint)
        shelf.hint_until = now + _HINT_SECONDS
        self._tend()

    def ready(self, kind: _K) -> int:
        """How many of that kind stand ready."""
        shelf = self._shelves.get(kind)
        return len(shelf.ready) if shelf else 0

    @property
    def total(self) -> int:
        """How many there are, in whatever state."""
        ready = sum(len(shelf.ready) for shelf in self._shelves.values())
        return ready + len(self._busy) + self._starting + self._discarding + len(self._spent)

    async def settle(self) -> None:
        """Wait until everything that has been used is gone."""
        while self._spent or self._discarding:
            self._tend(at_once=True)
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    def shut(self) -> tuple[_G, ...]:
        """Take no more calls, tell whoever waits, and say which guests are in use."""
        self._closed = True
        for shelf in self._shelves.values():
            for _, waiter in shelf.waiters:
                if not waiter.done():
                    waiter.set_exception(PoolClosedError())
            self._spent.extend(guest for _, guest in shelf.ready)
            shelf.ready.clear()
        return tuple(self._busy)

    async def close(self) -> None:
        """Discard everything, what is in use when its user has released it."""
        self.shut()
        while self._spent or self._tasks or self._busy:
            self._tend(at_once=True)
            if self._tasks:
                await asyncio.wait(self._tasks)
            else:
                self._released.clear()
                await self._released.wait()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- housekeeping

    def _tend_soon(self) -> None:
        """Look after the shelves when the calls in flight have had their way."""
        if self._is_urgent():
            self._tend()
        else:
            self._tend_in(_QUIET_SECONDS)

    def _tend_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = loop.call_at(when, self._tend_now)

    def _tend_now(self) -> None:
        self._timer = None
        self._tend()

    def _is_urgent(self) -> bool:
        """Whether waiting for a quiet moment would make callers wait longer."""
        if len(self._spent) > self._settings.idle:
            return True
        now = asyncio.get_running_loop().time()
        return any(
            shelf.waiters or 4 * len(shelf.ready) < shelf.target(now, self._settings.idle)
            for shelf in self._shelves.values()
        )

    def _is_quiet(self) -> bool:
        return asyncio.get_running_loop().time() - self._last_use >= _QUIET_SECONDS / 2

    def _tend(self, *, at_once: bool = False, extra: int = 0) -> None:
        """Start what is wanted, discard what is spent, both within their bounds."""
        if not (at_once or extra or self._closed or self._is_quiet() or self._is_urgent()):
            self._tend_in(_QUIET_SECONDS)
            return
        if not self._closed:
            self._retire()
            self._start_wanted(extra)
        while self._spent and self._discarding < self._settings.starts:
            self._discarding += 1
            self._spawn(self._discard_one(self._spent.popleft()))
        if not self._closed and any(shelf.ready for shelf in self._shelves.values()):
            self._tend_in(_TEND_SECONDS)

    def _start_wanted(self, extra: int) -> None:
        settings = self._settings
        now = asyncio.get_running_loop().time()
        waited_for = [
            (kind, shelf)
            for kind, shelf in self._shelves.items()
            for _ in range(len(shelf.waiters) - shelf.starting)
        ]
        for kind, shelf in waited_for:
            if self._starting >= settings.starts + extra:
                return
            if self.total >= settings.capacity + extra:
                if len(self._spent) + self._discarding < len(waited_for):
                    self._make_room(shelf)
                return
            self._spawn_start(kind, shelf)
        for kind, shelf in self._shelves.items():
            target = shelf.target(now, settings.idle)
            while (
                len(shelf.ready) + shelf.starting - len(shelf.waiters) < target
                and now >= shelf.retry_at
                and self._starting < settings.starts
                and self._idle < settings.idle
                and self.total < settings.capacity
            ):
                self._spawn_start(kind, shelf)

    @property
    def _idle(self) -> int:
        return self._starting + sum(len(shelf.ready) for shelf in self._shelves.values())

    def _make_room(self, wanted: _Shelf[_G]) -> None:
        """Give up a ready guest of another kind for one that somebody waits for."""
        for shelf in self._shelves.values():
            if shelf is not wanted and shelf.ready:
                self._spent.append(shelf.ready.popleft()[1])
                return

    def _retire(self) -> None:
        """Give up what is dead, or has stood for long and is not wanted any more."""
        now = asyncio.get_running_loop().time()
        for shelf in self._shelves.values():
            dead = [entry for entry in shelf.ready if not entry[1].alive]
            for entry in dead:
                shelf.ready.remove(entry)
                self._spent.append(entry[1])
            target = shelf.target(now, self._settings.idle)
            oldest = now - self._settings.idle_seconds
            while len(shelf.ready) > target and shelf.ready[0][0] < oldest:
                self._spent.append(shelf.ready.popleft()[1])

    def _spawn_start(self, kind: _K, shelf: _Shelf[_G]) -> None:
        shelf.starting += 1
        self._starting += 1
        self._spawn(self._start_one(kind, shelf))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start_one(self, kind: _K, shelf: _Shelf[_G]) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            guest = await self._start(kind)
        except Exception as error:  # noqa: BLE001  it belongs to whoever waits
            shelf.retry_at = loop.time() + _RETRY_SECONDS
            self._fail(shelf, error, begin)
        else:
            shelf.start_seconds += (loop.time() - begin - shelf.start_seconds) / 4
            self._put(shelf, guest)
        finally:
            shelf.starting -= 1
            self._starting -= 1
        self._tend_soon()

    def _fail(self, shelf: _Shelf[_G], error: Exception, begin: float) -> None:
        """Tell it to the first who waits, unless he came later: what failed may be mended since."""
        while shelf.waiters and shelf.waiters[0][0] <= begin:
            _, waiter = shelf.waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)
                return

    def _put(self, shelf: _Shelf[_G], guest: _G) -> None:
        """Hand it to the first who waits, or set it on the shelf."""
        if self._closed:
            self._spent.append(guest)
            return
        while shelf.waiters:
            _, waiter = shelf.waiters.popleft()
            if not waiter.done():
                self._busy.add(guest)  # at once: whoever waits learns of it a moment later
                waiter.set_result(guest)
                return
        shelf.ready.append((asyncio.get_running_loop().time(), guest))

    async def _discard_one(self, guest: _G) -> None:
        try:
            await self._discard(guest)
        finally:
            self._discarding -= 1
            asyncio.get_running_loop().call_soon(self._tend_soon)

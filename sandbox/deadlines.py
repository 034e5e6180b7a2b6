"""Kills guests whose time is up although the event loop is busy with something else."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

__all__ = ["Deadline", "Deadlines"]

_GRACE_SECONDS: Final = 0.05
"""For the event loop, which does the same at the limit itself when it is free."""


class Deadline:
    """A limit that holds for the length of a `with` block."""

    def __init__(self, keeper: Deadlines, when: float, kill: Callable[[], object]) -> None:
        self._keeper = keeper
        self.when = when
        self.kill = kill
        self.passed = False
        """Whether the guest was killed for it."""

    def __enter__(self) -> Self:
        self._keeper.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._keeper.remove(self)


class Deadlines:
    """A thread that sleeps until the first limit is over.

    It is not woken for a limit behind the one that it sleeps for, so that a call costs a lock
    and no switch of threads.
    """

    def __init__(self) -> None:
        self._held: set[Deadline] = set()
        self._news = threading.Condition(threading.Lock())
        self._wake = math.inf
        self._thread: threading.Thread | None = None
        self._closed = False

    def limit(self, seconds: float, kill: Callable[[], object]) -> Deadline:
        """From now on; `kill` is called from the thread, and must not block."""
        return Deadline(self, time.monotonic() + seconds + _GRACE_SECONDS, kill)

    def add(self, deadline: Deadline) -> None:
        """Hold it."""
        with self._news:
            self._held.add(deadline)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._keep, name="deadlines", daemon=True)
                self._thread.start()
            if deadline.when < self._wake:
                self._news.notify()

    def remove(self, deadline: Deadline) -> None:
        """Let it go; when this returns nobody is killed for it any more."""
        with self._news:
            self._held.discard(deadline)

    def _keep(self) -> None:
        with self._news:
            while not self._closed:
                now = time.monotonic()
                due = [held for held in self._held if held.when <= now]
                for deadline in sorted(due, key=lambda held: held.when):
                    self._held.discard(deadline)
                    deadline.passed = True
                    deadline.kill()
                self._wake = min((held.when for held in self._held), default=math.inf)
                self._news.wait(None if self._wake == math.inf else self._wake - now)

    def close(self) -> None:
        """End the thread."""
        with self._news:
            self._closed = True
            self._news.notify()
        if self._thread is not None:
            self._thread.join()

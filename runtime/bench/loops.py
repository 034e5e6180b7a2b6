"""Doing one thing again and again: one by one, all at once, or for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from runtime.bench.meters import CpuReading, read_cpu

__all__ = ["Sample", "Work", "all_at_once", "for_a_while", "in_turn", "shared_out"]

Work: TypeAlias = Callable[[], Awaitable[float]]
"""Does the thing once and tells the seconds that count."""

Settle: TypeAlias = Callable[[], Awaitable[None]]
"""Waits until everything that an earlier call set going has come to rest."""


@dataclass(frozen=True)
class Sample:
    """What came of one loop."""

    seconds: tuple[float, ...]
    wall_seconds: float
    """While calls were counted."""

    cpu: CpuReading
    cpu_calls: int
    """How many calls `cpu` is of; more than were counted, where the first ones are not."""


async def _nothing() -> None:
    """There is nothing to wait for."""


async def in_turn(work: Work, count: int, settle: Settle = _nothing) -> Sample:
    """`count` times, each on a machine that has come to rest; its wake counts as its processor."""
    await settle()
    seconds = []
    before = read_cpu()
    start = time.perf_counter()
    for _ in range(count):
        seconds.append(await work())
        await settle()
    wall = time.perf_counter() - start
    return Sample(tuple(seconds), wall, read_cpu().since(before), count)


async def all_at_once(work: Work, count: int, settle: Settle = _nothing) -> Sample:
    """`count` calls that begin together."""
    await settle()
    before = read_cpu()
    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(_awaited(work)) for _ in range(count)]
    wall = time.perf_counter() - start
    await settle()
    seconds = tuple(call.result() for call in calls)
    return Sample(seconds, wall, read_cpu().since(before), count)


async def shared_out(work: Work, at_once: int, count: int) -> Sample:
    """`count` calls by `at_once` callers, each with its next call at once after the last."""
    left = iter(range(count))
    seconds: list[float] = []

    async def caller() -> None:
        for _ in left:
            seconds.append(await work())  # noqa: PERF401  the callers fill one list

    before = read_cpu()
    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(caller())
    wall = time.perf_counter() - start
    return Sample(tuple(seconds), wall, read_cpu().since(before), count)


async def for_a_while(work: Work, at_once: int, seconds: float, *, lead_in: int = 0) -> Sample:
    """`at_once` callers, each with its next call at once after the last, for `seconds`.

    The first `lead_in` calls do not count: they empty what stood ready. A call counts when it
    ends within the time; where none does, the time is as long as the first one takes.
    """
    loop = _Steady(work, lead_in, seconds)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(loop.caller())
    return loop.sample()


class _Steady:
    """What the callers of `for_a_while` share."""

    def __init__(self, work: Work, lead_in: int, seconds: float) -> None:
        self._work = work
        self._lead_in = lead_in
        self._seconds = seconds
        self._begun: float | None = None
        self._before = read_cpu()
        self._counted: list[float] = []
        self._wall = seconds
        self._ended = 0
        if lead_in <= 0:
            self._begin()

    def _begin(self) -> None:
        self._begun = time.perf_counter()
        self._before = read_cpu()

    @property
    def _elapsed(self) -> float:
        return 0.0 if self._begun is None else time.perf_counter() - self._begun

    async def caller(self) -> None:
        """One after the other until the time is over."""
        while self._elapsed < self._seconds or not self._counted:
            seconds = await self._work()
            if self._begun is None:
                self._ended += 1
                if self._ended >= self._lead_in:
                    self._begin()
            elif self._elapsed <= self._seconds or not self._counted:
                self._wall = max(self._seconds, self._elapsed)
                self._counted.append(seconds)

    def sample(self) -> Sample:
        """What was counted."""
        spent = read_cpu().since(self._before)
        return Sample(tuple(self._counted), self._wall, spent, len(self._counted))


async def _awaited(work: Work) -> float:
    return await work()

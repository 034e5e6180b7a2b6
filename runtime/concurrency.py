"""Running things side by side with one error out, not a group of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import TypeVar

T = TypeVar("T")


async def run_all(jobs: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """Run `jobs` at the same time; the results in their order.

    The first failure cancels the others and is raised by itself: what failed because it was
    cancelled along has nothing to add.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except BaseExceptionGroup as failures:
        raise _first(failures) from None
    return [task.result() for task in tasks]


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first

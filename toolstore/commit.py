"""How a change of the store is made: by one actor, at one time, in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection

from toolstore.errors import TransitionError
from toolstore.lane import Lane
from toolstore.writing import Writer

T = TypeVar("T")


class Commit:
    """Runs changes; each is on the disk before the call returns, or nothing of it is."""

    def __init__(self, writes: Lane, clock: Callable[[], datetime]) -> None:
        self._writes = writes
        self._clock = clock

    async def __call__(self, actor: str, work: Callable[[Writer], T]) -> T:
        """Run one change as `actor`.

        Raises:
            TransitionError: It was refused; what the log keeps of that is on the disk.
            StoreBusyError: Nothing was written, and a retry mends it.
        """
        at = self._clock()

        def run(connection: Connection) -> tuple[T, TransitionError | None]:
            writer = Writer(connection, at=at, actor=actor)
            return work(writer), writer.refusal

        done, refusal = await self._writes.run(run)
        if refusal is not None:
            raise refusal
        return done

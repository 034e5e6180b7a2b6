"""A connection to PostgreSQL that does not wait for ever for a server that stands still.

TCP notices a machine that is gone, and the server its locks. Neither notices a server that is
stopped, or hangs in its disk: its kernel goes on acknowledging. So whoever waits for long asks on
another connection whether anybody is there at all. A statement that merely takes long goes on.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, Final, TypeVar

import psycopg
from psycopg import conninfo, errors

T = TypeVar("T")

PATIENCE_SECONDS: Final = 3.0
"""So long a statement may take before it is asked after; then twice as long, and so on."""

ANSWER_SECONDS: Final = 4
"""So long a server may take to let somebody in."""


class PatientConnection(psycopg.Connection[Any]):
    """The driver's connection; ends itself when its server does not answer anybody."""

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Wait for what `gen` asks of the server.

        Raises:
            OperationalError: the server does not answer; the connection is closed.
        """
        return super().wait(self._watched(gen), *args, **kwargs)

    def _watched(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """`gen`, and a look at the clock whenever nothing has come for a moment."""
        patience = PATIENCE_SECONDS
        began = time.monotonic()
        ready = None
        while True:
            try:
                state = gen.send(ready)
            except StopIteration as done:
                result: T = done.value
                return result
            ready = yield state
            if not ready and time.monotonic() - began > patience:
                if not self._anybody_there():
                    self.pgconn.finish()  # not `close`: it broke, nobody ended it
                    raise psycopg.OperationalError(
                        f"the server has not answered for {time.monotonic() - began:.0f} seconds"
                    )
                patience *= 2

    def _anybody_there(self) -> bool:
        place = conninfo.make_conninfo(
            self.info.dsn, password=self.info.password, connect_timeout=ANSWER_SECONDS
        )
        try:
            psycopg.connect(place).close()
        except errors.ConnectionTimeout:
            return False
        except psycopg.Error:
            return True  # a no is an answer
        return True

"""Every request of a call as a value, however it ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from sandbox.broker.errors import RequestError, UnreachableError
from sandbox.traffic import NetworkEvent

if TYPE_CHECKING:
    from sandbox.broker.upstream import Upstream

__all__ = ["Log", "Record"]

_URL_CHARACTERS: Final = 500
_METHOD_CHARACTERS: Final = 20


class Record:
    """One request while it is being answered."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.url = ""
        self.allowed = True
        self.reason = ""
        self.status: int | None = None
        self.secrets: tuple[str, ...] = ()
        self.dropped = False
        self._upstream: Upstream | None = None

    def refuse(self, problem: RequestError, words: str) -> None:
        """Remember why the server did not answer, or not to the end."""
        self.allowed = isinstance(problem, UnreachableError)
        self.add(words)

    def add(self, reason: str) -> None:
        """Remember something else about it."""
        self.reason = "; ".join(filter(None, (self.reason, reason)))

    def watch(self, upstream: Upstream) -> None:
        """Count what goes to and comes from there."""
        self._upstream = upstream

    def drop(self) -> None:
        """It is nothing that anybody should read about."""
        self.dropped = True

    def event(self, at_seconds: float) -> NetworkEvent:
        """The request as it went."""
        upstream = self._upstream
        return NetworkEvent(
            at_seconds=round(at_seconds, 6),
            method=self.method[:_METHOD_CHARACTERS],
            url=self.url[:_URL_CHARACTERS],
            allowed=self.allowed,
            reason=self.reason,
            status=self.status,
            secrets=self.secrets,
            address=str(upstream.address) if upstream else "",
            request_bytes=upstream.sent_bytes if upstream else 0,
            response_bytes=upstream.received_bytes if upstream else 0,
        )


class Log:
    """What a call asked of the network, in the order in which it was answered."""

    def __init__(self, *, clock: Callable[[], float], limit: int) -> None:
        self._clock = clock
        self._begin = clock()
        self._limit = limit
        self.events: list[NetworkEvent] = []
        self.unrecorded = 0
        """How many there were beyond the limit."""

    @contextlib.contextmanager
    def record(self, method: str) -> Iterator[Record]:
        """Record one request, however this is left."""
        at_seconds = self._clock() - self._begin
        record = Record(method)
        try:
            yield record
        except asyncio.CancelledError:
            record.add("the call ended before the answer did")
            raise
        except ConnectionAbortedError:
            raise  # by ourselves, for a reason that is recorded
        except OSError:
            record.add("the program closed its connection before the answer was complete")
            raise
        finally:
            if not record.dropped:
                self._keep(record, at_seconds)

    def _keep(self, record: Record, at_seconds: float) -> None:
        if len(self.events) < self._limit:
            self.events.append(record.event(at_seconds))
        else:
            self.unrecorded += 1

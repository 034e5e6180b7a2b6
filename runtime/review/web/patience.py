"""What one connection may cost: time for what trickles in or is not taken, memory for requests.

Else a few hundred connections that send a byte now and then would keep everybody out, and one
that sends requests without end would be remembered without end.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS: Final = 30.0
"""From when a connection could send a request until all of it is there; idle time included."""

ANSWER_SECONDS: Final = 60.0
"""For what waits to be taken before more of an answer is written."""

MAX_BYTES_AHEAD: Final = 64 * 1024
"""Of further requests while one is answered; browsers send none, and they would all be kept."""

CONNECTIONS: Final = 200


class PatientProtocol(H11Protocol):
    """One connection, ended when its other end is too slow, or has too many of them."""

    of_one_address: ClassVar[int] = 64
    request_seconds: ClassVar[float] = REQUEST_SECONDS
    answer_seconds: ClassVar[float] = ANSWER_SECONDS
    _request: asyncio.TimerHandle | None = None
    _answer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for the first request."""
        super().connection_made(transport)
        host = self.client and self.client[0]
        same = (getattr(each, "client", None) for each in self.connections)
        if sum(client is not None and client[0] == host for client in same) > self.of_one_address:
            transport.abort()
            return
        self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        """Take in what came; when it is a whole request, wait for nothing more."""
        super().data_received(data)
        if not self._awaits_request:
            _cancel(self._request)
            if len(self.conn.trailing_data[0]) > MAX_BYTES_AHEAD:
                self.transport.abort()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        if not self.transport.is_closing() and self._awaits_request:
            self._wait_for_request()

    def pause_writing(self) -> None:
        """Much of an answer waits to be taken."""
        super().pause_writing()
        self._answer = self.loop.call_later(self.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It was taken."""
        super().resume_writing()
        _cancel(self._answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        _cancel(self._request)
        _cancel(self._answer)
        super().connection_lost(exc)

    @property
    def _awaits_request(self) -> bool:
        """Whether none is there, or not all of it."""
        cycle = self.cycle
        if cycle is None:  # before the first one, whatever its type says
            return True
        return cycle.response_complete or cycle.more_body

    def _wait_for_request(self) -> None:
        _cancel(self._request)
        self._request = self.loop.call_later(self.request_seconds, self.transport.abort)


class PatientProtocolBehindProxy(PatientProtocol):
    """The same where all connections come from what stands in front."""

    of_one_address = CONNECTIONS


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()

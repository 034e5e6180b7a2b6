"""Live updates: the browser is told when the queue is another one, by server-sent events.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from runtime.errors import RuntimeFailure
from runtime.review.desk import ReviewDesk
from runtime.review.web.pages import fingerprint
from runtime.review.web.visitors import NotSignedInError, Visitors
from toolstore.errors import ToolStoreError

POLL_SECONDS: Final = 1.0
_ALIVE_EVERY: Final = 15
"""Polls between two signs of life, for proxies that close what is silent."""

MAX_LISTENERS: Final = 64
MAX_OF_ONE: Final = 8
"""Listeners with one token; one person's open pages leave room for the others'."""

_STREAM: Final = "text/event-stream"


class Live:
    """Tells listeners of changes; `head` grows with the log."""

    def __init__(
        self,
        desk: ReviewDesk,
        visitors: Visitors,
        head: Callable[[], int],
        stopping: Callable[[], bool],
    ) -> None:
        self._desk = desk
        self._visitors = visitors
        self._head = head
        self._stopping = stopping
        self._listeners: Counter[str] = Counter()
        self._queues: dict[str, tuple[int, str]] = {}
        self._reading = asyncio.Lock()

    async def events(self, request: Request) -> Response:
        """One stream for one page."""
        reviewer = self._visitors.session(request, touch=False).reviewer
        if request.method == "HEAD":
            return Response(media_type=_STREAM)
        if self._listeners.total() >= MAX_LISTENERS:
            raise HTTPException(503, f"{MAX_LISTENERS} pages listen already; use the link instead")
        if self._listeners[reviewer.token_id] >= MAX_OF_ONE:
            raise HTTPException(
                429, f"{MAX_OF_ONE} pages listen with this token already; use the link instead"
            )
        return _Stream(
            self._told(request, reviewer.name), reviewer.token_id, listeners=self._listeners
        )

    async def _told(self, request: Request, reader: str) -> AsyncIterator[str]:
        yield "retry: 5000\n\n"
        seen, silent = -1, 0
        # A store in trouble ends the stream, and the browser asks again.
        with suppress(NotSignedInError, RuntimeFailure, ToolStoreError):
            while not (self._stopping() or await request.is_disconnected()):
                self._visitors.session(request, touch=False)
                head, silent = self._head(), silent + 1
                if head != seen:
                    seen, silent = head, 0
                    yield f"event: queue\ndata: {await self._fingerprint(reader, head)}\n\n"
                elif silent >= _ALIVE_EVERY:
                    silent = 0
                    yield ": still here\n\n"
                await asyncio.sleep(POLL_SECONDS)

    async def _fingerprint(self, reader: str, head: int) -> str:
        """Of the queue that `reader` sees; read once for all pages that they have open."""
        async with self._reading:
            kept = self._queues.get(reader)
            if kept is None or kept[0] != head:
                found = fingerprint(await self._desk.queue(reader=reader))
                kept = self._queues[reader] = (head, found)
            return kept[1]


class _Stream(StreamingResponse):
    """A stream that counts among the listeners from when it is promised until it ends."""

    def __init__(
        self, content: AsyncIterator[str], token_id: str, *, listeners: Counter[str]
    ) -> None:
        super().__init__(content, media_type=_STREAM)
        self._token_id = token_id
        self._listeners = listeners
        listeners[token_id] += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._listeners[self._token_id] -= 1
            if not self._listeners[self._token_id]:
                del self._listeners[self._token_id]

"""Live updates: the browser is told when the queue is another one, by server-sent events.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from runtime.review.web.desk import Desk
from runtime.review.web.pages import fingerprint
from runtime.review.web.visitors import NotSignedInError, Visitors

POLL_SECONDS: Final = 1.0
_ALIVE_EVERY: Final = 15
"""Polls between two signs of life, for proxies that close what is silent."""

MAX_LISTENERS: Final = 64


class Live:
    """Tells listeners of changes; `head` grows with the log."""

    def __init__(self, desk: Desk, visitors: Visitors, head: Callable[[], int]) -> None:
        self._desk = desk
        self._visitors = visitors
        self._head = head
        self._listeners = 0

    async def events(self, request: Request) -> Response:
        """One stream for one page."""
        self._visitors.session(request, touch=False)
        if self._listeners >= MAX_LISTENERS:
            raise HTTPException(503, f"{MAX_LISTENERS} pages listen already; use the link instead")
        return StreamingResponse(self._stream(request), media_type="text/event-stream")

    async def _stream(self, request: Request) -> AsyncIterator[str]:
        self._listeners += 1
        try:
            yield "retry: 5000\n\n"
            seen, silent = -1, 0
            while not await request.is_disconnected() and self._may_listen(request):
                head, silent = self._head(), silent + 1
                if head != seen:
                    seen, silent = head, 0
                    yield f"event: queue\ndata: {fingerprint(await self._desk.queue())}\n\n"
                elif silent >= _ALIVE_EVERY:
                    silent = 0
                    yield ": still here\n\n"
                await asyncio.sleep(POLL_SECONDS)
        finally:
            self._listeners -= 1

    def _may_listen(self, request: Request) -> bool:
        try:
            self._visitors.session(request, touch=False)
        except NotSignedInError:
            return False
        return True

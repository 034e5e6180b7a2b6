"""Requests as bytes, straight into an ASGI application: what no well-behaved client would send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Request:
    """One request; its headers stand as they are."""

    method: str
    target: bytes
    """Printable ASCII, as h11 lets it through."""

    headers: Headers = ()
    body: Sequence[bytes] = (b"",)


@dataclass(slots=True)
class Answer:
    """What came back; status 0 where nothing did."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""


async def send(app: ASGIApp, request: Request) -> Answer:
    """Send it as uvicorn would hand it on; the client is gone after its body."""
    path, _, query = request.target.partition(b"?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8421),
        "client": ("127.0.0.1", 5_000),
        "scheme": "http",
        "method": request.method,
        "root_path": "",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "headers": [(name.lower(), value) for name, value in request.headers],
        "state": {},
    }
    parts = list(request.body)
    answer = Answer()

    async def receive() -> Message:
        if not parts:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def respond(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = dict(message["headers"])
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, respond)
    return answer

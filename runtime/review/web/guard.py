"""What holds for every request and every answer, before and behind the pages.

- The `Host` must be one that this server answers to: a name that somebody else points at this
  machine (DNS rebinding) gets nothing.
- Only GET, HEAD and POST; a POST is a form of at most `MAX_BODY_BYTES` from one of our own pages:
  its `Origin` is ours, and `Sec-Fetch-Site` does not say otherwise. Browsers send both; neither
  can be set by a page.
- Every answer, errors included, carries the headers that forbid foreign scripts, frames and caches.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.review.web.site import Site

MAX_BODY_BYTES: Final = 32 * 1024
_LENGTH: Final = re.compile(r"[0-9]{1,9}")
_METHODS: Final = ("GET", "HEAD", "POST")
FORM: Final = "application/x-www-form-urlencoded"

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types live"
)

HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # Not `no-referrer`: with that, browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


_STRICT: Final = {"Strict-Transport-Security": f"max-age={365 * 24 * 3_600}"}


class Guard:
    """Stands around the whole application."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site
        self._headers = {**HEADERS, **(_STRICT if site.strict else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with a bound on the body and headers on the answer."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, send_guarded)
            return
        await self._app(scope, _bounded(receive), send_guarded)

    def _refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._site.hosts:
            expected = ", ".join(sorted(self._site.hosts))
            return _refuse(421, f"this server answers to {expected} alone")
        if method not in _METHODS:
            refusal = _refuse(
                405, f"this page is read with GET and decides with POST, not {method}"
            )
            refusal.headers["Allow"] = ", ".join(_METHODS)
            return refusal
        return self._refusal_of_form(headers) if method == "POST" else None

    def _refusal_of_form(self, headers: Headers) -> PlainTextResponse | None:
        origins, fetch_sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
        ours = len(origins) == 1 and origins[0].lower() in self._site.origins
        if not ours or fetch_sites not in ([], ["same-origin"]):
            return _refuse(403, "a decision comes from a page of this server; nothing was changed")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != FORM:
            return _refuse(415, f"a form is sent as {FORM}; nothing was changed")
        length = headers.get("content-length", "0")
        if not _LENGTH.fullmatch(length) or int(length) > MAX_BODY_BYTES:
            return _refuse(413, f"a form has at most {MAX_BODY_BYTES} bytes; nothing was changed")
        return None


def _refuse(status: int, reason: str) -> PlainTextResponse:
    return PlainTextResponse(f"refused: {reason}\n", status_code=status)


def _bounded(receive: Receive) -> Receive:
    """`receive` that refuses a body longer than its bound, whatever length was announced."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413, f"a form has at most {MAX_BODY_BYTES} bytes")
        return message

    return bounded

"""Headers that go to a server and come back from it: what is dropped, and what is put in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

import h11

from policies.network import CONNECTION_HEADERS, METHODS, Target, authority
from sandbox.broker.errors import RefusedError, RequestError, UnreachableError
from sandbox.broker.gate import SentSecrets
from sandbox.broker.redaction import Redactor

__all__ = [
    "announced_bytes",
    "check_request",
    "check_response",
    "header",
    "incoming_headers",
    "outgoing_headers",
]

Headers: TypeAlias = list[tuple[bytes, bytes]]

_PIECEWISE: Final = frozenset({b"accept-encoding", b"if-range", b"range"})
"""What lets a secret come back in a form or in pieces that nobody recognises."""


def header(message: h11.Request | h11.Response, name: bytes) -> bytes | None:
    """The value of the first header of that name, which is in small letters."""
    return next((bytes(value) for key, value in message.headers if key == name), None)


def check_request(request: h11.Request) -> None:
    """Refuse what is not an ordinary request with one body of one length.

    Raises:
        RefusedError: Its method or an upgrade is nothing that can be granted.
        RequestError: It says twice how long it is.
    """
    method = request.method.decode("ascii")
    if method not in METHODS:
        raise RefusedError(f"the method {method!r:.40} cannot be granted: {', '.join(METHODS)} can")
    if header(request, b"upgrade") is not None:
        raise RefusedError("an upgrade to another protocol (websocket, HTTP/2) cannot be granted")
    names = [bytes(name) for name, _ in request.headers]
    if b"transfer-encoding" in names and b"content-length" in names:
        raise RequestError("the request has both Transfer-Encoding and Content-Length")


def announced_bytes(message: h11.Request | h11.Response) -> int:
    """How long it says that its body is."""
    return int(header(message, b"content-length") or 0)


def outgoing_headers(
    request: h11.Request, target: Target, secrets: SentSecrets, *, plain: bool
) -> Headers:
    """The headers that the server gets.

    With `plain` it is asked for whole answers without compression.
    """
    dropped = _dropped(request) | (_PIECEWISE if plain else frozenset())
    secret = {_folded(name.encode()) for name, _ in secrets.headers}
    kept = [
        (name, value)
        for name, value in request.headers.raw_items()
        # Some servers take X_Key for X-Key.
        if name.lower() not in dropped and _folded(name) not in secret
    ]
    host = authority(target.scheme, target.host, target.port)
    return [
        (b"Host", host.encode()),
        *kept,
        *((name.encode(), value.encode()) for name, value in secrets.headers),
        *([(b"Accept-Encoding", b"identity")] if plain else []),
        *_framing(request),
        (b"Connection", b"close"),
    ]


def _framing(request: h11.Request) -> Headers:
    if header(request, b"transfer-encoding") is not None:
        return [(b"Transfer-Encoding", b"chunked")]
    length = header(request, b"content-length")
    return [] if length is None else [(b"Content-Length", length)]


def _dropped(message: h11.Request | h11.Response) -> frozenset[bytes]:
    """Headers about the connection: the known ones, and those that the message names itself."""
    named = (value for name, value in message.headers if name == b"connection")
    tokens = {token.strip().lower() for value in named for token in value.split(b",")}
    return frozenset({name.encode() for name in CONNECTION_HEADERS} | tokens)


def _folded(name: bytes) -> bytes:
    return name.lower().replace(b"_", b"-")


def check_response(response: h11.Response, *, plain: bool) -> None:
    """Refuse an answer that cannot be looked through for secrets.

    Raises:
        UnreachableError: It is compressed although it was asked not to be.
    """
    encoding = header(response, b"content-encoding")
    if plain and encoding is not None and encoding.lower() != b"identity":
        raise UnreachableError(
            "the server compresses its answer although it was asked not to, so it cannot be "
            "looked through for secrets"
        )


def incoming_headers(response: h11.Response, redactor: Redactor) -> Headers:
    """The headers that the program gets."""
    dropped: Iterable[bytes] = _dropped(response)
    if header(response, b"transfer-encoding") is None:
        dropped = frozenset(dropped) - {b"content-length"}
    return [
        (name, redactor.whole(value))
        for name, value in response.headers.raw_items()
        if name.lower() not in dropped
    ]

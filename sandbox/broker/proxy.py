"""The proxy that a tool's programs speak to: one connection of theirs, request by request.

Requests are read, judged and written anew, never passed on: no framing or spelling of a
program's reaches a server.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urljoin

import h11

from policies.network import (
    AddressError,
    Target,
    authority,
    parse_target,
    split_authority,
    split_url,
)
from sandbox.broker.authority import Authority
from sandbox.broker.errors import RefusedError, RequestError
from sandbox.broker.gate import Budget, Gate
from sandbox.broker.headers import (
    announced_bytes,
    check_request,
    check_response,
    header,
    incoming_headers,
    outgoing_headers,
)
from sandbox.broker.log import Log, Record
from sandbox.broker.redaction import Redactor
from sandbox.broker.streams import ByteStream, ResumedStream, TlsStream
from sandbox.broker.upstream import Dialer, Upstream

__all__ = ["Broker"]

_HEADER_BYTES: Final = 1 << 16
_DRAINED_BYTES: Final = 1 << 22
_DRAIN_SECONDS: Final = 2.0
_REASON_CHARACTERS: Final = 400
_NO_BODY_STATUS: Final = 304


class Broker:
    """What the connections of one call share."""

    def __init__(self, *, gate: Gate, budget: Budget, dialer: Dialer, log: Log) -> None:
        self.gate = gate
        self.budget = budget
        self.dialer = dialer
        self.log = log
        self.authority = Authority()

    async def serve(self, stream: ByteStream) -> None:
        """Answer the requests of one connection.

        Raises:
            OSError: The program is gone, or its connection was cut on purpose.
        """
        await _Proxy(stream, self).serve()


class _Proxy:
    """One connection of a program, outside of a tunnel or inside of one."""

    def __init__(
        self, stream: ByteStream, broker: Broker, tunnel: tuple[str, int] | None = None
    ) -> None:
        self._stream = stream
        self._broker = broker
        self._tunnel = tunnel
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEADER_BYTES)
        self._answered = False
        """Whether the head of the server's answer has gone to the program."""

    async def serve(self) -> None:
        """Answer requests until the program has no more.

        Raises:
            OSError: The program is gone, or its connection was cut on purpose.
        """
        while (request := await self._next_request()) is not None:
            self._answered = False
            with self._broker.log.record(request.method.decode("ascii")) as record:
                tunnel = await self._answer(request, record)
            if tunnel is not None:
                await self._serve_tunnel(*tunnel)
                return
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _next_request(self) -> h11.Request | None:
        try:
            event = await self._next()
        except h11.RemoteProtocolError as error:
            with self._broker.log.record("?") as record:
                problem = RequestError(f"what came is not a request in HTTP/1.1: {error}")
                record.refuse(problem, str(problem))
                await self._say(problem, str(problem))
            return None
        return event if isinstance(event, h11.Request) else None

    async def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._stream.read())
        return event

    async def _body(self) -> AsyncIterator[bytes]:
        if self._http.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            raise ConnectionResetError("the program went away in the middle of its request")

    async def _send(
        self, event: h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage
    ) -> None:
        await self._stream.write(self._http.send(event) or b"")

    # --- answers

    async def _answer(self, request: h11.Request, record: Record) -> tuple[str, int] | None:
        """Answer one request; gives host and port where it opened a tunnel."""
        try:
            if request.method == b"CONNECT":
                return await self._open_tunnel(request, record)
            await self._forward(request, record)
        except RequestError as error:
            await self._fail(error, record)
        except h11.RemoteProtocolError as error:
            await self._fail(RequestError(f"the request is not HTTP/1.1: {error}"), record)
        return None

    async def _fail(self, problem: RequestError, record: Record) -> None:
        # What is wrong with an answer may quote it, and what it quotes may be a secret.
        words = Redactor(self._broker.gate.secret_values).whole(str(problem).encode()).decode()
        record.refuse(problem, words)
        if self._answered:
            # Too late for words: the program must see that the end is missing.
            raise ConnectionAbortedError(words)
        await self._say(problem, words)
        await self._drain()

    async def _say(self, problem: RequestError, words: str) -> None:
        """Answer with words instead of what a server would have said."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = f"toolkiln: {words}\n".encode()
        # Many clients show their caller the reason, and drop the body.
        reason = words.encode("ascii", "replace")[:_REASON_CHARACTERS]
        headers = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", str(len(body)).encode()),
            (b"Connection", b"close"),
        ]
        await self._send(h11.Response(status_code=problem.status, reason=reason, headers=headers))
        await self._send(h11.Data(data=body))
        await self._send(h11.EndOfMessage())

    async def _drain(self) -> None:
        """Read what the program still sends, so that the answer is not lost in a reset."""
        left = _DRAINED_BYTES
        with contextlib.suppress(h11.RemoteProtocolError, TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while left > 0 and self._http.their_state is h11.SEND_BODY:
                    event = await self._next()
                    left -= len(event.data) if isinstance(event, h11.Data) else 0

    # --- tunnels

    async def _open_tunnel(self, request: h11.Request, record: Record) -> tuple[str, int]:
        record.url = name = request.target.decode("ascii")
        if self._tunnel is not None:
            raise RefusedError("CONNECT inside of a tunnel is refused; send the request itself")
        if not name.rpartition(":")[2].isdigit():
            raise RequestError(f"CONNECT asks for {name!r:.80}; expected host:port")
        try:
            host, port = split_authority(name, 443)
        except AddressError as error:
            raise RefusedError(f"CONNECT {name!r:.80} is refused: {error}") from None
        async for _ in self._body():
            raise RequestError("CONNECT has a body")
        record.drop()  # what is asked inside of it is recorded
        await self._send(
            h11.Response(status_code=200, headers=[], reason=b"Connection established")
        )
        return host, port

    async def _serve_tunnel(self, host: str, port: int) -> None:
        """End TLS and answer what is inside; nothing else can be spoken through a tunnel."""
        early, _ = self._http.trailing_data
        context = self._broker.authority.context(host)
        secure = TlsStream(ResumedStream(self._stream, early), context)
        try:
            await secure.handshake()
        except ssl.SSLError as error:
            problem = RefusedError(
                "what came through the tunnel is not TLS, or the program does not trust the "
                f"certificates of SSL_CERT_FILE ({error.reason}); nothing but HTTPS can be spoken "
                "there"
            )
            with self._broker.log.record("CONNECT") as record:
                record.url = f"{host}:{port}"
                record.refuse(problem, str(problem))
            return
        await _Proxy(secure, self._broker, (host, port)).serve()
        await secure.farewell()

    # --- forwarding

    async def _forward(self, request: h11.Request, record: Record) -> None:
        broker = self._broker
        target = self._target(request, record)
        method = request.method.decode("ascii")
        broker.budget.take_request()
        check_request(request)
        broker.gate.check(method, target)
        broker.budget.expect_request(announced_bytes(request))
        secrets = broker.gate.secrets_for(method, target)
        record.secrets, record.reason = secrets.names, secrets.note
        plain = bool(broker.gate.secret_values)
        upstream = await broker.dialer.connect(target)
        record.watch(upstream)
        try:
            headers = outgoing_headers(request, target, secrets, plain=plain)
            await upstream.send(
                h11.Request(method=request.method, target=target.request_line, headers=headers)
            )
            async for piece in self._body():
                await upstream.send(h11.Data(data=piece))
            await upstream.send(h11.EndOfMessage())
            response = await upstream.response()
            record.status = response.status_code
            self._note_redirect(response, target)
            check_response(response, plain=plain)
            if method != "HEAD" and response.status_code != _NO_BODY_STATUS:
                broker.budget.expect(announced_bytes(response) - upstream.ahead_bytes)
            await self._hand_back(response, upstream)
        finally:
            upstream.close()

    async def _hand_back(self, response: h11.Response, upstream: Upstream) -> None:
        redactor = Redactor(self._broker.gate.secret_values)
        head = h11.Response(
            status_code=response.status_code,
            reason=redactor.whole(bytes(response.reason)),
            headers=incoming_headers(response, redactor),
        )
        self._answered = True
        await self._send(head)
        async for piece in upstream.body():
            await self._send_body(redactor.feed(piece))
        await self._send_body(redactor.end())
        await self._send(h11.EndOfMessage())

    async def _send_body(self, data: bytes) -> None:
        if data:
            await self._send(h11.Data(data=data))

    def _note_redirect(self, response: h11.Response, target: Target) -> None:
        location = (header(response, b"location") or b"").decode("latin-1")
        with contextlib.suppress(ValueError):
            place = urljoin(target.origin + target.path, location)
            self._broker.gate.redirected_to(parse_target(*split_url(place)))

    # --- addresses

    def _target(self, request: h11.Request, record: Record) -> Target:
        """Where a request goes, if there is only one way to read it."""
        line = request.target.decode("ascii")
        record.url = line.partition("?")[0]
        try:
            target = self._parse(line)
            self._check_host(request, target)
        except (AddressError, UnicodeDecodeError) as error:
            raise RefusedError(
                f"the address {line!r:.200} is wrong or could be read in two ways: {error}"
            ) from None
        record.url = target.shown
        return target

    def _parse(self, line: str) -> Target:
        if self._tunnel is None:
            if line.startswith("/"):
                raise AddressError("a proxy expects whole addresses, such as http://host/path")
            return parse_target(*split_url(line))
        if not line.startswith("/"):
            raise AddressError("inside of a tunnel an address begins with a slash")
        return parse_target("https", authority("https", *self._tunnel), line)

    def _check_host(self, request: h11.Request, target: Target) -> None:
        """A Host header that names another host may be meant to reach that one."""
        named = header(request, b"host")
        if named is None:
            return
        default = 80 if target.scheme == "http" else 443
        if split_authority(named.decode("ascii"), default) != (target.host, target.port):
            raise AddressError("the Host header names another host")

"""The real request: its name resolved here, every address checked, connected to one of those."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Final

import h11

from policies.network import Target
from sandbox.broker.addresses import Address, AddressRules, Resolver, literal_address
from sandbox.broker.errors import RefusedError, UnreachableError
from sandbox.broker.gate import Budget

__all__ = ["Dialer", "Upstream"]

_CONNECT_SECONDS: Final = 10.0
_RESOLVE_SECONDS: Final = 10.0
_TRIED_ADDRESSES: Final = 4
_PIECE_BYTES: Final = 1 << 16
_HEAD_PIECE_BYTES: Final = 1 << 12
"""Before it is known how long an answer is, little of it is taken: it may be refused."""

_HEADER_BYTES: Final = 1 << 16


class Upstream:
    """One request to a server, and its response."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: Address,
        budget: Budget,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._budget = budget
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADER_BYTES)
        self.address = address
        self.sent_bytes = 0
        self.received_bytes = 0
        self._listens = True
        self._piece_bytes = _HEAD_PIECE_BYTES

    async def send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        """Send a part of the request, as long as the server takes any of it.

        Raises:
            RefusedError: The bytes of the call's requests are used up.
        """
        data = self._http.send(event) or b""
        if not self._listens:
            return
        self._budget.send(len(data))
        self.sent_bytes += len(data)
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            self._listens = False  # it may have answered before it had read everything

    async def response(self) -> h11.Response:
        """The head of the response; what comes before it is dropped.

        Raises:
            RefusedError: The bytes of the call's responses are used up.
            UnreachableError: The server answers nothing that is HTTP.
        """
        while not isinstance(event := await self._next(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise UnreachableError("the server closed the connection without an answer")
        self._piece_bytes = _PIECE_BYTES
        return event

    @property
    def ahead_bytes(self) -> int:
        """How much of the body came with the head, and is counted already."""
        return len(self._http.trailing_data[0])

    async def body(self) -> AsyncIterator[bytes]:
        """The body, piece by piece; raises as `response` does."""
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            raise UnreachableError("the server closed the connection in the middle of its answer")

    async def _next(self) -> object:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = await self._reader.read(self._piece_bytes)
                self._budget.receive(len(data))
                self.received_bytes += len(data)
                self._http.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise UnreachableError(f"what the server answers is not HTTP/1.1: {error}") from None
        except OSError as error:
            raise UnreachableError(f"the connection to the server broke: {error}") from None
        if event is h11.PAUSED:
            raise UnreachableError("the server changed to another protocol")
        return event

    def close(self) -> None:
        """Give the connection up."""
        self._writer.transport.abort()


class Dialer:
    """Connects to granted hosts, for one call."""

    def __init__(
        self, *, rules: AddressRules, resolver: Resolver, budget: Budget, ca_file: str
    ) -> None:
        self._rules = rules
        self._resolver = resolver
        self._budget = budget
        self._ca_file = ca_file
        self._known: dict[str, tuple[Address, ...]] = {}

    async def connect(self, target: Target) -> Upstream:
        """A connection to the host of `target`.

        Raises:
            RefusedError: It has an address that may not be reached.
            UnreachableError: It has no address, does not answer, or is not who it should be.
        """
        trust = _trust(self._ca_file) if target.scheme == "https" else None
        problem = UnreachableError(f"{target.host} has no address")
        for address in (await self._addresses(target.host))[:_TRIED_ADDRESSES]:
            try:
                return await self._connect_to(address, target, trust)
            except ssl.SSLError as error:
                raise UnreachableError(_tls_problem(target, error)) from None
            except TimeoutError:
                problem = UnreachableError(
                    f"{target.origin} did not answer within {_CONNECT_SECONDS:g} seconds"
                )
            except OSError as error:
                problem = UnreachableError(f"{target.origin} cannot be reached: {error.strerror}")
        raise problem

    async def _connect_to(
        self, address: Address, target: Target, trust: ssl.SSLContext | None
    ) -> Upstream:
        name = target.host.strip("[]") if trust else None
        async with asyncio.timeout(_CONNECT_SECONDS):
            # An address and no name: what was checked is what is connected to.
            reader, writer = await asyncio.open_connection(
                str(address), target.port, ssl=trust, server_hostname=name
            )
        return Upstream(reader, writer, address, self._budget)

    async def _addresses(self, host: str) -> tuple[Address, ...]:
        """All addresses of a host, all of which may be reached; the same for the whole call."""
        if host not in self._known:
            literal = literal_address(host)
            found = (literal,) if literal is not None else await self._resolve(host)
            for address in found:
                self._check(host, address)
            self._known[host] = found
        return self._known[host]

    async def _resolve(self, host: str) -> tuple[Address, ...]:
        try:
            async with asyncio.timeout(_RESOLVE_SECONDS):
                found = await self._resolver(host)
            return tuple(ipaddress.ip_address(text) for text in found)
        except TimeoutError:
            raise UnreachableError(f"the name {host} was not resolved in time") from None
        except OSError as error:
            raise UnreachableError(f"the name {host} has no address: {error.strerror}") from None
        except ValueError as error:
            raise UnreachableError(f"the name {host} has a strange address: {error}") from None

    def _check(self, host: str, address: Address) -> None:
        if (meaning := self._rules.refusal(address)) is not None:
            where = (
                str(address) if literal_address(host) else f"{host}, which resolves to {address}"
            )
            raise RefusedError(
                f"{where}, is {meaning}; only public addresses can be reached, and those that the "
                "policy lists in network.private_addresses"
            )


@lru_cache(maxsize=8)
def _trust(ca_file: str) -> ssl.SSLContext:
    """Whom to believe about a server's name: those whom the system trusts, and a file's."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError:
            raise UnreachableError("the file of network.ca_file cannot be read") from None
    return context


def _tls_problem(target: Target, error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {target.origin} is not trusted: {error.verify_message}"
    return f"{target.origin} does not speak TLS as it should: {error.reason}"

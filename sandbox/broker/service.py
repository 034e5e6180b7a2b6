"""The network as one of the host's services: streams of the guest, each handed to a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from policies.network import parse_network
from policies.value import JsonObject
from sandbox.broker.addresses import AddressRules, Resolver, resolve
from sandbox.broker.gate import Budget, Gate, SecretProvider
from sandbox.broker.log import Log
from sandbox.broker.streams import MAX_PIECE_BYTES, GuestStream
from sandbox.frames import Frame, FrameError, Kind
from sandbox.services import SendFrame
from sandbox.traffic import NetworkEvent

if TYPE_CHECKING:
    from policies.config import NetworkSettings, PolicyProfile
    from policies.permissions import Permissions
    from sandbox.broker.proxy import Broker

__all__ = ["NetworkService"]

_NUMBER: Final = struct.Struct(">I")
_CLOSE: Final = struct.Struct(">I?")
_DATA: Final = struct.Struct(">II")
_MAX_STREAMS: Final = 64
_EVENTS_BEYOND_REQUESTS: Final = 20
"""Requests that cannot even be read are recorded as well, but not without end."""

_KINDS: Final = MappingProxyType(
    {
        Kind.STREAM_OPEN: _NUMBER.size,
        Kind.STREAM_DATA: _DATA.size + MAX_PIECE_BYTES,
        Kind.STREAM_CLOSE: _CLOSE.size,
    }
)


def _broker(
    network: NetworkSettings, gate: Gate, log: Log, *, calls: int, resolver: Resolver
) -> Broker:
    # TLS and certificates take 60 ms to load, which nobody needs who grants no network.
    from sandbox.broker.proxy import Broker  # noqa: PLC0415
    from sandbox.broker.upstream import Dialer  # noqa: PLC0415

    budget = Budget(
        requests=calls * network.requests,
        request_bytes=calls * network.request_bytes,
        response_bytes=calls * network.response_bytes,
    )
    rules = AddressRules([parse_network(text) for text in network.private_addresses])
    dialer = Dialer(rules=rules, resolver=resolver, budget=budget, ca_file=network.ca_file)
    return Broker(gate=gate, budget=budget, dialer=dialer, log=log)


class NetworkService:
    """Lets one call, or batch, send the requests that its tool declared and its policy grants."""

    def __init__(  # noqa: PLR0913  each is one fact, and half have a default
        self,
        permissions: Permissions,
        profile: PolicyProfile,
        *,
        secrets: SecretProvider,
        in_trial: bool = False,
        calls: int = 1,
        resolver: Resolver = resolve,
    ) -> None:
        """Describe it; nothing is opened before `begin`.

        Args:
            permissions: What the tool declares; its secrets are looked up now.
            profile: The policy, which has bounds for one call.
            secrets: Where values come from.
            in_trial: Whether the tool is a draft; policies may give those less.
            calls: How many calls share the service, and so the bounds.
            resolver: Finds the addresses of hosts.

        Raises:
            AddressError: A declared host cannot be understood; `grant_problems` says so before.
        """
        network = profile.network
        limit = calls * network.requests + _EVENTS_BEYOND_REQUESTS
        self._log = Log(clock=time.monotonic, limit=limit)
        self._broker = _broker(
            network,
            Gate(permissions, profile, secrets=secrets, in_trial=in_trial),
            self._log,
            calls=calls,
            resolver=resolver,
        )
        self._streams: dict[int, GuestStream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._send: SendFrame | None = None
        self._last_number = 0

    @property
    def name(self) -> str:
        """Name of the grant."""
        return "network"

    @property
    def kinds(self) -> Mapping[Kind, int]:
        """The frames that it takes, and how large they may be."""
        return _KINDS

    @property
    def events(self) -> tuple[NetworkEvent, ...]:
        """What was asked so far."""
        return tuple(self._log.events)

    def begin(self, send: SendFrame) -> JsonObject:
        """Take streams from now on; the guest is told whose certificates to trust."""
        self._send = send
        return {"authority": self._broker.authority.pem}

    def receive(self, frame: Frame) -> None:
        """Take a frame of the guest.

        Raises:
            FrameError: The guest's side of this service would not send it.
        """
        try:
            match frame.kind:
                case Kind.STREAM_OPEN:
                    self._open(*_NUMBER.unpack(frame.payload))
                case Kind.STREAM_DATA:
                    number, taken = _DATA.unpack_from(frame.payload)
                    if stream := self._find(number):
                        stream.take(taken, frame.payload[_DATA.size :])
                case Kind.STREAM_CLOSE:
                    number, gone = _CLOSE.unpack(frame.payload)
                    if stream := self._find(number):
                        stream.take_end(gone=gone)
                case kind:
                    raise FrameError(f"{kind.name} is no frame of the network")
        except struct.error:
            problem = f"a {frame.kind.name} of {len(frame.payload)} bytes"
            raise FrameError(problem) from None

    async def end(self) -> None:
        """Stop everything."""
        self._send = None
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _open(self, number: int) -> None:
        if number != self._last_number + 1:
            raise FrameError(f"stream {number} follows stream {self._last_number}")
        self._last_number = number
        if self._send is None:
            return
        stream = GuestStream(number, self._send)
        if len(self._streams) >= _MAX_STREAMS:
            stream.close()
            return
        self._streams[number] = stream
        task = asyncio.get_running_loop().create_task(self._serve(stream))
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _find(self, number: int) -> GuestStream | None:
        """A stream; None where it has been closed here and the guest does not know yet."""
        if not 1 <= number <= self._last_number:
            raise FrameError(f"stream {number} was never opened")
        return self._streams.get(number)

    async def _serve(self, stream: GuestStream) -> None:
        try:
            with contextlib.suppress(OSError):  # the program has gone, or was cut off
                await self._broker.serve(stream)
        finally:
            del self._streams[stream.number]
            if self._send is not None:
                stream.close()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            task.get_loop().call_exception_handler(
                {"message": "the broker failed on a request", "exception": error, "task": task}
            )

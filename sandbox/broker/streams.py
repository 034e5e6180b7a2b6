"""Connections of programs in the guest, as streams of bytes: plain, and with TLS ended here.

On the wire to the guest each piece comes with how much of the other direction was taken, and
neither side sends more than `WINDOW_BYTES` ahead: a program that does not read holds up its own
connection and nothing else, and a guest that sends more than it may breaks the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, TypeVar

from sandbox.frames import FrameError, Kind
from sandbox.services import SendFrame

__all__ = [
    "MAX_PIECE_BYTES",
    "WINDOW_BYTES",
    "ByteStream",
    "GuestStream",
    "ResumedStream",
    "TlsStream",
]

WINDOW_BYTES: Final = 1 << 18
MAX_PIECE_BYTES: Final = 1 << 16

_NUMBER: Final = struct.Struct(">I")
_DATA: Final = struct.Struct(">II")

_T = TypeVar("_T")


class ByteStream(Protocol):
    """Bytes both ways."""

    async def read(self) -> bytes:
        """The next bytes; empty when the program has no more to say."""
        ...

    async def write(self, data: bytes) -> None:
        """Send bytes, as fast as the program takes them.

        Raises:
            ConnectionError: The program is gone.
        """
        ...


class GuestStream:
    """One connection of a program in the guest."""

    def __init__(self, number: int, send: SendFrame) -> None:
        self.number = number
        self._send = send
        self._incoming = bytearray()
        self._may_send = WINDOW_BYTES
        self._ended = False
        self._gone = False
        self._news = asyncio.Event()

    def take(self, taken: int, data: bytes) -> None:
        """A STREAM_DATA of the guest: what the program took, and what it wrote.

        Raises:
            FrameError: More than was sent, or more than may wait here.
        """
        self._may_send += taken
        self._incoming += data
        if self._may_send > WINDOW_BYTES or len(self._incoming) > WINDOW_BYTES:
            raise FrameError(f"stream {self.number} goes beyond its window")
        self._news.set()

    def take_end(self, *, gone: bool) -> None:
        """The program has no more to say, or is gone."""
        self._ended = True
        self._gone = self._gone or gone
        self._news.set()

    async def read(self) -> bytes:
        """The next bytes; empty when the program has no more to say."""
        while not self._incoming:
            if self._ended:
                return b""
            await self._wait()
        data = bytes(self._incoming)
        self._incoming.clear()
        self._send(Kind.STREAM_DATA, _DATA.pack(self.number, len(data)))
        return data

    async def write(self, data: bytes) -> None:
        """Send bytes, as fast as the program takes them.

        Raises:
            ConnectionError: The program is gone.
        """
        view = memoryview(data)
        while view:
            if self._gone:
                raise ConnectionResetError("the program closed its connection to the proxy")
            if self._may_send <= 0:
                await self._wait()
                continue
            piece = view[: min(MAX_PIECE_BYTES, self._may_send)]
            self._send(Kind.STREAM_DATA, _DATA.pack(self.number, 0) + piece)
            self._may_send -= len(piece)
            view = view[len(piece) :]

    def close(self) -> None:
        """End the connection; the program still gets what was written before."""
        if not self._gone:
            self._gone = self._ended = True
            self._send(Kind.STREAM_CLOSE, _NUMBER.pack(self.number))

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()


class ResumedStream:
    """A stream of which some bytes have been read already."""

    def __init__(self, stream: ByteStream, early: bytes) -> None:
        self._stream = stream
        self._early = early

    async def read(self) -> bytes:
        """The next bytes; empty when the program has no more to say."""
        early, self._early = self._early, b""
        return early or await self._stream.read()

    async def write(self, data: bytes) -> None:
        """Send bytes, as fast as the program takes them."""
        await self._stream.write(data)


class TlsStream:
    """What is inside of the TLS that a program speaks over another stream."""

    def __init__(self, stream: ByteStream, context: ssl.SSLContext) -> None:
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def handshake(self) -> None:
        """Agree on keys.

        Raises:
            ssl.SSLError: The program does not speak TLS, or does not trust the certificate.
            ConnectionError: The program is gone.
        """
        await self._do(self._tls.do_handshake)

    async def read(self) -> bytes:
        """The next bytes; empty when the program has no more to say."""
        try:
            return await self._do(partial(self._tls.read, MAX_PIECE_BYTES))
        except ssl.SSLError:
            return b""  # an end without a farewell, or bytes that are no TLS

    async def write(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            ConnectionError: The program is gone.
        """
        view = memoryview(data)
        while view:
            written = await self._do(partial(self._tls.write, view[:MAX_PIECE_BYTES]))
            view = view[written:]

    async def farewell(self) -> None:
        """Say that everything has been sent, so that no client takes the end for a cut.

        Raises:
            ConnectionError: The program is gone.
        """
        with contextlib.suppress(ssl.SSLError):  # it waits for no answer
            self._tls.unwrap()
        await self._flush()

    async def _do(self, step: Callable[[], _T]) -> _T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._stream.read()
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except ssl.SSLError:
                await self._flush()  # the alert that says what is wrong
                raise
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._stream.write(data)

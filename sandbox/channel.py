"""The connection to one guest: bytes in and out on the event loop, without a thread.

Two ways, the same frames. Where host and guest share a kernel, three pipes in a folder that is
bound into the container: the engine has no part in a call, and the guest needs no socket.
Elsewhere the engine's attach stream, on which the engine mixes frames and output.

Both are read from the start to the very end, whatever comes: a host that stops reading an
attach stream makes the engine hang on its own calls to that container.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final, Protocol

from policies.limits import ResourceLimits
from sandbox.frames import Frame, FrameError, Stream, StreamSplitter
from sandbox.intake import Intake, Notice

__all__ = ["AttachChannel", "Channel", "PipeChannel", "PipeWriter"]

_PIECE_BYTES: Final = 1 << 16
_ROUNDS: Final = 64
"""How much is read at once when everything that is there is wanted: 4 MiB."""


class Channel(Protocol):
    """One guest's connection."""

    @property
    def folder(self) -> Path | None:
        """The host's folder to bind into the container; None where nothing is bound."""
        ...

    @property
    def intake(self) -> Intake:
        """What has come in."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the guest's side is closed."""
        ...

    def greeted(self) -> None:
        """The guest has opened its ends; from now on nobody else can."""
        ...

    def send(self, data: bytes) -> None:
        """Queue bytes for the guest; one that has ended takes nothing, which is no error."""
        ...

    async def receive(self, deadline: float) -> Frame | Notice:
        """The next frame, or why there is none; `deadline` is on the event loop's clock."""
        ...

    def catch_up(self) -> None:
        """Take in what has arrived and not been read yet."""
        ...

    async def wait_for_end(self, seconds: float) -> None:
        """Wait until the guest's side is closed, but not for longer than that."""
        ...

    def close(self) -> None:
        """Give the connection up; the guest sees the end of its input."""
        ...


class PipeWriter:
    """Writes to a descriptor as fast as the other side reads, and keeps the rest meanwhile."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: deque[memoryview] = deque()

    def write(self, data: bytes) -> None:
        """Write now what can be, the rest later."""
        self._waiting.append(memoryview(data))
        if len(self._waiting) == 1:
            self._write_on()
            if self._waiting:
                asyncio.get_running_loop().add_writer(self._descriptor, self._write_on)

    def _write_on(self) -> None:
        waiting = self._waiting
        try:
            while waiting:
                written = os.write(self._descriptor, waiting[0])
                if written < len(waiting[0]):
                    waiting[0] = waiting[0][written:]
                else:
                    waiting.popleft()
        except BlockingIOError:
            return
        except OSError:  # the guest has ended
            waiting.clear()
        asyncio.get_running_loop().remove_writer(self._descriptor)

    @property
    def waiting(self) -> bool:
        """Whether something has not been written yet."""
        return bool(self._waiting)

    def close(self) -> None:
        """Drop what is left."""
        if self._waiting:
            self._waiting.clear()
            asyncio.get_running_loop().remove_writer(self._descriptor)


class _Listening:
    """What both ways share: someone waits for news of an intake."""

    def __init__(self, limits: ResourceLimits) -> None:
        self.intake = Intake(limits)
        self.ended = False
        self._waiter: asyncio.Future[None] | None = None

    async def receive(self, deadline: float) -> Frame | Notice:
        """The next frame, or why there is none; `deadline` is on the event loop's clock."""
        if not (self.intake.news or self.ended):
            await self._wait(deadline)
        if self.intake.notice is not None:
            return self.intake.notice
        if self.intake.frames:
            return self.intake.frames.popleft()
        return Notice.ENDED if self.ended else Notice.TIMED_OUT

    async def wait_for_end(self, seconds: float) -> None:
        """Wait until the guest's side is closed, but not for longer than that."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.ended and await self._wait(deadline):
            pass

    async def _wait(self, deadline: float) -> bool:
        """Wait for anything new; whether it came before `deadline`."""
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_at(deadline, _resolve, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            timer.cancel()
        return loop.time() < deadline

    def _tell(self) -> None:
        if self._waiter is not None and (self.ended or self.intake.news):
            _resolve(self._waiter)

    def _end(self) -> None:
        self.ended = True
        self._tell()


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class PipeChannel(_Listening):
    """Three named pipes in a folder of their own: `in`, `out` and `print`."""

    to_guest: ClassVar[tuple[str, ...]] = ("in",)
    from_guest: ClassVar[tuple[str, ...]] = ("out", "print")

    def __init__(self, folder: Path, limits: ResourceLimits) -> None:
        """Make the folder and its pipes, and open the host's ends.

        Raises:
            OSError: They cannot be made.
        """
        super().__init__(limits)
        self.folder = folder
        self._open: set[int] = set()
        self._closed = False
        try:
            folder.mkdir(mode=0o755)
            folder.chmod(0o755)  # the guest's user must get in, whatever the mask of this process
            for names, mode in ((self.to_guest, 0o644), (self.from_guest, 0o622)):
                for name in names:
                    os.mkfifo(folder / name)
                    (folder / name).chmod(mode)
            # Opened for both directions a pipe needs no partner yet.
            self._input = self._open_end("in", os.O_RDWR)
            self._frames = self._open_end("out", _READING)
            self._output = self._open_end("print", _READING)
        except BaseException:
            self.close()
            raise
        self._writer = PipeWriter(self._input)
        self._watch(self._frames, self._take_frames)
        self._watch(self._output, self._take_output)

    def _open_end(self, name: str, way: int) -> int:
        descriptor = os.open(self.folder / name, way | _FLAGS)
        self._open.add(descriptor)
        return descriptor

    def _watch(self, descriptor: int, take: Callable[[bytes], None]) -> None:
        asyncio.get_running_loop().add_reader(descriptor, self._read, descriptor, take)

    def _read(self, descriptor: int, take: Callable[[bytes], None]) -> bool:
        """Take in one piece; whether there may be more."""
        try:
            data = os.read(descriptor, _PIECE_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._drop(descriptor)
            if descriptor == self._frames:
                self._end()
            return False
        take(data)
        self._tell()
        return True

    def _take_frames(self, data: bytes) -> None:
        self.intake.take_frames(data)

    def _take_output(self, data: bytes) -> None:
        self.intake.take_output(data)

    def greeted(self) -> None:
        """Keep only the writing end of the input, and take the names away."""
        writing = self._open_end("in", os.O_WRONLY)
        self._writer = PipeWriter(writing)
        self._drop(self._input)
        self._input = writing
        self._unlink()

    def send(self, data: bytes) -> None:
        """Queue bytes for the guest."""
        if not self._closed:
            self._writer.write(data)

    def catch_up(self) -> None:
        """Take in what has arrived and not been read yet."""
        for descriptor, take in (
            (self._frames, self._take_frames),
            (self._output, self._take_output),
        ):
            for _ in range(_ROUNDS):
                if descriptor not in self._open or not self._read(descriptor, take):
                    break

    def close(self) -> None:
        """Give everything up and leave nothing in the file system."""
        if self._closed:
            return
        self._closed = True
        if writer := getattr(self, "_writer", None):
            writer.close()
        for descriptor in tuple(self._open):
            self._drop(descriptor)
        self._unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        self._end()

    def _drop(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        self._open.discard(descriptor)
        os.close(descriptor)

    def _unlink(self) -> None:
        for name in (*self.to_guest, *self.from_guest):
            (self.folder / name).unlink(missing_ok=True)


_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
_READING: Final = os.O_RDONLY | getattr(os, "O_NOATIME", 0)
"""A guest sees the times of its pipes; when the host last read is none of its business."""


class AttachChannel(_Listening):
    """The engine's connection to a container's standard streams."""

    folder = None

    def __init__(self, limits: ResourceLimits) -> None:
        super().__init__(limits)
        self._connection: socket.socket | None = None
        self._splitter = StreamSplitter()
        self._writer: PipeWriter | None = None

    def connect(self, connection: socket.socket) -> None:
        """Listen to `connection`, which is this channel's from now on."""
        connection.setblocking(False)  # noqa: FBT003  the standard library's own signature
        self._connection = connection
        self._writer = PipeWriter(connection.fileno())
        asyncio.get_running_loop().add_reader(connection.fileno(), self._read)

    def _read(self) -> bool:
        """Take in one piece; whether there may be more."""
        if self._connection is None:
            return False
        try:
            data = self._connection.recv(_PIECE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            self._end()
            return False
        self._take(data)
        self._tell()
        return True

    def _take(self, data: bytes) -> None:
        try:
            for stream, piece in self._splitter.feed(data):
                if stream is Stream.OUTPUT:
                    self.intake.take_output(piece)
                else:
                    self.intake.take_frames(piece)
        except FrameError as error:
            self.intake.break_off(str(error))

    def greeted(self) -> None:
        """Nothing to do: the connection is nobody else's."""

    def send(self, data: bytes) -> None:
        """Queue bytes for the guest."""
        if self._writer is not None:
            self._writer.write(data)

    def catch_up(self) -> None:
        """Take in what has arrived and not been read yet."""
        for _ in range(_ROUNDS):
            if self.ended or not self._read():
                return

    def stop_listening(self) -> None:
        """Read no more, and keep the connection: what a host must not do, for the probe of it."""
        if self._connection is not None:
            asyncio.get_running_loop().remove_reader(self._connection.fileno())

    def close(self) -> None:
        """Give up the connection; the engine closes the guest's standard input then."""
        connection, self._connection = self._connection, None
        writer, self._writer = self._writer, None  # its number is somebody else's soon
        if connection is not None:
            if writer is not None:
                writer.close()
            asyncio.get_running_loop().remove_reader(connection.fileno())
            connection.close()
        self._end()

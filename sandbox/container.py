"""One container from its making to its removal, and what comes out of it meanwhile."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import uuid
from collections import deque
from enum import StrEnum
from typing import Final

from policies.limits import ResourceLimits
from policies.value import JsonObject
from sandbox.engine import Attachment, ContainerState, Engine, EngineError, EngineTimeoutError
from sandbox.frames import (
    Frame,
    FrameError,
    FrameReader,
    FrameTooLargeError,
    Kind,
    Stream,
    StreamSplitter,
    encode_frame,
)

__all__ = ["GuestContainer", "Intake", "Notice"]

_KILL_SECONDS: Final = 3.0
_DRAIN_SECONDS: Final = 5.0
_QUEUED_FRAMES: Final = 4
_EXIT_POLL_SECONDS: Final = 0.02
_OOM_NEWS_SECONDS: Final = 1.0
_KILLED: Final = 137


class Notice(StrEnum):
    """Something other than a frame."""

    ENDED = "ended"
    """The streams have ended: the guest has, or closed them, or the engine is gone."""

    OUTPUT_FULL = "output_full"
    RESULT_TOO_LARGE = "result_too_large"
    BROKEN = "broken"
    """What came on the frame channel can be no frame."""

    TIMED_OUT = "timed_out"


class Intake:
    """Everything that a guest says, counted to the last byte and kept within its ceilings."""

    def __init__(self, limits: ResourceLimits) -> None:
        self._splitter = StreamSplitter()
        self._reader = FrameReader(limits)
        self._output = bytearray()
        self._output_ceiling = limits.output_bytes
        self._taken = 0
        self.output_bytes = 0
        self.frames: deque[Frame] = deque()
        self.notice: Notice | None = None
        self.problem = ""
        """What is wrong, in words, when the frame channel is broken."""

    def take(self, data: bytes) -> None:
        """Take in bytes of the engine's connection. Never raises for what a guest sends."""
        try:
            for stream, piece in self._splitter.feed(data):
                if stream is Stream.OUTPUT:
                    self._take_output(piece)
                elif self.notice is None or self.notice is Notice.OUTPUT_FULL:
                    self._take_frames(piece)
        except FrameError as error:
            self._stop(Notice.BROKEN, str(error))

    def _take_output(self, piece: bytes) -> None:
        self.output_bytes += len(piece)
        self._output += piece[: max(0, self._output_ceiling - len(self._output))]
        if self.output_bytes > self._output_ceiling:
            self._stop(Notice.OUTPUT_FULL, "")

    def _take_frames(self, piece: bytes) -> None:
        try:
            self.frames.extend(self._reader.feed(piece))
        except FrameTooLargeError as error:
            self._stop(Notice.RESULT_TOO_LARGE, str(error))
        except FrameError as error:
            self._stop(Notice.BROKEN, str(error))
        if len(self.frames) > _QUEUED_FRAMES:
            self._stop(Notice.BROKEN, "more answers than calls")

    def _stop(self, notice: Notice, problem: str) -> None:
        if self.notice is None or self.notice is Notice.OUTPUT_FULL:
            self.notice = notice
            self.problem = problem

    @property
    def half_a_frame(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._reader.pending

    def new_output(self) -> str:
        """What was printed since the last time, as text; half a character at a cut is left out."""
        data = bytes(self._output[self._taken :])
        self._taken = len(self._output)
        whole = len(self._output) < self._output_ceiling
        return codecs.getincrementaldecoder("utf-8")("replace").decode(data, final=whole)


class GuestContainer:
    """A container with a harness in it.

    The engine's connection is read from the start to the very end, whatever comes: a host that
    stops reading makes the engine hang on its own calls to that container.
    """

    def __init__(self, engine: Engine, container: str, limits: ResourceLimits) -> None:
        self._engine = engine
        self._attachment: Attachment | None = None
        self._pump: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._started = False
        self._ended = False
        self.id = container
        self.intake = Intake(limits)

    @classmethod
    async def create(
        cls, engine: Engine, options: JsonObject, limits: ResourceLimits
    ) -> GuestContainer:
        """Make a container; whoever gets it must `dispose` of it.

        Raises:
            EngineError: It was not made.
        """
        name = f"toolkiln-{uuid.uuid4().hex[:20]}"
        return cls(engine, await engine.create(options, name=name), limits)

    async def start(self) -> None:
        """Listen to it and let it run.

        Raises:
            EngineError: It did not start.
        """
        self._attachment = await self._engine.attach(self.id)
        self._pump = asyncio.create_task(self._listen(self._attachment))
        await self._engine.start(self.id)
        self._started = True

    async def _listen(self, attachment: Attachment) -> None:
        while data := await attachment.receive():
            self.intake.take(data)
            self._news.set()
            # A flood never makes the socket wait, so nothing else would get its turn.
            await asyncio.sleep(0)
        self._ended = True
        self._news.set()

    async def send(self, kind: Kind, call: int, payload: bytes) -> None:
        """Send one frame. A guest that has ended takes nothing, which is no error here."""
        if self._attachment is not None:
            with contextlib.suppress(EngineError):
                await self._attachment.send(encode_frame(kind, call, payload))

    async def receive(self, deadline: float) -> Frame | Notice:
        """The next frame, or why there is none; `deadline` is on the event loop's clock."""
        try:
            async with asyncio.timeout_at(deadline):
                while (news := self._look()) is None:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return self._look() or Notice.TIMED_OUT
        return news

    def _look(self) -> Frame | Notice | None:
        if self.intake.notice is not None:
            return self.intake.notice
        if self.intake.frames:
            return self.intake.frames.popleft()
        return Notice.ENDED if self._ended else None

    async def exit_state(self, deadline: float) -> ContainerState | None:
        """How it ended, once its streams have; None if it still runs at `deadline`.

        Raises:
            EngineError: The engine does not know.
        """
        loop = asyncio.get_running_loop()
        while (state := await self._engine.inspect(self.id)).running:
            if loop.time() >= deadline:
                return None
            await asyncio.sleep(_EXIT_POLL_SECONDS)
        news = loop.time() + _OOM_NEWS_SECONDS
        while state.exit_code == _KILLED and not state.oom_killed and loop.time() < news:
            # The engine hears of the kernel's kill on another way than of the exit.
            await asyncio.sleep(_EXIT_POLL_SECONDS)
            state = await self._engine.inspect(self.id)
        return state

    async def kill(self) -> None:
        """End it at once. What cannot be killed here is removed, by `dispose` or the reaper."""
        try:
            await self._engine.kill(self.id, seconds=_KILL_SECONDS)
        except EngineTimeoutError:
            self.hang_up()
            with contextlib.suppress(EngineError):
                await self._engine.kill(self.id, seconds=_KILL_SECONDS)
        except EngineError:
            return

    async def dispose(self) -> None:
        """Kill it, remove it, and read what it still had to say.

        Raises:
            EngineError: It could not be removed.
        """
        try:
            await self._remove()
            await self._drain()
        finally:
            self.hang_up()

    async def _remove(self) -> None:
        try:
            await self._engine.remove(self.id)
        except EngineError:
            self.hang_up()
            await self._engine.remove(self.id)

    async def _drain(self) -> None:
        # The streams of a container that never started do not end.
        if self._pump is not None and self._started:
            await asyncio.wait([self._pump], timeout=_DRAIN_SECONDS)

    def stop_listening(self) -> None:
        """Read no more, and keep the connection: what a host must not do, for the probe of it."""
        if self._pump is not None:
            self._pump.cancel()

    def hang_up(self) -> None:
        """Give up the connection; the engine closes the guest's standard input then."""
        self.stop_listening()
        if self._attachment is not None:
            self._attachment.close()

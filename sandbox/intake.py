"""Everything that a guest says, counted to the last byte and kept within its ceilings."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from policies.limits import ResourceLimits
from sandbox.frames import Frame, FrameError, FrameReader, FrameTooLargeError, Kind
from sandbox.services import Service

__all__ = ["Intake", "Notice"]

_QUEUED_FRAMES: Final = 4


class Notice(StrEnum):
    """Something other than a frame."""

    ENDED = "ended"
    """The channel has ended: the guest has, or closed it, or the engine is gone."""

    OUTPUT_FULL = "output_full"
    RESULT_TOO_LARGE = "result_too_large"
    BROKEN = "broken"
    """What came on the frame channel can be no frame."""

    TIMED_OUT = "timed_out"


class Intake:
    """Takes in bytes and never raises for what a guest sends."""

    def __init__(self, limits: ResourceLimits) -> None:
        self._reader = FrameReader(limits)
        self._output = bytearray()
        self._output_ceiling = limits.output_bytes
        self._taken = 0
        self._services: dict[Kind, Service] = {}
        self.output_bytes = 0
        """How much was printed in all, also beyond what is kept."""

        self.frames: deque[Frame] = deque()
        self.notice: Notice | None = None
        self.problem = ""
        """What is wrong, in words, when the frame channel is broken."""

    def serve(self, services: Iterable[Service]) -> None:
        """From now on give these the frames that are theirs."""
        for service in services:
            for kind, ceiling in service.kinds.items():
                self._services[kind] = service
                self._reader.allow(kind, ceiling)

    def take_output(self, data: bytes) -> None:
        """Bytes that were printed."""
        self.output_bytes += len(data)
        self._output += data[: max(0, self._output_ceiling - len(self._output))]
        if self.output_bytes > self._output_ceiling:
            self._stop(Notice.OUTPUT_FULL, "")

    def take_frames(self, data: bytes) -> None:
        """Bytes of the frame channel."""
        if self.notice is not None and self.notice is not Notice.OUTPUT_FULL:
            return
        try:
            for frame in self._reader.feed(data):
                service = self._services.get(frame.kind)
                if service is None:
                    self.frames.append(frame)
                else:
                    service.receive(frame)
        except FrameTooLargeError as error:
            self._stop(Notice.RESULT_TOO_LARGE, str(error))
        except FrameError as error:
            self._stop(Notice.BROKEN, str(error))
        if len(self.frames) > _QUEUED_FRAMES:
            self._stop(Notice.BROKEN, "more answers than calls")

    def break_off(self, problem: str) -> None:
        """The bytes cannot even be told apart."""
        self._stop(Notice.BROKEN, problem)

    def _stop(self, notice: Notice, problem: str) -> None:
        if self.notice is None or self.notice is Notice.OUTPUT_FULL:
            self.notice = notice
            self.problem = problem

    @property
    def news(self) -> bool:
        """Whether there is anything that a listener waits for."""
        return bool(self.frames) or self.notice is not None

    @property
    def half_a_frame(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._reader.pending

    def new_output(self) -> str:
        """What was printed since the last time, as text; half a character at a cut is left out."""
        if self._taken == len(self._output):
            return ""
        data = bytes(self._output[self._taken :])
        self._taken = len(self._output)
        whole = len(self._output) < self._output_ceiling
        return codecs.getincrementaldecoder("utf-8")("replace").decode(data, final=whole)

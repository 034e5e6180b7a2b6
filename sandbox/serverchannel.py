"""The connection to a fork server: its children's pipes, and a pair that only itself can reach."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import struct
import termios
from collections import deque
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import ClassVar, Final

from policies.limits import ResourceLimits
from sandbox.channel import PipeChannel, PipeWriter
from sandbox.frames import Frame, FrameError, FrameReader, Kind
from sandbox.intake import Intake

__all__ = ["CallReport", "Oddity", "ServerChannel"]

_REPORT: Final = struct.Struct(">iBIQ")
_COUNT: Final = struct.Struct("i")
_KIB: Final = 1024
_SIGNALLED: Final = 128
_GO_ON: Final = b"\n"
_LINGER_SECONDS: Final = 0.5
"""How long a process that has answered may take to end, and the server to see that it has; on a
busy host both wait for their turn."""


class Oddity(IntFlag):
    """What a call left, or how it ended, as far as the fork server saw; bits of its report."""

    FOLDER_USED = 1
    MORE_PROCESSES = 2
    """It started others; threads are counted alike."""

    OUT_OF_MEMORY = 4


@dataclass(frozen=True)
class CallReport:
    """What the fork server says of a process that is gone, and of nothing else."""

    wait_status: int
    oddities: Oddity
    memory_peak_bytes: int
    cpu_seconds: float

    @classmethod
    def parse(cls, payload: bytes) -> CallReport:
        """Read the payload of an END frame.

        Raises:
            FrameError: It is none.
        """
        if len(payload) != _REPORT.size:
            raise FrameError(f"a report of {len(payload)} bytes, not {_REPORT.size}")
        status, flags, memory_kib, microseconds = _REPORT.unpack(payload)
        return cls(status, Oddity(flags), memory_kib * _KIB, microseconds / 1e6)

    @property
    def exit_code(self) -> int:
        """As an engine tells it: 128 and the signal for one that was killed."""
        code = os.waitstatus_to_exitcode(self.wait_status)
        return code if code >= 0 else _SIGNALLED - code

    @property
    def killed_for_memory(self) -> bool:
        """Whether it was killed, and the kernel killed for memory meanwhile."""
        killed = self.exit_code == _SIGNALLED + signal.SIGKILL
        return killed and Oddity.OUT_OF_MEMORY in self.oddities


class ServerChannel(PipeChannel):
    """One call after the other: each begins with `renew`, and ends with the server's report.

    To whoever listens the guest's side has `ended` when the report is there, which it is only
    when every process of the call is gone. Whatever they wrote has been taken in by then.
    """

    to_guest: ClassVar[tuple[str, ...]] = ("in", "control-in")
    from_guest: ClassVar[tuple[str, ...]] = ("out", "print", "control-out")

    def __init__(self, folder: Path, limits: ResourceLimits) -> None:
        """Make the folder and its pipes, and open the host's ends.

        Raises:
            OSError: They cannot be made.
        """
        super().__init__(folder, limits)
        self._limits = limits
        self._control_frames = FrameReader(limits)
        self._control_frames.allow(Kind.END, _REPORT.size)
        self._linger: asyncio.TimerHandle | None = None
        self.said: deque[Frame] = deque()
        """What the server said beside reports: its posture, once."""

        self.report: CallReport | None = None
        try:
            self._control = self._open_end("control-in", os.O_RDWR)
            self._orders = PipeWriter(self._control)
            self._watch(self._open_end("control-out", os.O_RDONLY), self._take_control)
        except BaseException:
            self.close()
            raise

    def greeted(self) -> None:
        """Keep only the writing ends of the inputs, and take all names away."""
        writing = self._open_end("control-in", os.O_WRONLY)
        self._drop(self._control)
        self._orders = PipeWriter(writing)
        super().greeted()

    def renew(self) -> None:
        """Begin another call with nothing of the last one."""
        self.intake = Intake(self._limits)
        self.report = None
        self.ended = False

    def go_on(self) -> None:
        """Let the server start the process of the next call."""
        self.order(_GO_ON)

    def order(self, data: bytes) -> None:
        """Queue bytes for the server itself."""
        if not self._closed:
            self._orders.write(data)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is on its way in either direction."""
        if self.intake.news or self.intake.half_a_frame or self._writer.waiting:
            return False
        unread = fcntl.ioctl(self._input, termios.FIONREAD, bytes(_COUNT.size))
        return not any(unread)

    def _take_control(self, data: bytes) -> None:
        try:
            for frame in self._control_frames.feed(data):
                if frame.kind is Kind.END:
                    report = CallReport.parse(frame.payload)
                    self.catch_up()
                    self.report = report
                    self._end()
                else:
                    self.said.append(frame)
        except FrameError as error:
            self.intake.break_off(str(error))
            self._tell()

    def _tell(self) -> None:
        """Wake who listens when the call is over; an answer alone does not say that it is."""
        if self.ended or self.intake.notice is not None:
            self._stop_lingering()
            super()._tell()
        elif self.intake.frames and self._waiter is not None and self._linger is None:
            self._linger = asyncio.get_running_loop().call_later(
                _LINGER_SECONDS, self._stop_waiting
            )

    def _stop_waiting(self) -> None:
        self._linger = None
        super()._tell()

    def _stop_lingering(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def close(self) -> None:
        """Give everything up and leave nothing in the file system."""
        self._stop_lingering()
        if orders := getattr(self, "_orders", None):
            orders.close()
        super().close()

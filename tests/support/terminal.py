"""A program in a terminal of its own, driven by what it shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

PATIENCE_SECONDS = 120
CTRL_C = "\x03"
CTRL_D = "\x04"
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>()][A-Z0-9]?")


@dataclass
class Terminal:
    """The near end: what a person types and sees."""

    process: subprocess.Popen[bytes]
    handle: int
    raw: bytes = b""
    """Everything that was written to the terminal."""

    _seen: int = field(default=0)

    @property
    def text(self) -> str:
        """Everything shown so far, without the terminal's own control sequences."""
        return _SEQUENCE.sub("", self.raw.decode(errors="replace"))

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.handle, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Make it another size; the kernel tells the program."""
        fcntl.ioctl(self.handle, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, words: str) -> None:
        """Go on when `words` appear after what was waited for last."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while words not in self.text[self._seen :]:
            if time.monotonic() > deadline or not self._read():
                pytest.fail(f"{words!r} was not shown; this was:\n{self.text}", pytrace=False)
        self._seen = self.text.index(words, self._seen) + len(words)

    def wait_for_end(self) -> int:
        """The exit code, when the program has ended."""
        while self._read():
            pass
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def _read(self) -> bool:
        ready, _, _ = select.select([self.handle], [], [], 1.0)
        if not ready:
            return self.process.poll() is None
        try:
            data = os.read(self.handle, 65536)
        except OSError:  # Linux's way to say that nobody has the far end open
            return False
        self.raw += data
        return bool(data)


@contextmanager
def terminal(
    command: Sequence[str], environment: Mapping[str, str], *, rows: int = 40, columns: int = 100
) -> Iterator[Terminal]:
    """Run `command` in a new terminal."""
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        command,
        stdin=far,
        stdout=far,
        stderr=far,
        env={"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **environment},
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 - Ctrl-C needs a controlling terminal
    )
    os.close(far)
    try:
        yield Terminal(process=process, handle=near)
    finally:
        process.kill()
        process.wait(timeout=PATIENCE_SECONDS)
        os.close(near)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)

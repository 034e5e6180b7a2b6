"""What the kernel alone costs; a program of its own, so that no thread of ours is forked.

    python -I -S bare.py COUNT

Prints JSON: seconds of each fork that is waited for, of each byte to another process and back,
and of each `python3 -c`, one after the other and eight at once.
"""

# ruff: noqa: PLC0415  what is imported is copied by each fork: 0.3 ms bare, 0.8 with all of these

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # as in typing, which is not small
if TYPE_CHECKING:
    from collections.abc import Callable

_PROGRAM = (
    "import json, sys; a, b = json.loads(sys.argv[1]).values(); print(json.dumps({'sum': a + b}))"
)
_AT_ONCE = 8
_FORKS_PER_PROCESS = 20


def fork_and_wait() -> None:
    """A process that does nothing."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def python() -> None:
    """A whole interpreter for one sum, as one would without a sandbox."""
    import json
    import subprocess

    command = [sys.executable, "-c", _PROGRAM, '{"a": 2, "b": 3}']
    printed = subprocess.run(command, capture_output=True, check=True).stdout  # noqa: S603  ourselves
    if json.loads(printed) != {"sum": 5}:
        raise ValueError(printed)


class Echo:
    """Another process that gives back each byte."""

    def __init__(self) -> None:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._out)
            while byte := os.read(theirs_in, 1):
                os.write(theirs_out, byte)
            os._exit(0)
        os.close(theirs_in)
        os.close(theirs_out)

    def round_trip(self) -> None:
        """There and back."""
        os.write(self._out, b"x")
        os.read(self._in, 1)

    def close(self) -> None:
        """End it."""
        os.close(self._out)
        os.waitpid(self._child, 0)
        os.close(self._in)


def timed(work: Callable[[], None]) -> float:
    """Seconds of one."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def pythons_at_once() -> tuple[list[float], float]:
    """Seconds of each of some interpreters, eight at a time, and of all together."""
    from concurrent.futures import ThreadPoolExecutor

    start = time.perf_counter()
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        seconds = list(threads.map(lambda _: timed(python), range(2 * _AT_ONCE)))
    return seconds, time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1])
    forks = _FORKS_PER_PROCESS * count
    fork = [timed(fork_and_wait) for _ in range(forks)]
    echo = Echo()
    pipe = [timed(echo.round_trip) for _ in range(forks)]
    echo.close()
    pythons = [timed(python) for _ in range(count)]
    at_once, wall = pythons_at_once()
    import json

    found = {
        "fork": fork,
        "pipe": pipe,
        "python": pythons,
        "python_at_once": at_once,
        "python_at_once_wall": wall,
    }
    print(json.dumps(found))  # noqa: T201  its answer


if __name__ == "__main__":
    main()

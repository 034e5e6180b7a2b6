"""Guests that do what no guest should, each with the one way in which its call must end."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from policies.limits import MIB, ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject
from sandbox.base import ExecutionResult, Outcome, Program

LIMITS = ResourceLimits(memory_bytes=64 * MIB, pids=32, wall_seconds=60)
TIGHT = LIMITS.model_copy(update={"wall_seconds": 1.0})

# Finds the harness's ends of its channel, however they were opened.
_CHANNEL = """
import os, struct, sys, time
def ends(name, stream):
    found = []
    for n in os.listdir('/proc/self/fd'):
        try:
            place = os.readlink('/proc/self/fd/' + n)
        except OSError:
            continue
        if place.startswith('/run/toolkiln/' + name):
            found.append(int(n))
    return found or [stream]
def out():
    return ends('out', 3)[0]
def frame(kind, payload, call=1):
    return struct.pack('>BII', kind, call, len(payload)) + payload
"""


@dataclass(frozen=True)
class Hostile:
    """A program, and what must come of it."""

    code: str
    outcome: Outcome
    limit: str | None = None
    value: JsonValue = None
    limits: ResourceLimits = LIMITS

    @property
    def program(self) -> Program:
        return Program(code=self.code, function="f", level=LintLevel.L2, limits=self.limits)

    def complaint(self, result: ExecutionResult) -> str | None:
        """What is wrong with that end; None if nothing."""
        expected = (self.outcome, self.limit, self.value)
        seen = (result.outcome, result.limit, result.value)
        if seen == expected:
            return None
        return f"expected {expected}, got {seen}: {result.error_message}"


def timed_out(code: str) -> Hostile:
    return Hostile(_CHANNEL + code, Outcome.TIMED_OUT, "wall_time", limits=TIGHT)


def broken(code: str) -> Hostile:
    return Hostile(_CHANNEL + code, Outcome.PROTOCOL_BROKEN)


def exceeded(code: str, limit: str) -> Hostile:
    return Hostile(_CHANNEL + code, Outcome.LIMIT_EXCEEDED, limit)


def returned(code: str, value: JsonValue) -> Hostile:
    return Hostile(_CHANNEL + code, Outcome.RETURNED, value=value)


HOSTILE: dict[str, Hostile] = {
    "ignores signals": timed_out(
        "import signal\ndef f():\n"
        " for s in signal.valid_signals():\n"
        "  try: signal.signal(s, signal.SIG_IGN)\n"
        "  except (OSError, ValueError): pass\n"
        " while True: signal.pause()\n"
    ),
    "forks twice and answers": returned(
        "def f():\n"
        " if os.fork() == 0:\n"
        "  os.setsid()\n"
        "  if os.fork() == 0: time.sleep(60)\n"
        "  os._exit(0)\n"
        " os.wait()\n return 1\n",
        1,
    ),
    "forks twice and waits": timed_out(
        "def f():\n"
        " if os.fork() == 0:\n"
        "  os.setsid()\n"
        "  if os.fork() == 0:\n"
        "   while True: pass\n"
        "  os._exit(0)\n"
        " time.sleep(60)\n"
    ),
    "floods its output": exceeded("def f():\n while True: os.write(1, b'x' * 65536)\n", "output"),
    "floods its output from a child": exceeded(
        "def f():\n if os.fork() == 0:\n  while True: os.write(2, b'x' * 65536)\n time.sleep(60)\n",
        "output",
    ),
    "half a frame, and ends": broken(
        "def f():\n os.write(out(), frame(4, b'[1,2]')[:-2])\n os._exit(0)\n"
    ),
    "half a frame, and waits": timed_out(
        "def f():\n os.write(out(), frame(4, b'[1,2]')[:-2])\n time.sleep(60)\n"
    ),
    "answers twice": broken("def f():\n os.write(out(), frame(4, b'1'))\n return 2\n"),
    "answers late": timed_out(
        "def f():\n time.sleep(1.2)\n while True: os.write(out(), frame(4, b'1'))\n"
    ),
    "answers for another call": broken(
        "def f():\n os.write(out(), frame(4, b'1', 2))\n time.sleep(60)\n"
    ),
    "closes its channel and runs on": timed_out(
        "def f():\n for n in ends('out', 3): os.close(n)\n while True: time.sleep(1)\n"
    ),
    "closes everything and runs on": timed_out(
        "def f():\n os.closerange(0, 100)\n while True: pass\n"
    ),
    "fills the pipe with nothing": broken(
        "def f():\n c = out()\n while True: os.write(c, bytes(65536))\n"
    ),
    "fills the pipe with one answer": exceeded(
        "def f():\n os.write(out(), frame(4, b'')[:5] + b'\\xff' * 4)\n"
        " while True: os.write(out(), bytes(65536))\n",
        "result",
    ),
    "takes all memory": Hostile(
        "def f():\n a = []\n while True: a.append(bytearray(1 << 20))\n",
        Outcome.OUT_OF_MEMORY,
        "memory",
    ),
    "exits": Hostile("import os\ndef f():\n os._exit(7)\n", Outcome.CRASHED),
    "ignores its processor limit": timed_out(
        "import signal\ndef f():\n"
        " signal.signal(signal.SIGXCPU, signal.SIG_IGN)\n while True: pass\n"
    ),
}
"""Programs without arguments."""


@dataclass(frozen=True)
class StopsReading:
    """Two calls in one container; the second has more to send than any pipe holds."""

    code: str

    @property
    def program(self) -> Program:
        limits = LIMITS.model_copy(update={"memory_bytes": 128 * MIB, "wall_seconds": 3.0})
        return Program(code=self.code, function="f", level=LintLevel.L2, limits=limits)

    @property
    def batch(self) -> tuple[JsonObject, JsonObject]:
        return {"a": ""}, {"a": "x" * (4 * MIB)}


STOPS_READING: dict[str, StopsReading] = {
    "by closing its end": StopsReading(
        _CHANNEL + "def f(a):\n for n in ends('in', 0): os.close(n)\n return 1\n"
    ),
    "by putting another pipe there": StopsReading(
        _CHANNEL + "def f(a):\n"
        " r, w = os.pipe()\n"
        " for n in ends('in', 0): os.dup2(r, n)\n"
        " return 1\n"
    ),
}
"""Closed or replaced: the host's bytes find no reader any more."""

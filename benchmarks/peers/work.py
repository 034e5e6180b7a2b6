"""What every peer is asked to do, and what an adapter gives.

Runs in the peers' own environment, so it needs the standard library alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["IMAGE", "IMAGE_WITH_KERNEL", "Peer", "RunSource", "last_line", "program"]

IMAGE: Final = "toolkiln-bench-peers:python"
"""Debian with python3 and a shell; its command is python3, as in the image `python`."""

IMAGE_WITH_KERNEL: Final = "toolkiln-bench-peers:jupyter"
"""The same with a Jupyter kernel gateway as its command."""

RunSource: TypeAlias = Callable[[str], str]
"""Runs a Python source in the open environment and gives what it printed."""

_PROGRAM: Final = """\
import json


def run(a, b):
    return {{"sum": a + b}}


print(json.dumps(run({a}, {b})))
"""


@dataclass(frozen=True)
class Peer:
    """A library that runs Python for an agent, with the settings it has when nobody sets any."""

    name: str
    distribution: str
    """What is installed when this can be used."""

    fresh: str
    """What is new in each fresh call: a container or a process."""

    session: Callable[[], AbstractContextManager[RunSource]]
    """A fresh environment, gone when it is left."""

    note: str = ""
    """Everything that is not as the library does it by itself."""


def program(a: int, b: int) -> str:
    """The work: a function that adds, called, its answer printed as JSON."""
    return _PROGRAM.format(a=a, b=b)


def last_line(printed: str) -> object:
    """The JSON value on the last line of what a program printed.

    Raises:
        ValueError: There is none.
    """
    lines = printed.strip().splitlines()
    if not lines:
        raise ValueError("the program printed nothing")
    try:
        value: object = json.loads(lines[-1])
    except ValueError:
        raise ValueError(f"the program printed {printed[-500:]!r}, expected JSON") from None
    return value

"""What a person can choose to measure; imported by the command line before anything else is."""

from __future__ import annotations

from enum import StrEnum


class Group(StrEnum):
    """What can be left out of a run."""

    BARE = "bare"
    COLD = "cold"
    POOL = "pool"
    STEADY = "steady"
    PROCESS = "process"
    MEMORY = "memory"
    TIMEOUT = "timeout"

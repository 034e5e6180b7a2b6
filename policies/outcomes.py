"""What can come of one run of a tool."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """What came of one run. All of it is the guest's doing: failures of ours are exceptions."""

    RETURNED = "returned"
    RAISED = "raised"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    LIMIT_EXCEEDED = "limit_exceeded"
    """Stopped by a ceiling other than time and memory: output, size of the result, CPU, files."""

    CRASHED = "crashed"
    """The process ended without an answer: a signal, `os._exit`, a broken interpreter."""

    PROTOCOL_BROKEN = "protocol_broken"
    """What came back is not one well-formed answer: forged, doubled, partial, or not JSON."""

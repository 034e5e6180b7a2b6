"""The program of the disposable process that reads one hostile source: JSON in, JSON out.

Run as `python -I -m runtime.analysis_worker`. The text is parsed and compiled here, never run
and never imported; if that exhausts or crashes the interpreter, only this process is lost.
"""

from __future__ import annotations

import resource
import sys
from typing import Final

from policies.analysis import analyse
from policies.limits import SourceLimits
from policies.source import ToolSource
from policies.value import Value

MEMORY_BYTES: Final = 1 << 30
CPU_SECONDS: Final = 5
MAX_REQUEST_BYTES: Final = 16 << 20
READY: Final = b"ready\n"
"""Sent before anything of the source is read: without it the fault is ours, not the source's."""


class AnalysisRequest(Value):
    """What the host asks."""

    source: ToolSource
    limits: SourceLimits


def limit_this_process() -> None:
    """Put a ceiling on memory, processor time and files; nothing hostile has been read yet."""
    for kind, ceiling in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        value = ceiling if hard == resource.RLIM_INFINITY else min(ceiling, hard)
        resource.setrlimit(kind, (value, value))


def main() -> None:
    """Answer one request on standard input; the exit status says whether there is an answer."""
    limit_this_process()
    _send(READY)
    data = sys.stdin.buffer.read(MAX_REQUEST_BYTES + 1)
    request = AnalysisRequest.model_validate_json(data)
    _send(analyse(request.source, request.limits).model_dump_json().encode())


def _send(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

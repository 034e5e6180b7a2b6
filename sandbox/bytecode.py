"""Compiles sources to bytecode, in a process of its own; run as a file, imported by nobody.

Standard input has a JSON list of `[source file, path to show in tracebacks, bytecode file]`.
The bytecode is of the kind that is never compared with its source. A fresh process that does
the same files in the same order writes the same bytes, which is what an image's digest needs.

With `--strangers` the sources are other people's: what does not compile (templates, old Python)
is left out, and a source that was made to exhaust the compiler ends this process alone.
"""

from __future__ import annotations

import json
import py_compile
import resource
import sys

_MEMORY_BYTES = 4 * 1024**3
_CPU_SECONDS = 600
_NOT_COMPILED = (py_compile.PyCompileError, ValueError, OverflowError, RecursionError, MemoryError)


def main(*, strangers: bool) -> None:
    """Compile what is asked for."""
    if strangers:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    else:
        sys.setrecursionlimit(10_000)
    for source, shown, target in json.load(sys.stdin):
        try:
            py_compile.compile(
                source,
                cfile=target,
                dfile=shown,
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except _NOT_COMPILED:
            if not strangers:
                raise


if __name__ == "__main__":
    main(strangers="--strangers" in sys.argv[1:])

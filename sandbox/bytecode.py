"""Compiles sources to bytecode, in a process of its own; run as a file, imported by nobody.

Standard input has a JSON list of `[source file, path to show in tracebacks, bytecode file]`.
The bytecode is of the kind that is never compared with its source. A fresh process that does
the same files in the same order writes the same bytes, which is what an image's digest needs.
"""

from __future__ import annotations

import json
import py_compile
import sys


def main() -> None:
    """Compile what is asked for."""
    sys.setrecursionlimit(10_000)
    for source, shown, target in json.load(sys.stdin):
        py_compile.compile(
            source,
            cfile=target,
            dfile=shown,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


if __name__ == "__main__":
    main()

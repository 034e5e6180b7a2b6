"""The command line: parse, call, print. No decision is taken here.

Exit codes: see `runtime.errors.ExitCode`. What a command prints as data goes to standard output,
everything else to standard error; `--json` makes the data exactly one JSON document.
"""

from __future__ import annotations

import gc
import sys

__all__ = ["main"]


def main() -> None:
    """Run the program that the command line asks for."""
    # Imports make only what stays; looking for garbage among it is a quarter of the start.
    gc.disable()
    from runtime.cli.program import run  # noqa: PLC0415 - importing a package does nothing

    sys.exit(run(sys.argv[1:]))

"""Failures as exit codes: one line on standard error for what can be expected, never more.

| failure | exit code |
|---|---|
| `RuntimeFailure` and all below it | its own `exit_code` |
| a policy file or a setting that is not understood, a text that no store keeps | 2 |
| packages that are not granted, or cannot be had as declared | 1 |
| the sandbox or its engine | 3 |
| the store is locked by another process or unusable; the file system refuses | 3 |
| no such tool, a wrong state, a damaged store | 1 |
| interrupted | 130 |
| anything else: our own fault | 4 |
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import Final

from policies.display import escape_text
from policies.errors import PoliciesError
from runtime.errors import ExitCode, RuntimeFailure
from sandbox.errors import PackagesRefusedError, SandboxError
from toolstore.attest.errors import KeysError
from toolstore.errors import StoreBusyError, StoreUnusableError, TextError, ToolStoreError

EXIT_CODES: Final[tuple[tuple[type[Exception], ExitCode], ...]] = (
    (PoliciesError, ExitCode.USAGE),
    (PackagesRefusedError, ExitCode.NO),
    (SandboxError, ExitCode.MISSING),
    (StoreBusyError, ExitCode.MISSING),
    (StoreUnusableError, ExitCode.MISSING),
    (TextError, ExitCode.USAGE),
    (KeysError, ExitCode.MISSING),
    (ToolStoreError, ExitCode.NO),
    (OSError, ExitCode.MISSING),
)
"""The first class that fits decides."""


def exit_code_of(error: BaseException) -> ExitCode | None:
    """The exit code of an expected failure; None for what nobody expected."""
    if isinstance(error, RuntimeFailure):
        return error.exit_code
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), None)


def guarded(program: Callable[[], object], *, debug: bool) -> int:
    """Run `program`; say what went wrong in one line and answer the exit code."""
    try:
        program()
        sys.stdout.flush()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(bool(done.code))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last line of defence reports all of it
        return _report(_one_cause(error), debug=debug)
    return ExitCode.OK


def _one_cause(error: Exception) -> Exception:
    """What a task group wrapped, where it wrapped one thing."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _report(error: Exception, *, debug: bool) -> ExitCode:
    if isinstance(error, BrokenPipeError):
        leave_the_pipe_alone()
        return ExitCode.OK
    code = exit_code_of(error)
    if debug:
        _print(escape_text("".join(traceback.format_exception(error))).rstrip())
    if code is None:
        _print(
            f"error: {_one_line(f'{type(error).__name__}: {error}')}. This is a fault of toolkiln, "
            "not yours; run the same command with --debug for the traceback."
        )
        return ExitCode.INTERNAL
    _print(f"error: {_one_line(str(error)) or type(error).__name__}")
    return code


def _one_line(text: str) -> str:
    return " ".join(escape_text(line) for line in text.split("\n")).strip()


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads standard error any more
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - the end of every failure


def leave_the_pipe_alone() -> None:
    """Whoever read our output has gone: end quietly, also in the flush at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

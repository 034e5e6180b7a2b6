"""Standard output and standard error. Untrusted text leaves through here, and only escaped."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO, TypeAlias, TypeVar

import typer
from pydantic import BaseModel, JsonValue

from policies.display import escape_text
from runtime.cli.failures import leave_the_pipe_alone
from runtime.errors import ExitCode
from runtime.settings import Colour, Settings

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

T = TypeVar("T")

AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output.")
]


def print_json(value: JsonValue) -> None:
    """Print one JSON document; ASCII, so that nothing in it can act on a terminal."""
    indent = 2 if sys.stdout.isatty() else None
    text = json.dumps(value, indent=indent, ensure_ascii=True, allow_nan=False)
    write(text.replace("\x7f", "\\u007f") + "\n")


def json_of(value: BaseModel) -> JsonValue:
    """A value as JSON."""
    dumped: JsonValue = value.model_dump(mode="json")
    return dumped


def print_lines(lines: Iterable[str]) -> None:
    """Print data lines, each escaped to be one line."""
    text = "\n".join(escape_text(line, keep_newlines=False) for line in lines)
    if text:
        write(text + "\n")


def print_columns(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> None:
    """Print rows: aligned under `heads` for a person, tab-separated and bare for a pipe."""
    cells = [_escaped(row) for row in rows]
    if not sys.stdout.isatty():
        write("".join(["\t".join(row) + "\n" for row in cells]))
        return
    table = [list(heads), *cells]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    write(
        "".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            + "\n"
            for row in table
        )
    )


def _escaped(row: Sequence[str]) -> Sequence[str]:
    whole = "".join(row)
    if whole.isascii() and whole.isprintable():  # ten thousand rows are mostly this
        return row
    return [escape_text(cell, keep_newlines=False) for cell in row]


def write(text: str) -> None:
    """Write `text`, which is already fit to be shown; end quietly where nobody reads it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        leave_the_pipe_alone()
        raise SystemExit(ExitCode.OK) from None


def say(text: str) -> None:
    """Tell a person something that is not data."""
    print(escape_text(text), file=sys.stderr, flush=True)  # noqa: T201 - this is the way out


def answer_no() -> NoReturn:
    """End with the exit code of a "no"."""
    raise typer.Exit(ExitCode.NO)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end in a loop of its own; SIGTERM cancels it, so that it cleans up."""
    import asyncio  # noqa: PLC0415 - what only looks at the store does without

    return asyncio.run(_terminable(work))


async def _terminable(work: Coroutine[Any, Any, T]) -> T:
    import asyncio  # noqa: PLC0415 - see `run_async`

    task = asyncio.ensure_future(work)
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await task
    except asyncio.CancelledError:
        if terminated:
            raise SystemExit(128 + signal.SIGTERM) from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def console(settings: Settings, *, file: TextIO | None = None) -> Console:
    """A rich console on `file` (standard output), coloured as the settings say."""
    from rich.console import Console  # noqa: PLC0415 - plain output does without

    return Console(
        file=file or sys.stdout,
        force_terminal=True if settings.colour is Colour.ALWAYS else None,
        no_color=settings.colour is Colour.NEVER,
        highlight=False,
        markup=False,
        emoji=False,
    )


def print_rich(settings: Settings, *parts: RenderableType) -> None:
    """Print renderables; strings in them are text, never markup."""
    try:
        console(settings).print(*parts, sep="\n")
    except BrokenPipeError:
        leave_the_pipe_alone()
        raise SystemExit(ExitCode.OK) from None

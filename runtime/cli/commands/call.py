"""`toolkiln call`: run one tool of the store in the sandbox."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from policies.value import JsonObject
from runtime.cli.files import Attachments, read_attachments, write_artefacts
from runtime.cli.invocation import settings_of
from runtime.cli.options import Ref
from runtime.cli.output import (
    AsJson,
    answer_no,
    console,
    json_of,
    print_json,
    print_lines,
    run_async,
    say,
)
from runtime.cli.toolfile import parse_object, read_text

if TYPE_CHECKING:
    from runtime.outcome import CallOutcome
    from runtime.settings import Settings


def command(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    name: Ref,
    arguments: Annotated[
        str,
        typer.Argument(
            metavar="ARGUMENTS", help="JSON object, such as '{\"a\": 1}'; @FILE reads it, - stdin."
        ),
    ] = "{}",
    *,
    file: Attachments = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the files that it makes into this folder."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Call a tool and print its value as JSON; exit code 1 if the tool failed."""
    settings = settings_of(ctx)
    files = read_attachments(file)
    outcome = run_async(_call(settings, name, _arguments(arguments), files))
    if as_json:
        print_json(json_of(outcome))
    elif outcome.is_error:
        say(f"error: {outcome.content}")
    else:
        from runtime.outcome import describe_file, printable_json  # noqa: PLC0415 - `--help` does without

        print_lines([printable_json(outcome.content)])
        for artefact in outcome.artefacts:
            say(f"made {describe_file(artefact)}")
    if outcome.execution is not None and outcome.execution.output:
        say(f"the tool printed:\n{outcome.execution.output}")
    if output_dir is not None:  # last: where it fails, the value is not lost
        for path in write_artefacts(outcome.artefacts, output_dir, force=force):
            say(f"wrote {path}")
    if outcome.is_error:
        answer_no()


def _arguments(text: str) -> JsonObject:
    if text == "-":
        return parse_object(read_text("-"), origin="standard input")
    if text.startswith("@"):
        return parse_object(read_text(text[1:]), origin=text[1:])
    return parse_object(text, origin="ARGUMENTS")


async def _call(
    settings: Settings, name: str, arguments: JsonObject, files: dict[str, bytes]
) -> CallOutcome:
    from runtime.cli.live import EventRenderer  # noqa: PLC0415 - `--help` does without
    from runtime.wiring import open_runtime  # noqa: PLC0415 - same

    with EventRenderer(console(settings, file=sys.stderr)) as renderer:
        async with open_runtime(settings=settings, progress=renderer.progress) as runtime:
            return await runtime.call_tool(name, arguments, files=files)

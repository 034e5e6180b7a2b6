"""`toolkiln define`: lint and prove a tool from a file, and keep it where the policy allows."""

from __future__ import annotations

import sys
from enum import StrEnum
from importlib.metadata import version as distribution_version
from typing import TYPE_CHECKING, Annotated

import typer

from policies.permissions import LintLevel
from policies.value import JsonObject
from runtime.cli.invocation import settings_of
from runtime.cli.output import AsJson, answer_no, console, print_json, print_rich, run_async
from runtime.cli.toolfile import (
    looks_like_json,
    parse_json,
    read_text,
    source_from_json,
    source_from_python,
)

if TYPE_CHECKING:
    from policies.source import ToolSource
    from runtime.outcome import DefinitionOutcome
    from runtime.settings import Settings


class Format(StrEnum):
    """How the outcome is printed."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    """The findings alone, for editors and code hosts."""


def command(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A .py file, a JSON file of a tool's fields, or - for standard input (either).",
        ),
    ],
    *,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The function that is the tool.")
    ] = None,
    description: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Default: the function's docstring, else the module's."),
    ] = None,
    examples: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help='JSON list, such as [{"arguments": {"a": 1}, "returns": 2}]. '
            "Default: the doctests of the function's docstring.",
        ),
    ] = None,
    level: Annotated[
        LintLevel | None, typer.Option(help="Lint level to ask for. Default: L0.")
    ] = None,
    imports: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            metavar="MODULE",
            help="One beyond the L0 list; asks for L2. Repeatable.",
        ),
    ] = None,
    insist: Annotated[
        bool, typer.Option("--insist", help="Store it though the store has such a tool already.")
    ] = False,
    output: Annotated[
        Format, typer.Option("--format", help="How to print the outcome.")
    ] = Format.TEXT,
    as_json: AsJson = False,
) -> None:
    """Lint a tool, prove it in the sandbox, and keep it if the policy allows.

    Exit code 0 means admitted and callable. 1 means that it is not: refused, with all findings,
    or stored and waiting for a person, with the words how to review it.
    """
    settings = settings_of(ctx)
    overrides = _overrides(name, description, examples, _permissions(level, imports))
    outcome = run_async(_define(settings, file, overrides, insist=insist))
    form = Format.JSON if as_json else output
    if form is Format.JSON:
        print_json(outcome.to_json())
    elif form is Format.SARIF:
        from policies.report import as_sarif  # noqa: PLC0415 - only for this format

        version = distribution_version("toolkiln")
        print_json(as_sarif(outcome.findings, file=file, version=version))
    else:
        show_outcome(settings, outcome)
    if not outcome.admitted:
        answer_no()


def _permissions(level: LintLevel | None, imports: list[str] | None) -> JsonObject:
    given: JsonObject = {}
    if level is not None:
        given["level"] = level.value
    if imports:
        given["imports"] = list(imports)
    return given


def _overrides(
    name: str | None, description: str | None, examples: str | None, permissions: JsonObject
) -> JsonObject:
    given: JsonObject = {}
    if name is not None:
        given["name"] = name
    if description is not None:
        given["description"] = description
    if examples is not None:
        given["examples"] = parse_json(read_text(examples), origin=examples)
    if permissions:
        given["permissions"] = permissions
    return given


async def _source(file: str, overrides: JsonObject) -> ToolSource:
    text = read_text(file)
    if file.endswith(".json") or (not file.endswith(".py") and looks_like_json(text)):
        return source_from_json(text, origin=file, overrides=overrides)
    return await source_from_python(text, origin=file, overrides=overrides)


async def _define(
    settings: Settings, file: str, overrides: JsonObject, *, insist: bool
) -> DefinitionOutcome:
    from runtime.cli.live import EventRenderer  # noqa: PLC0415 - `--help` does without
    from runtime.wiring import open_runtime  # noqa: PLC0415 - same

    source = await _source(file, overrides)
    with EventRenderer(console(settings, file=sys.stderr), show_findings=False) as renderer:
        async with open_runtime(settings=settings, progress=renderer.progress) as runtime:
            return await runtime.define_tool(
                source, author=settings.principal, insist=insist, on_event=renderer.admission
            )


def show_outcome(settings: Settings, outcome: DefinitionOutcome) -> None:
    """Print what a definition came to, for a person."""
    from rich.text import Text  # noqa: PLC0415 - JSON does without

    from runtime.cli.render import findings_view, one_line, safe  # noqa: PLC0415 - same

    if outcome.findings:
        print_rich(settings, findings_view(outcome.findings))
    name = outcome.ref or outcome.name
    if outcome.admitted:
        words = Text.assemble(("admitted ", "bold green"), one_line(name), f" {outcome.digest}")
    elif outcome.needs_review:
        words = Text.assemble(
            ("needs review ", "bold yellow"), one_line(name), f" {outcome.digest}\n"
        )
        words.append("it is stored and nobody can call it until a person has approved it:\n")
        words.append_text(one_line(f"  toolkiln review show {name}")).append("\n")
        words.append_text(one_line(f"  toolkiln review approve {name}"))
    elif outcome.duplicate_of is not None:
        words = Text.assemble(
            ("not stored ", "bold yellow"), one_line(outcome.name), ": the store has it already as "
        )
        words.append_text(one_line(name)).append("; --insist stores it all the same")
    else:
        words = Text.assemble(("refused ", "bold red"), one_line(name))
    for reason in outcome.reasons:
        words.append("\n- ").append_text(safe(reason))
    print_rich(settings, words)

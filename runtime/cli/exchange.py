"""`toolkiln tools export` and `import`: tools on their way out of a store and into one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, assert_never

import typer

from policies.access import Action
from policies.value import JsonObject
from runtime.cli.completion import tool_names
from runtime.cli.inputs import read_input
from runtime.cli.invocation import settings_of
from runtime.cli.opening import open_store, parse_ref
from runtime.cli.options import REF_WORDS
from runtime.cli.output import AsJson, answer_no, console, print_json, run_async, say
from runtime.cli.permission import require
from runtime.errors import UsageError

if TYPE_CHECKING:
    from runtime.outcome import DefinitionOutcome
    from runtime.settings import Settings
    from toolstore.errors import StoreDamagedError
    from toolstore.models import ToolVersion

Exported: TypeAlias = "tuple[ToolVersion, bytes]"
"""A version and its bundle; without a bundle where none is wanted."""

MAX_BUNDLE_BYTES: Final = 16 * 1024 * 1024


class Form(StrEnum):
    """In which form a tool leaves."""

    BUNDLE = "bundle"
    """One file with everything, which `verify` checks and `tools import` takes."""

    SKILL = "skill"
    """A folder that agents read: https://agentskills.io."""

    MCP = "mcp"
    """JSON as a server of the Model Context Protocol lists its tools."""


def export(
    ctx: typer.Context,
    ref: Annotated[
        str | None, typer.Argument(metavar="REF", help=REF_WORDS, autocompletion=tool_names)
    ] = None,
    *,
    form: Annotated[
        Form, typer.Option("--format", help="A file with all evidence, a skill, or MCP's JSON.")
    ] = Form.BUNDLE,
    everything: Annotated[
        bool, typer.Option("--all", help="Every approved tool, instead of REF.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write, default stdout; for skills and for --all a folder to write into.",
        ),
    ] = None,
) -> None:
    """Write a version with its evidence, as a skill, or for MCP."""
    if (ref is None) is not everything:
        raise UsageError("name one tool to export, or give --all; not both, not neither")
    if form is Form.BUNDLE and everything and output is None:
        raise UsageError("--all writes one bundle a tool: name their folder with -o FOLDER")
    settings = settings_of(ctx)
    found, damaged = run_async(_exported(settings, ref, bundles=form is not Form.MCP))
    match form:
        case Form.MCP:
            _write_mcp([version for version, _ in found], output)
        case Form.SKILL:
            _write_skills(found, output or Path())
        case Form.BUNDLE if everything and output is not None:
            _write_bundles(found, output)
        case Form.BUNDLE:
            for version, bundle in found:
                _write_file(bundle, output, str(version.ref))
        case _:
            assert_never(form)
    for words in damaged:
        say(f"left out: {words}")
    if damaged:
        answer_no()


async def _exported(
    settings: Settings, ref: str | None, *, bundles: bool
) -> tuple[list[Exported], list[str]]:
    """What to export, verified, with its bundle; and what was left out because it is damaged."""
    from toolstore.packing import Extras  # noqa: PLC0415 - lists do without

    damaged: list[str] = []

    def note(which: str, error: StoreDamagedError) -> None:
        damaged.append(f"{which}: {error.what}")

    async with open_store(settings) as store:
        if ref is not None:
            versions: tuple[ToolVersion, ...] = (await store.find(parse_ref(ref)),)
        else:
            versions = await store.current_versions(on_damage=note)
        require(settings, Action.EXPORT, *versions)
        found: list[Exported] = []
        for version in versions:
            bundle = b""
            if bundles:
                extras = Extras(lock=await _lock_of(settings, version))
                bundle = await store.exchange.export(version.ref, extras)
            found.append((version, bundle))
        return found, damaged


async def _lock_of(settings: Settings, version: ToolVersion) -> JsonObject | None:
    """The lock of its packages; None where it has none, or another home made its image."""
    if not version.source.permissions.packages:
        return None
    from sandbox.packages import list_package_images  # noqa: PLC0415 - most have no packages

    for image in await list_package_images(settings.home / "sandbox"):
        if image.digest == version.image_digest:
            lock: JsonObject = image.lock.model_dump(mode="json")
            return lock
    return None


def _write_bundles(found: Sequence[Exported], folder: Path) -> None:
    from runtime.exporting.folders import write_folder  # noqa: PLC0415 - lists do without

    write_folder(folder, {f"{version.ref}.json": bundle for version, bundle in found})
    say(f"{len(found)} bundle(s) written to {folder}")


def _write_mcp(versions: Sequence[ToolVersion], output: Path | None) -> None:
    from runtime.exporting.mcp import list_tools_text  # noqa: PLC0415 - lists do without

    _write_file(list_tools_text(versions).encode(), output, f"{len(versions)} tool(s)")


def _write_skills(found: Sequence[Exported], folder: Path) -> None:
    from runtime.exporting.folders import write_folder  # noqa: PLC0415 - lists do without
    from runtime.exporting.skill import skill_files, skill_name  # noqa: PLC0415 - see above

    for version, bundle in found:
        target = folder / skill_name(version.name)
        write_folder(target, skill_files(version, bundle))
        say(f"{version.ref} written to {target}")


def _write_file(data: bytes, output: Path | None, what: str) -> None:
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}") from None
    say(f"{what} written to {output}")


def import_(
    ctx: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A bundle that `tools export` wrote, or -.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Take an exported tool in, through lint, trials and policy.

    Exit code 1 if it is not admitted.

    A bundle whose signatures or links fail is refused before anything runs. What others said of
    the tool is kept beside what is found here, and counts for nothing by itself.
    """
    settings = settings_of(ctx)
    outcome = run_async(_import(settings, read_input(file, most_bytes=MAX_BUNDLE_BYTES)))
    if as_json:
        print_json(outcome.to_json())
    else:
        from runtime.cli.commands.define import show_outcome  # noqa: PLC0415 - lists do without

        show_outcome(settings, outcome)
    if not outcome.admitted:
        answer_no()


async def _import(settings: Settings, data: bytes) -> DefinitionOutcome:
    from runtime.cli.live import EventRenderer  # noqa: PLC0415 - lists do without
    from runtime.wiring import open_runtime  # noqa: PLC0415 - same

    with EventRenderer(console(settings, file=sys.stderr), show_findings=False) as renderer:
        async with open_runtime(settings=settings, progress=renderer.progress) as runtime:
            return await runtime.import_bundle(data, on_event=renderer.admission)

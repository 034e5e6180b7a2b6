"""`toolkiln tools export` and `import`: tools on their way out of a store and into one."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from policies.display import escape_text
from runtime.cli.invocation import settings_of
from runtime.cli.opening import open_store, parse_ref
from runtime.cli.options import PolicyName
from runtime.cli.output import AsJson, answer_no, console, print_json, run_async, say
from runtime.cli.permission import require
from runtime.errors import UsageError

if TYPE_CHECKING:
    from runtime.outcome import DefinitionOutcome
    from runtime.settings import Settings
    from toolstore.errors import StoreDamagedError
    from toolstore.models import ToolVersion

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
        str | None, typer.Argument(metavar="[REF]", help="NAME, NAME@3 or NAME@sha256:…")
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
    """Write a version as a bundle with its evidence, an Agent Skill, or an MCP description."""
    if (ref is None) is not everything:
        raise UsageError("name one tool to export, or give --all; not both, not neither")
    settings = settings_of(ctx)
    versions, damaged = run_async(_versions(settings, ref))
    match form:
        case Form.MCP:
            _write_mcp(versions, output)
        case Form.SKILL:
            _write_skills(versions, output or Path())
        case Form.BUNDLE:
            if everything and output is None:
                raise UsageError("--all writes one bundle a tool: name their folder with -o FOLDER")
            _write_bundles(versions, output, everything=everything)
    for words in damaged:
        say(f"left out: {words}")
    if damaged:
        answer_no()


async def _versions(
    settings: Settings, ref: str | None
) -> tuple[tuple[ToolVersion, ...], list[str]]:
    """What to export, verified; and what was left out because it is damaged."""
    damaged: list[str] = []

    def note(which: str, error: StoreDamagedError) -> None:
        damaged.append(f"{which}: {error.what}")

    async with open_store(settings) as store:
        if ref is not None:
            versions: tuple[ToolVersion, ...] = (await store.find(parse_ref(ref)),)
        else:
            versions = await store.current_versions(on_damage=note)
    require(settings, "export", *versions)
    return versions, damaged


def _write_bundles(
    versions: tuple[ToolVersion, ...], output: Path | None, *, everything: bool
) -> None:
    from toolstore.bundle import export_bundle  # noqa: PLC0415 - lists do without

    if everything and output is not None:
        from runtime.exporting.folders import write_folder  # noqa: PLC0415 - see above

        write_folder(output, {f"{each.ref}.json": export_bundle(each) for each in versions})
        say(f"{len(versions)} bundles written to {output}")
        return
    for version in versions:
        _write_file(export_bundle(version), output, str(version.ref))


def _write_mcp(versions: tuple[ToolVersion, ...], output: Path | None) -> None:
    import json  # noqa: PLC0415 - lists do without

    from runtime.exporting.mcp import list_tools_result  # noqa: PLC0415 - see above

    document = json.dumps(list_tools_result(versions), indent=2, ensure_ascii=True)
    _write_file(f"{document}\n".encode(), output, f"{len(versions)} tool(s)")


def _write_skills(versions: tuple[ToolVersion, ...], folder: Path) -> None:
    from runtime.exporting.folders import write_folder  # noqa: PLC0415 - lists do without
    from runtime.exporting.skill import skill_files, skill_name  # noqa: PLC0415 - see above
    from toolstore.bundle import export_bundle  # noqa: PLC0415 - see above

    for version in versions:
        target = folder / skill_name(version.name)
        write_folder(target, skill_files(version, export_bundle(version)))
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
    file: Annotated[str, typer.Argument(help="A bundle that `tools export` wrote, or -.")],
    *,
    policy: PolicyName = None,
    as_json: AsJson = False,
) -> None:
    """Take an exported tool through lint, trials and policy here; exit code 1 if not admitted.

    A bundle whose signatures or links fail is refused before anything runs. What others said of
    the tool is kept beside what is found here, and counts for nothing by itself.
    """
    settings = settings_of(ctx, policy=policy)
    outcome = run_async(_import(settings, read_bytes(file)))
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


def read_bytes(name: str) -> bytes:
    """The bytes of a bundle from a file, or from standard input for `-`.

    Raises:
        UsageError: it cannot be read, or is larger than any bundle.
    """
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_BUNDLE_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {escape_text(name)}: {error.strerror or error}") from None
    if len(data) > MAX_BUNDLE_BYTES:
        raise UsageError(f"{name} is larger than {MAX_BUNDLE_BYTES} bytes")
    return data

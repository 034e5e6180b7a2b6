"""`toolkiln doctor`: what is there, what is missing, and what the engine really holds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import JsonValue

from runtime.cli.invocation import settings_of
from runtime.cli.output import AsJson, console, json_of, print_json, print_rich, run_async
from runtime.errors import ExitCode

if TYPE_CHECKING:
    from runtime.cli.checkup import Checked
    from runtime.settings import Settings


def command(
    ctx: typer.Context,
    *,
    engine: Annotated[
        bool, typer.Option(help="Probe the engine's walls in containers of its own.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Check Python, the packages, home, store, policy, model and key, and the engine's walls.

    Each runtime that the engine lists is probed in containers of its own.

    Exit code 0: all that is needed is there. Otherwise that of the first failure: 3 for the
    engine, 1 for a damaged store, 2 for a policy that is not understood, 4 for packages that
    are not ours.
    """
    settings = settings_of(ctx)
    checks = run_async(_check(settings, engine=engine))
    if as_json:
        rows: list[JsonValue] = [json_of(check) for check in checks]
        print_json(rows)
    else:
        _show(settings, checks)
    code = next((check.exit_code for check in checks if check.exit_code), ExitCode.OK)
    if code:
        raise typer.Exit(code)


async def _check(settings: Settings, *, engine: bool) -> tuple[Checked, ...]:
    from runtime.cli.checkup import check_host  # noqa: PLC0415 - `--help` does without
    from runtime.cli.enginecheck import check_engine  # noqa: PLC0415 - same
    from runtime.cli.live import EventRenderer  # noqa: PLC0415 - same

    checks = await check_host(settings)
    if not engine:
        return checks
    with EventRenderer(console(settings, file=sys.stderr)) as renderer:
        try:
            return checks + await check_engine(settings, renderer.progress)
        finally:
            renderer.progress_done()


def _show(settings: Settings, checks: tuple[Checked, ...]) -> None:
    from rich.table import Table  # noqa: PLC0415 - JSON does without
    from rich.text import Text  # noqa: PLC0415 - same

    from runtime.cli.checkup import Health  # noqa: PLC0415 - same
    from runtime.cli.render import safe  # noqa: PLC0415 - same

    marks = {
        Health.OK: Text("✓", style="bold green"),
        Health.WARNING: Text("!", style="bold yellow"),
        Health.FAILED: Text("✗", style="bold red"),
    }
    table = Table.grid(padding=(0, 2))
    runtime = ""
    for check in checks:
        if check.runtime != runtime:
            runtime = check.runtime
            table.add_row("", "")
            table.add_row("", safe(f"runtime {runtime}", "bold"))
        detail = safe(check.detail)
        if check.advice:
            detail.append("\n").append_text(safe(check.advice, "yellow"))
        table.add_row(marks[check.health], check.name, detail)
    print_rich(settings, table)

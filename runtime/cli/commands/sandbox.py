"""`toolkiln sandbox`: the image that tools run in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from runtime.cli.invocation import settings_of
from runtime.cli.output import AsJson, console, print_json, print_lines, run_async

if TYPE_CHECKING:
    from runtime.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Prepare the sandbox.")


@app.callback()
def _group() -> None:
    """Prepare the sandbox."""


@app.command()
def build(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """Build the guest image from this interpreter, if it is not there yet; print its digest."""
    digest = run_async(_build(settings_of(ctx)))
    if as_json:
        print_json({"image": digest})
    else:
        print_lines([digest])


async def _build(settings: Settings) -> str:
    from runtime.cli.live import EventRenderer  # noqa: PLC0415 - `--help` does without
    from runtime.wiring import open_runtime  # noqa: PLC0415 - same

    with EventRenderer(console(settings, file=sys.stderr)) as renderer:
        async with open_runtime(settings=settings, progress=renderer.progress) as runtime:
            return (await runtime.sandbox()).image_digest

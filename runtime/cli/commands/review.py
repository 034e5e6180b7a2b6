"""`toolkiln review`: a person's yes or no to what waits for one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli import reviewpage, reviewvotes
from runtime.cli.invocation import settings_of
from runtime.cli.options import Ref
from runtime.cli.output import AsJson, print_json, print_rich, run_async
from runtime.cli.reviewlist import print_waiting
from runtime.cli.reviewshow import item_view, look_at
from runtime.cli.toolviews import version_json
from runtime.settings import Colour

if TYPE_CHECKING:
    from policies.value import JsonObject
    from runtime.settings import Settings

app = typer.Typer(help="Approve or reject what waits for a person.")


@app.callback(invoke_without_command=True)
def desk(
    ctx: typer.Context,
    *,
    as_json: AsJson = False,
) -> None:
    """Approve or reject what waits for a person: without a command, on the whole terminal."""
    if ctx.invoked_subcommand is not None:
        return
    settings = settings_of(ctx)
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        print_waiting(settings, as_json=as_json)
        return
    run_async(_screen(settings))


async def _screen(settings: Settings) -> None:
    from runtime.cli.reviewapp import run_screen  # noqa: PLC0415 - lists do without
    from runtime.wiring import open_runtime  # noqa: PLC0415 - same

    async with open_runtime(settings=settings) as runtime:
        colour = settings.colour is not Colour.NEVER
        await run_screen(runtime.desk, settings.principal, colour=colour)


@app.command("list")
def list_(
    ctx: typer.Context,
    *,
    as_json: AsJson = False,
) -> None:
    """List the versions that wait, as far as you may read them."""
    print_waiting(settings_of(ctx), as_json=as_json)


@app.command()
def show(
    ctx: typer.Context,
    ref: Ref,
    *,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Run the trials once more to see what they reach.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show everything that a reviewer needs.

    What changed, what it can reach, findings, trials, source, who uses it, earlier votes.
    A bare NAME means the version that waits, if exactly one does.
    """
    settings = settings_of(ctx)
    version, item = run_async(look_at(settings, ref, measured=coverage))
    if as_json:
        review: JsonObject = item.model_dump(mode="json")
        print_json({**version_json(version), "shown": item.shown, "review": review})
    else:
        print_rich(settings, item_view(item))


app.command()(reviewvotes.approve)
app.command()(reviewvotes.reject)
app.command()(reviewpage.serve)
app.add_typer(reviewpage.tokens, name="token")

"""`toolkiln sandbox`: the image that tools run in, and what it costs to run them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.bench.groups import Group
from runtime.cli.invocation import settings_of
from runtime.cli.output import (
    AsJson,
    answer_no,
    console,
    json_of,
    print_json,
    print_lines,
    print_rich,
    run_async,
)

if TYPE_CHECKING:
    from runtime.bench.plan import Plan
    from runtime.bench.report import BenchReport
    from runtime.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Prepare and measure the sandbox.")


@app.callback()
def _group() -> None:
    """Prepare and measure the sandbox."""


@app.command()
def build(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """Build the guest image from this interpreter; print its digest.

    Nothing is done where it is there already.
    """
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


@app.command()
def bench(  # noqa: PLR0913 - each is one choice of a person
    ctx: typer.Context,
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="See that it works; the times say little.")
    ] = False,
    group: Annotated[
        list[Group] | None,
        typer.Option("--group", metavar="GROUP", help=f"Of {', '.join(Group)}; may be repeated."),
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option("--runtime", metavar="NAME", help="One that the engine lists; repeatable."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw it, as .svg or .png (needs matplotlib)."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 if anything that is wanted is missed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure what calls cost here, on every runtime of the engine.

    Beside the bare engine and the bare kernel. Takes about five minutes, or a quarter of one with
    --quick, on a machine that should do nothing else meanwhile.
    """
    from runtime.bench.plan import plan_of  # noqa: PLC0415 - `--help` does without
    from runtime.bench.plot import draw, needs  # noqa: PLC0415 - same

    settings = settings_of(ctx)
    if plot is not None:
        needs(plot)
    plan = plan_of(
        "toolkiln sandbox bench", quick=quick, groups=group or (), runtimes=runtime or ()
    )
    report = run_async(_bench(settings, plan))
    if plot is not None:
        draw(report, plot)
    if as_json:
        print_json(json_of(report))
    else:
        _show(settings, report)
    if check and any(each.ok is False for each in report.checks):
        answer_no()


async def _bench(settings: Settings, plan: Plan) -> BenchReport:
    from runtime.bench.run import bench_engine  # noqa: PLC0415 - `--help` does without
    from runtime.cli.live import EventRenderer  # noqa: PLC0415 - same

    with EventRenderer(console(settings, file=sys.stderr)) as renderer:
        return await bench_engine(
            settings.docker_host,
            settings.home / "sandbox",
            plan,
            progress=renderer.progress,
        )


def _show(settings: Settings, report: BenchReport) -> None:
    from runtime.bench.table import report_view  # noqa: PLC0415 - JSON does without

    print_rich(settings, report_view(report))

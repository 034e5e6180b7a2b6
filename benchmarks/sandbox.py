"""What the sandbox costs, beside the bare engine, the bare kernel, and other libraries.

    python benchmarks/sandbox.py [--peers-python PYTHON] [--json FILE] [--plot FILE] [--quick]
    python benchmarks/sandbox.py --posture [--peers-python PYTHON] [--json FILE]

`benchmarks/peers/setup` makes the environment of the other libraries and prints its Python.
docs/benchmarks.md says what is measured and what the columns mean.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

# Before this file's own folder, in which it would be taken for the package `sandbox`.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pydantic import BaseModel
from rich.console import Console, RenderableType

from benchmarks.peers.ask import Peers, open_peers
from runtime.bench.groups import Group
from runtime.bench.plan import Plan, plan_of
from runtime.bench.plot import draw, needs
from runtime.bench.posture import (
    HOST_MARK,
    PostureReport,
    SeenPosture,
    posture_markdown,
    posture_report,
    posture_view,
    probe_tiers,
)
from runtime.bench.report import BenchReport
from runtime.bench.run import bench_engine
from runtime.bench.table import markdown, report_view
from sandbox.docker_sandbox import open_docker_sandbox
from sandbox.engine import Engine
from sandbox.runtimes import distinct, list_runtimes


def say(text: str) -> None:
    """Show how far it has come."""
    print(text, file=sys.stderr, flush=True)


async def measure(plan: Plan, host: str | None, state: Path, peers: Peers) -> BenchReport:
    """Everything that is timed."""
    report = await bench_engine(host, state, plan, progress=say, also=peers.take_turn)
    versions = tuple(f"{name} {version}" for name, version in peers.versions.items())
    skipped = (*report.skipped, *peers.missing, *peers.failed)
    return report.model_copy(update={"peers": versions, "skipped": skipped})


async def look_around(
    host: str | None, state: Path, names: Sequence[str], peers: Peers
) -> PostureReport:
    """The probe, in ours on each runtime and tier and in each peer."""
    os.environ[HOST_MARK] = "1"
    engine = await Engine.connect(host)
    try:
        listed = [runtime.name for runtime in distinct(await list_runtimes(engine))]
    finally:
        await engine.close()
    found: list[SeenPosture] = []
    for name in names or listed:
        say(f"looking around on {name}")
        async with await open_docker_sandbox(
            state_dir=state, docker_host=host, progress=say, runtime=name
        ) as sandbox:
            found += await probe_tiers(sandbox, name)
    say("looking around in the peers")
    return posture_report([*found, *await peers.look_around()])


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers-python", type=Path, help="what benchmarks/peers/setup prints")
    parser.add_argument("--posture", action="store_true", help="look around instead of measuring")
    parser.add_argument("--quick", action="store_true", help="see that it works")
    parser.add_argument("--group", action="append", type=Group, choices=list(Group), default=[])
    parser.add_argument("--runtime", action="append", default=[], help="default: all")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--plot", type=Path, help="draw it, as .svg or .png")
    parser.add_argument("--markdown", action="store_true", help="print tables for a document")
    parser.add_argument("--state", type=Path, default=Path.home() / ".toolkiln" / "sandbox")
    return parser.parse_args()


async def run(chosen: argparse.Namespace) -> BenchReport | PostureReport:
    """Do what was asked for."""
    host = os.environ.get("DOCKER_HOST")
    async with AsyncExitStack() as stack:
        peers = await stack.enter_async_context(open_peers(chosen.peers_python))
        if chosen.posture:
            return await look_around(host, chosen.state, chosen.runtime, peers)
        plan = plan_of(
            "benchmarks/sandbox.py",
            quick=chosen.quick,
            groups=chosen.group,
            runtimes=chosen.runtime,
        )
        return await measure(plan, host, chosen.state, peers)


def write_json(report: BaseModel, file: Path) -> None:
    """All that was found."""
    file.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Measure or look around, print a table, and write what was asked for."""
    chosen = options()
    if chosen.plot is not None:
        needs(chosen.plot)
    report = asyncio.run(run(chosen))
    if chosen.json is not None:
        write_json(report, chosen.json)
    shown: RenderableType
    if isinstance(report, PostureReport):
        shown = posture_markdown(report) if chosen.markdown else posture_view(report)
    else:
        shown = markdown(report) if chosen.markdown else report_view(report)
        if chosen.plot is not None:
            draw(report, chosen.plot)
    if isinstance(shown, str):
        print(shown)
    else:
        Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the tool store costs with ten thousand tools in it.

    python benchmarks/store.py [--tools 10000] [--repeats 20] [--json FILE]

Medians. `wall` is what somebody waits, and says as much about the machine's other work;
`cpu` is the processor time of this process, or of the whole child process for the rows that
start one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from factories import make_submission
from storekit import bulk_submission, fill

from toolstore.listing import summaries_sync
from toolstore.models import Lifecycle, ToolRef
from toolstore.search import Bm25Index
from toolstore.store import ToolStore

ROOT = Path(__file__).resolve().parents[1]
LIST = (
    "import pathlib, sys; from toolstore.listing import summaries_sync; "
    "print(len(summaries_sync(pathlib.Path(sys.argv[1]))))"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    wall_ms: float
    cpu_ms: float
    repeats: int


async def measure(what: str, repeats: int, work: Callable[[], Awaitable[object]]) -> Row:
    """Medians of `repeats` runs, after one that does not count."""
    await work()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        await work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Row(what, statistics.median(walls) * 1e3, statistics.median(cpus) * 1e3, repeats)


def measure_process(what: str, repeats: int, arguments: list[str], home: Path) -> Row:
    """The same for a whole process, its start and imports included."""
    walls, cpus = [], []
    for _ in range(repeats):
        before, wall = os.times(), time.perf_counter()
        subprocess.run(  # noqa: S603 - our own interpreter and arguments
            arguments,
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "TOOLKILN_HOME": str(home)},
        )
        walls.append(time.perf_counter() - wall)
        after = os.times()
        cpus.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
    return Row(what, statistics.median(walls) * 1e3, statistics.median(cpus) * 1e3, repeats)


async def in_process(folder: Path, tools: int, repeats: int) -> list[Row]:
    """Everything that runs inside a session."""
    middle = bulk_submission(tools // 2).source.name
    rows: list[Row] = []
    few = max(repeats // 10, 2)

    async def open_and_close() -> None:
        await (await ToolStore.open(folder)).close()

    async def quick_list() -> object:
        return summaries_sync(folder)

    rows.append(await measure("open and close", repeats, open_and_close))
    rows.append(await measure("summaries_sync", repeats, quick_list))
    async with await ToolStore.open(folder) as store:

        async def heads() -> None:
            for _ in range(1000):
                store.head()

        async def approved() -> object:
            return await store.summaries([Lifecycle.APPROVED])

        number = 0

        async def admit() -> object:
            nonlocal number
            number += 1
            return await store.admit(make_submission(f"new_tool_{number}"), actor="benchmark")

        documents = await store.search_documents()
        index = Bm25Index(documents)

        async def build() -> object:
            return Bm25Index(documents)

        async def search() -> object:
            return index.search("parse a date in a strict way", 10)

        rows += [
            await measure("1000 x head", repeats, heads),
            await measure("summaries, approved", repeats, approved),
            await measure("get one, verified", repeats, lambda: store.get(ToolRef(name=middle))),
            await measure("admit one", repeats, admit),
            await measure("search documents, verified", few, store.search_documents),
            await measure("build search index", few, build),
            await measure("search", repeats, search),
            await measure("current versions, verified", few, store.current_versions),
            await measure("verify everything", few, store.verify),
        ]
    return rows


def main() -> None:
    """Fill a store, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tools", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "store"
        fill(folder, given.tools)
        listing = [sys.executable, "-m", "runtime", "tools", "list"]
        quick = [sys.executable, "-c", LIST, str(folder)]
        rows = [
            measure_process("toolkiln tools list", given.repeats, listing, Path(home)),
            measure_process("a process that lists", given.repeats, quick, folder),
            *asyncio.run(in_process(folder, given.tools, given.repeats)),
        ]
    print(
        f"{given.tools} tools; Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )
    print(f"{'':32}{'wall ms':>12}{'cpu ms':>12}{'runs':>6}")
    for row in rows:
        print(f"{row.what:32}{row.wall_ms:12.2f}{row.cpu_ms:12.2f}{row.repeats:6}")
    if given.json is not None:
        document = {
            "tools": given.tools,
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "rows": [asdict(row) for row in rows],
        }
        given.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()

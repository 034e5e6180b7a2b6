"""What the tool store costs with many tools in it, on SQLite and on PostgreSQL.

    python benchmarks/store.py [--tools 10000] [--repeats 20] [--signed] [--json FILE]

Medians. `wall` is what somebody waits, and says as much about the machine's other work;
`cpu` is the processor time of this process, or of the whole child process for the rows that
start one. `ratio` is wall against one row by its key, asked of the same database by its driver
alone in the same run: it says what the store adds, whatever the machine. PostgreSQL is measured
where its server is installed: one of the benchmark's own, on loopback, with durable commits.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import psycopg
from factories import make_submission
from postgres_server import PostgresServer, find_programs
from storekit import bulk_submission, fill

from toolstore.attest.keys import KeyRing
from toolstore.copying import copy_rows
from toolstore.files import DATABASE_NAME
from toolstore.index import database_at
from toolstore.listing import summaries_sync
from toolstore.models import Lifecycle, ToolRef
from toolstore.search import Bm25Index
from toolstore.store import ToolStore

ROOT = Path(__file__).resolve().parents[1]
LIST = (
    "import pathlib, sys; from toolstore.listing import summaries_sync; "
    "print(len(summaries_sync(pathlib.Path(sys.argv[1]))))"
)
PAGE = 50
IN_MEMORY = 20_000
"""Up to so many tools everything is read; more take minutes."""

QUERIES = {
    "find, words of one tool": "rank tree 4242",
    "find, words of many": "parse a date in a strict way",
    "find, one word of every tenth": "matrix",
    "find, words that all have": "a number in a way",
}


@dataclass(frozen=True, slots=True)
class Given:
    """What is to be measured."""

    tools: int
    repeats: int
    keys: KeyRing | None

    async def open(self, location: Path | str) -> ToolStore:
        """The store, with keys where it is signed."""
        seen = None if self.keys is None else self.keys.folder.parent / "checkpoints"
        return await ToolStore.open(location, keys=self.keys, seen=seen)


BASELINE = "one row by its key, driver alone"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    database: str
    what: str
    wall_ms: float
    cpu_ms: float
    repeats: int


async def measure(
    database: str, what: str, repeats: int, work: Callable[[], Awaitable[object]]
) -> Row:
    """Medians of `repeats` runs, after one that does not count."""
    await work()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        await work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Row(
        database, what, statistics.median(walls) * 1e3, statistics.median(cpus) * 1e3, repeats
    )


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
    return Row(
        "sqlite", what, statistics.median(walls) * 1e3, statistics.median(cpus) * 1e3, repeats
    )


async def in_process(
    database: str, location: Path | str, given: Given, ask: Callable[[], object]
) -> list[Row]:
    """Everything that runs inside a session."""
    tools, repeats = given.tools, given.repeats
    middle = bulk_submission(tools // 2).source.name
    few = max(repeats // 10, 1)
    rows: list[Row] = []

    async def row(what: str, runs: int, work: Callable[[], Awaitable[object]]) -> None:
        rows.append(await measure(database, what, runs, work))

    async def baseline() -> object:
        return ask()

    async def open_and_close() -> None:
        await (await given.open(location)).close()

    await row(BASELINE, repeats * 10, baseline)
    await row("open and close", repeats, open_and_close)
    async with await given.open(location) as store:

        async def heads() -> None:
            for _ in range(1000):
                store.head()

        async def first_page() -> object:
            return await store.summaries([Lifecycle.APPROVED], limit=PAGE)

        async def middle_page() -> object:
            return await store.summaries([Lifecycle.APPROVED], limit=PAGE, after=(middle, 1))

        number = 0

        async def admit() -> object:
            nonlocal number
            number += 1
            return await store.admit(make_submission(f"new_tool_{number}"), actor="benchmark")

        await row("1000 x head", repeats, heads)
        await row("offers of all, as a session begins", few, store.offers)
        await row(f"first page of {PAGE}", repeats, first_page)
        await row(f"page of {PAGE} in the middle", repeats, middle_page)
        rows += [
            await measure(database, what, repeats, partial(store.search, query, 10))
            for what, query in QUERIES.items()
        ]
        await row("get one, verified", repeats, lambda: store.get(ToolRef(name=middle)))
        await row("admit one", repeats, admit)
        await row("summaries of all", few, lambda: store.summaries([Lifecycle.APPROVED]))
        if tools <= IN_MEMORY:
            rows += await in_memory(database, store, few)
    return rows


async def in_memory(database: str, store: ToolStore, repeats: int) -> list[Row]:
    """What a search would wait for, were the index not kept; and what an audit takes."""
    documents = await store.search_documents()

    async def build() -> object:
        return Bm25Index(documents)

    return [
        await measure(database, "search documents, verified", repeats, store.search_documents),
        await measure(database, "build an index in memory", repeats, build),
        await measure(database, "verify everything", 1, store.verify),
    ]


@contextlib.contextmanager
def sqlite_row(folder: Path) -> Iterator[Callable[[], object]]:
    """One row by its key, by the driver alone."""
    connection = sqlite3.connect(folder / DATABASE_NAME)
    query = "SELECT hash FROM event WHERE sequence = 1"
    with contextlib.closing(connection):
        yield lambda: connection.execute(query).fetchone()


@contextlib.contextmanager
def postgres_row(url: str) -> Iterator[Callable[[], object]]:
    """The same of PostgreSQL."""
    query = "SELECT hash FROM event WHERE sequence = 1"
    with psycopg.connect(url, autocommit=True) as connection:
        yield lambda: connection.execute(query, prepare=True).fetchone()


@contextlib.contextmanager
def postgres() -> Iterator[str | None]:
    """A database on a durable server of our own; None where none is installed."""
    programs = find_programs()
    if programs is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="toolkiln-benchmark-") as folder:
        server = PostgresServer(
            programs,
            Path(folder),
            fsync="on",
            full_page_writes="on",
            synchronous_commit="on",
            autovacuum="on",
        )
        server.make()
        server.start()
        try:
            yield server.new_database()
        finally:
            server.stop()


def on_sqlite(folder: Path, given: Given) -> list[Row]:
    """Measure the store in `folder`, whole processes as well."""
    listing = [sys.executable, "-m", "runtime", "tools", "list"]
    quick = [sys.executable, "-c", LIST, str(folder)]
    few = max(given.repeats // 4, 1)
    with sqlite_row(folder) as ask:
        rows = asyncio.run(in_process("sqlite", folder, given, ask))
    return [
        *rows,
        measure_process("toolkiln tools list", few, listing, folder.parent),
        measure_process("a process that lists", few, quick, folder),
        asyncio.run(measure("sqlite", "summaries_sync", few, lambda: _listed(folder))),
    ]


async def _listed(folder: Path) -> object:
    return summaries_sync(folder)


def on_postgres(folder: Path, given: Given) -> tuple[list[Row], str | None]:
    """Put what is in `folder` into a database and measure; and the version of the server."""
    with postgres() as url:
        if url is None:
            return [], None
        source, target = database_at(folder), database_at(url)
        target.prepare()
        with (
            source.connect(writes=False) as taken,
            taken.begin(),
            target.connect(writes=True) as written,
            written.begin(),
        ):
            copy_rows(taken, written, lambda _what, _done, _count: None)
            target.after_bulk(written)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")  # what the server does by itself within minutes
            version = str(connection.info.parameter_status("server_version"))
        with postgres_row(url) as ask:
            return asyncio.run(in_process("postgresql", url, given, ask)), version


async def sign(folder: Path, given: Given) -> None:
    """Vouch for everything in the store."""
    async with await given.open(folder) as store:
        await store.signatures.sign(actor="benchmark")


def main() -> None:
    """Fill the stores, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tools", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--signed", action="store_true", help="sign it first; 4 ms a tool")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "store"
        fill(folder, arguments.tools)
        keys = KeyRing(Path(home) / "keys") if arguments.signed else None
        given = Given(arguments.tools, arguments.repeats, keys)
        if arguments.signed:
            asyncio.run(sign(folder, given))
        # The server first: measuring adds a few tools.
        more, server = on_postgres(folder, given)
        rows = [*on_sqlite(folder, given), *more]
    print(
        f"{given.tools} tools, {'signed' if arguments.signed else 'not signed'}; "
        f"Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, PostgreSQL {server or 'not installed'}"
    )
    base = {row.database: row.wall_ms for row in rows if row.what == BASELINE}
    print(f"{'':44}{'wall ms':>12}{'cpu ms':>12}{'ratio':>10}{'runs':>6}")
    for row in rows:
        name, ratio = f"{row.database}: {row.what}", row.wall_ms / base[row.database]
        print(f"{name:44}{row.wall_ms:12.3f}{row.cpu_ms:12.3f}{ratio:10.0f}{row.repeats:6}")
    if arguments.json is not None:
        document = {
            "tools": given.tools,
            "signed": arguments.signed,
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "postgresql": server,
            "rows": [{**asdict(row), "ratio": row.wall_ms / base[row.database]} for row in rows],
        }
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()

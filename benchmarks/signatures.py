"""What signatures add to a load: one version, verified whole, with keys and without.

    python benchmarks/signatures.py [--versions 300]

Prints medians in microseconds of the thread's own time, of a load for the first time in a process
(three signatures: linter, sandbox, admitter), again, and of the same store opened without keys.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from factories import make_submission
from sqlalchemy import Connection

from toolstore import reading
from toolstore.assemble import VersionRow
from toolstore.attest.guard import bind
from toolstore.attest.keys import KeyRing
from toolstore.store import ToolStore

WARM = 10
"""Loads that do not count: they import and compile."""


async def main() -> None:
    """Fill a store, load from it, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        location, keys = Path(folder) / "store", KeyRing(Path(folder) / "keys")
        async with await ToolStore.open(location, keys=keys) as store:
            for number in range(given.versions):
                await store.admit(make_submission(f"tool_{number}"), actor="benchmark")
            first, again, plain = await store._reads.run(measure)  # noqa: SLF001 - the load alone
    print(f"first {first:.0f} us, again {again:.0f} us, without keys {plain:.0f} us")
    print(f"added: first {first - plain:.0f} us, again {again - plain:.0f} us")


def measure(connection: Connection) -> tuple[float, float, float]:
    """Median microseconds of a load: for the first time, again, and without keys."""
    rows = reading.all_rows(connection)
    for row in rows[:WARM]:
        reading.load(connection, row, to_call=True)
    first, again = median(connection, rows[WARM:]), median(connection, rows[WARM:])
    bind(connection, None)
    return first, again, median(connection, rows[WARM:])


def median(connection: Connection, rows: Sequence[VersionRow]) -> float:
    """Median microseconds of a load of these."""
    taken = []
    for row in rows:
        start = time.thread_time()
        reading.load(connection, row, to_call=True)
        taken.append((time.thread_time() - start) * 1e6)
    return statistics.median(taken)


if __name__ == "__main__":
    asyncio.run(main())

"""What signatures add to a load: one version, verified whole, with keys and without.

    python benchmarks/signatures.py [--versions 1000] [--loads 200]

Prints the median of each and the difference, in microseconds of the thread's own time: the
queries, three signatures (linter, sandbox, admitter), the path in the map and the log's end.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from factories import make_submission
from sqlalchemy import Connection

from toolstore import reading
from toolstore.assemble import VersionRow
from toolstore.attest.guard import bind, guard_of
from toolstore.attest.keys import KeyRing
from toolstore.models import ToolRef
from toolstore.store import ToolStore


async def main() -> None:
    """Fill a store, load from it, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=int, default=1_000)
    parser.add_argument("--loads", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        keys = KeyRing(Path(folder) / "keys")
        async with await ToolStore.open(Path(folder) / "store", keys=keys) as store:
            for number in range(given.versions):
                await store.admit(make_submission(f"tool_{number}"), actor="benchmark")
            signed, plain = await store._reads.run(  # noqa: SLF001 - nothing but the load itself
                lambda connection: measure(connection, given.loads)
            )
    print(f"with keys {signed:.0f} us, without {plain:.0f} us, added {signed - plain:.0f} us")


def measure(connection: Connection, loads: int) -> tuple[float, float]:
    """Median microseconds of a load with keys and without."""
    row = reading.find_row(connection, ToolRef(name="tool_0"))
    guard = guard_of(connection)
    signed = median(connection, row, loads)
    bind(connection, None)
    plain = median(connection, row, loads)
    bind(connection, guard)
    return signed, plain


def median(connection: Connection, row: VersionRow, loads: int) -> float:
    """Median microseconds of a load, the first few thrown away."""
    taken = []
    for _ in range(loads + 5):
        start = time.thread_time()
        reading.load(connection, row, to_call=True)
        taken.append((time.thread_time() - start) * 1e6)
    return statistics.median(taken[5:])


if __name__ == "__main__":
    asyncio.run(main())

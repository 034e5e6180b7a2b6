"""How long a person waits for `toolkiln tools list` on many tools: whole processes, cold.

    python benchmarks/cli.py [--tools 10000] [--repeats 10] [--json FILE]

The store is built in a temporary folder through `ToolStore.admit`, as real admissions do it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from factories import make_submission

from toolstore.attest.keys import KeyRing
from toolstore.store import ToolStore

COMMANDS = {
    "--version": ["--version"],
    "tools --help": ["tools", "--help"],
    "tools list": ["tools", "list"],
    "tools list --json": ["tools", "list", "--json"],
    "review list": ["review", "list"],
}


async def fill(home: Path, tools: int) -> float:
    """Admit that many tools; answers how long it took."""
    start = time.perf_counter()
    keys, seen = KeyRing(home / "keys"), home / "checkpoints"
    async with await ToolStore.open(home / "store", keys=keys, seen=seen) as store:
        for number in range(tools):
            await store.admit(make_submission(f"tool_number_{number}"), actor="benchmark")
    return time.perf_counter() - start


def measure(home: Path, arguments: list[str], repeats: int) -> list[float]:
    """Seconds of whole processes, the first one thrown away."""
    command = [sys.executable, "-m", "runtime", *arguments]
    environment = {"PATH": os.defpath, "TOOLKILN_HOME": str(home)}
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - ourselves
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def main() -> None:
    """Build the store, measure, print a table and, if asked, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--home", type=Path, help="use the store that is there")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder)
        filled = 0.0 if options.home else asyncio.run(fill(home, options.tools))
        results = {name: measure(home, words, options.repeats) for name, words in COMMANDS.items()}
    print(f"{options.tools} tools, admitted in {filled:.1f} s; {options.repeats} processes each")
    print(f"{'command':20} {'median':>8} {'worst':>8}   (ms)")
    for name, seconds in results.items():
        print(f"{name:20} {statistics.median(seconds) * 1e3:8.0f} {max(seconds) * 1e3:8.0f}")
    if options.json:
        document = {
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "tools": options.tools,
            "fill_seconds": filled,
            "seconds": results,
        }
        options.json.write_text(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()

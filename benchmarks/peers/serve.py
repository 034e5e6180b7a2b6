"""Runs one peer for the benchmark: orders on standard input, answers on standard output.

    PEERS-PYTHON benchmarks/peers/serve.py MODULE

Both are JSON, one a line. It is run by the Python of an environment that has the peers, so that
their dependencies never meet those of toolkiln. Orders:

    {"do": "fresh", "calls": 3, "at_once": 1}    the work, each time in a new environment
    {"do": "reused", "calls": 10}                the work, all in one environment
    {"do": "probe", "source": "..."}             one program in a new environment

The first line of all says who is there, or `{"missing": "..."}` where it is not installed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.work import Peer, last_line, program


def _add(peer_run: Any, number: int) -> None:
    answer = last_line(peer_run(program(number, 3)))
    if answer != {"sum": number + 3}:
        raise ValueError(f"{number} + 3 gave {answer!r}")


def _timed_fresh(peer: Peer, number: int) -> float:
    start = time.perf_counter()
    with peer.session() as run:
        _add(run, number)
    return time.perf_counter() - start


def fresh(peer: Peer, calls: int, at_once: int) -> dict[str, Any]:
    """Seconds of each call, its environment made and removed, and of all together."""
    start = time.perf_counter()
    if at_once == 1:
        seconds = [_timed_fresh(peer, number) for number in range(calls)]
    else:
        with ThreadPoolExecutor(at_once) as threads:
            seconds = list(threads.map(lambda number: _timed_fresh(peer, number), range(calls)))
    return {"seconds": seconds, "wall_seconds": time.perf_counter() - start}


def reused(peer: Peer, calls: int) -> dict[str, Any]:
    """Seconds of each call in one environment, after one that does not count."""
    seconds = []
    with peer.session() as run:
        _add(run, 0)
        begin = time.perf_counter()
        for number in range(calls):
            start = time.perf_counter()
            _add(run, number)
            seconds.append(time.perf_counter() - start)
        wall = time.perf_counter() - begin
    return {"seconds": seconds, "wall_seconds": wall}


def probe(peer: Peer, source: str) -> dict[str, Any]:
    """What a program prints on its last line, in a new environment."""
    with peer.session() as run:
        return {"value": last_line(run(source))}


def obey(peer: Peer, order: dict[str, Any]) -> dict[str, Any]:
    """Carry out one order; a failure is an answer too."""
    try:
        match order:
            case {"do": "fresh", "calls": calls, "at_once": at_once}:
                return fresh(peer, calls, at_once)
            case {"do": "reused", "calls": calls}:
                return reused(peer, calls)
            case {"do": "probe", "source": source}:
                return probe(peer, source)
            case _:
                return {"error": f"no such order: {order!r}"}
    except Exception as error:  # noqa: BLE001  of a library that is not ours
        return {"error": f"{type(error).__name__}: {error}"[:2000]}


def introduce(module: str) -> tuple[Peer | None, dict[str, Any]]:
    """The peer and what it says of itself."""
    try:
        peer: Peer = importlib.import_module(f"benchmarks.peers.{module}").PEER
    except ImportError as error:
        return None, {"missing": str(error)}
    return peer, {
        "name": peer.name,
        "version": importlib.metadata.version(peer.distribution),
        "fresh": peer.fresh,
        "note": peer.note,
    }


def orders() -> Iterator[dict[str, Any]]:
    """What is asked on standard input."""
    for line in sys.stdin:
        yield json.loads(line)


def main() -> int:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    peer, words = introduce(sys.argv[1])
    answer(words)
    if peer is not None:
        for order in orders():
            answer(obey(peer, order))
    return 0


if __name__ == "__main__":
    sys.exit(main())

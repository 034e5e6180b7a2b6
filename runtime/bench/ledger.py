"""Gathers the samples of all rounds, and makes the rows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from runtime.bench.loops import Sample
from runtime.bench.meters import CpuReading, cpu_per_call
from runtime.bench.report import Kind, Row
from runtime.bench.samples import summarise

__all__ = ["WHAT", "Ledger"]

WHAT: Final = {
    Kind.FORK: "fork + wait",
    Kind.PIPE: "pipe round trip",
    Kind.PYTHON: "python3 -c",
    Kind.ENGINE_ATTACH: "engine create+start+attach",
    Kind.ENGINE_REMOVE: "engine create+start+remove",
    Kind.COLD: "container, cold",
    Kind.POOL_HIT: "container, pool hit",
    Kind.BURST: "container, burst",
    Kind.STEADY: "container, steady",
    Kind.PROCESS: "process tier",
    Kind.MEMORY: "warm container, own memory",
    Kind.TIMEOUT: "time-out, over the limit",
    Kind.PEER_FRESH: "fresh",
    Kind.PEER_REUSED: "reused",
}

_PEERS: Final = frozenset({Kind.PEER_FRESH, Kind.PEER_REUSED})
_WITH_RATES: Final = frozenset({Kind.BURST, Kind.STEADY, Kind.PROCESS})
"""Where one call follows the last without a pause even with one at once."""


@dataclass
class _Entry:
    seconds: list[float] = field(default_factory=list)
    wall_seconds: float = 0.0
    cpu: CpuReading | None = None
    cpu_calls: int = 0
    hits: int | None = None
    memory_bytes: int | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Ledger:
    """By what was done, on which runtime, with how many at once."""

    _entries: dict[tuple[Kind, str, int], _Entry] = field(default_factory=dict)

    def _entry(self, kind: Kind, runtime: str, at_once: int) -> _Entry:
        return self._entries.setdefault((kind, runtime, at_once), _Entry())

    def add(
        self,
        kind: Kind,
        sample: Sample,
        *,
        runtime: str = "",
        at_once: int = 1,
        hits: int | None = None,
    ) -> None:
        """The sample of one round."""
        entry = self._entry(kind, runtime, at_once)
        entry.seconds += sample.seconds
        entry.wall_seconds += sample.wall_seconds
        entry.cpu = sample.cpu if entry.cpu is None else entry.cpu.plus(sample.cpu)
        entry.cpu_calls += sample.cpu_calls
        if hits is not None:
            entry.hits = (entry.hits or 0) + hits

    def add_times(
        self,
        kind: Kind,
        seconds: Sequence[float],
        *,
        name: str = "",
        wall_seconds: float = 0.0,
        at_once: int = 1,
    ) -> None:
        """Times that were taken elsewhere; `name` tells peers apart."""
        entry = self._entry(kind, name, at_once)
        entry.seconds += seconds
        entry.wall_seconds += wall_seconds

    def note(self, kind: Kind, name: str, text: str) -> None:
        """Something to know about a peer's times."""
        self._entry(kind, name, 1).notes.append(text)

    def add_memory(self, runtime: str, size_bytes: int, how: str) -> None:
        """What a warm container of that runtime needs."""
        entry = self._entry(Kind.MEMORY, runtime, 1)
        entry.memory_bytes = size_bytes
        entry.notes.append(how)

    def rows(self) -> tuple[Row, ...]:
        """Everything, in the order of `Kind`, then by runtime as they came, then by how many."""
        kinds = list(Kind)
        runtimes = list(dict.fromkeys(runtime for _, runtime, _ in self._entries))
        ordered = sorted(
            self._entries.items(),
            key=lambda item: (kinds.index(item[0][0]), runtimes.index(item[0][1]), item[0][2]),
        )
        return tuple(_row(*key, entry) for key, entry in ordered)


def _row(kind: Kind, runtime: str, at_once: int, entry: _Entry) -> Row:
    has_rate = entry.seconds and entry.wall_seconds and (kind in _WITH_RATES or at_once > 1)
    # A peer has a name where we have a runtime.
    what, on = (runtime, WHAT[kind]) if kind in _PEERS else (WHAT[kind], runtime)
    return Row(
        kind=kind,
        what=what,
        runtime=on,
        at_once=at_once,
        latency=summarise(entry.seconds) if entry.seconds else None,
        calls_per_second=len(entry.seconds) / entry.wall_seconds if has_rate else None,
        cpu=cpu_per_call(entry.cpu, entry.cpu_calls) if entry.cpu else None,
        memory_bytes=entry.memory_bytes,
        pool_hits=entry.hits,
        note="; ".join(dict.fromkeys(entry.notes)),
    )

"""What the sandbox has to reach, held against what a run has found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from runtime.bench.report import Check, Kind, Row

__all__ = ["MEGABYTE", "checks_of", "compare"]

MEGABYTE: Final = 1_000_000

_BASELINES: Final = {
    Kind.COLD: Kind.ENGINE_ATTACH,
    Kind.POOL_HIT: Kind.PIPE,
    Kind.STEADY: Kind.ENGINE_REMOVE,
    Kind.PROCESS: Kind.FORK,
    Kind.PEER_FRESH: Kind.ENGINE_REMOVE,
}
"""Each is compared with this, of the same runtime and with as many at once."""


def compare(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The rows, with their ratios to the baselines among them."""
    known = tuple(rows)
    return tuple(_compared(row, known) for row in known)


def _compared(row: Row, rows: Sequence[Row]) -> Row:
    baseline = _BASELINES.get(row.kind)
    if baseline is None:
        return row
    other = _find(rows, baseline, row.runtime, row.at_once) or _bare(rows, baseline, row.at_once)
    if other is None:
        return row
    ratio = _ratio(row, other)
    return row if ratio is None else row.model_copy(update={"ratio": ratio, "against": other.what})


def _bare(rows: Sequence[Row], kind: Kind, at_once: int) -> Row | None:
    """The baseline of what has no runtime of its own, such as a peer: the first one's."""
    return next((row for row in rows if row.kind is kind and row.at_once == at_once), None)


def _ratio(row: Row, other: Row) -> float | None:
    if row.calls_per_second and other.calls_per_second:
        return row.calls_per_second / other.calls_per_second
    if row.latency and other.latency and other.latency.median_ms > 0:
        return row.latency.median_ms / other.latency.median_ms
    return None


def _find(rows: Iterable[Row], kind: Kind, runtime: str, at_once: int) -> Row | None:
    return next(
        (row for row in rows if (row.kind, row.runtime, row.at_once) == (kind, runtime, at_once)),
        None,
    )


def checks_of(rows: Sequence[Row], runtimes: Sequence[str]) -> tuple[Check, ...]:
    """Everything that is wanted; the first runtime is the one that the times hold for."""
    if not runtimes:
        return ()
    first = runtimes[0]
    return (
        *_latency_checks(rows, first),
        *_rate_checks(rows, first),
        *(check for runtime in runtimes for check in _timeout_checks(rows, runtime)),
    )


def _latency_checks(rows: Sequence[Row], runtime: str) -> tuple[Check, ...]:
    hit = _find(rows, Kind.POOL_HIT, runtime, 1)
    process = _find(rows, Kind.PROCESS, runtime, 1)
    cold = _find(rows, Kind.COLD, runtime, 1)
    memory = _find(rows, Kind.MEMORY, runtime, 1)
    return (
        Check(
            what="container, pool hit, median",
            runtime=runtime,
            measured=hit.latency.median_ms if hit and hit.latency else None,
            wanted=1.2,
            unit="ms",
        ),
        Check(
            what="container, pool hit, p95",
            runtime=runtime,
            measured=hit.latency.p95_ms if hit and hit.latency else None,
            wanted=5.0,
            unit="ms",
        ),
        Check(
            what="process tier, median",
            runtime=runtime,
            measured=process.latency.median_ms if process and process.latency else None,
            wanted=1.0,
            unit="ms",
        ),
        Check(
            what="cold, of create+start+attach",
            runtime=runtime,
            measured=cold.ratio if cold else None,
            wanted=1.2,
            unit="x",
        ),
        Check(
            what="warm container, own memory",
            runtime=runtime,
            measured=memory.memory_bytes / MEGABYTE if memory and memory.memory_bytes else None,
            wanted=12.0,
            unit="MB",
        ),
    )


def _rate_checks(rows: Sequence[Row], runtime: str) -> tuple[Check, ...]:
    process = _find(rows, Kind.PROCESS, runtime, 8)
    steady = _find(rows, Kind.STEADY, runtime, 8)
    return (
        Check(
            what="steady, 8 at once, of the engine",
            runtime=runtime,
            measured=steady.ratio if steady else None,
            wanted=0.9,
            unit="x",
            at_least=True,
        ),
        Check(
            what="process tier, 8 at once",
            runtime=runtime,
            measured=process.calls_per_second if process else None,
            wanted=1_000.0,
            unit="calls/s",
            at_least=True,
        ),
    )


def _timeout_checks(rows: Sequence[Row], runtime: str) -> tuple[Check, ...]:
    row = _find(rows, Kind.TIMEOUT, runtime, 1)
    return (
        Check(
            what="time-out, worst over the limit",
            runtime=runtime,
            measured=row.latency.worst_ms if row and row.latency else None,
            wanted=200.0,
            unit="ms",
        ),
    )

"""From single times to what is said of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from policies.value import Value

__all__ = ["Summary", "percentile", "summarise"]

_LEAST_FOR: Final = {0.95: 20, 0.99: 100}
"""Fewer samples than these say nothing about such a share."""


class Summary(Value):
    """The distribution of the times of one kind of call, in milliseconds."""

    count: int
    best_ms: float
    median_ms: float
    p95_ms: float | None
    """None where there are fewer than 20 samples."""

    p99_ms: float | None
    """None where there are fewer than 100 samples."""

    worst_ms: float


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the `ordered` ones lie, interpolated between ranks.

    Raises:
        ValueError: There are no values, or `share` is not from 0 to 1.
    """
    if not ordered:
        raise ValueError("no values, so no percentile of them")
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, expected 0 to 1")
    rank = share * (len(ordered) - 1)
    below, above = math.floor(rank), math.ceil(rank)
    low, high = ordered[below], ordered[above]
    return min(high, low + (high - low) * (rank - below))


def summarise(seconds: Sequence[float]) -> Summary:
    """What is said of these times.

    Raises:
        ValueError: There are none.
    """
    ordered = sorted(1_000 * each for each in seconds)
    tails = {
        share: percentile(ordered, share) if len(ordered) >= least else None
        for share, least in _LEAST_FOR.items()
    }
    return Summary(
        count=len(ordered),
        best_ms=percentile(ordered, 0),
        median_ms=percentile(ordered, 0.5),
        p95_ms=tails[0.95],
        p99_ms=tails[0.99],
        worst_ms=ordered[-1],
    )

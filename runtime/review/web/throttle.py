"""How often somebody may try to sign in.

By the address that asks, and over all: never by the name that is given, or anybody could lock a
reviewer out by failing in their name. Tokens have 256 bits, so what is limited is the work that
guesses make (each takes a slow hash), not their chance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

BURST: Final = 8
REFILL_SECONDS: Final = 15.0
"""After the burst, an address may try once in this time."""

BURST_OF_ALL: Final = 40
REFILL_SECONDS_OF_ALL: Final = 2.0
_MAX_ADDRESSES: Final = 10_000
_ALL: Final = ""


class Throttle:
    """Tokens in buckets: one for each address, one for all. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_seconds(self, address: str) -> float:
        """Take one try from the buckets; more than 0 where one is empty, and nothing is taken."""
        now = self._clock()
        plan = ((address, BURST, REFILL_SECONDS), (_ALL, BURST_OF_ALL, REFILL_SECONDS_OF_ALL))
        levels = {key: self._level(key, now, burst, refill) for key, burst, refill in plan}
        waits = [(1 - levels[key]) * refill for key, _, refill in plan if levels[key] < 1]
        if waits:
            return max(waits)
        for key, level in levels.items():
            self._buckets[key] = (level - 1, now)
        self._forget(now)
        return 0.0

    def give_back(self, address: str) -> None:
        """The try was a good one: it does not count."""
        for key, burst in ((address, BURST), (_ALL, BURST_OF_ALL)):
            if key in self._buckets:
                level, at = self._buckets[key]
                self._buckets[key] = (min(burst, level + 1), at)

    def _level(self, key: str, now: float, burst: int, refill: float) -> float:
        level, at = self._buckets.get(key, (float(burst), now))
        return min(burst, level + (now - at) / refill)

    def _forget(self, now: float) -> None:
        if len(self._buckets) <= _MAX_ADDRESSES:
            return
        full_after = BURST * REFILL_SECONDS
        kept = {k: v for k, v in self._buckets.items() if k == _ALL or now - v[1] < full_after}
        # Many more addresses than reviewers: the bucket of all holds them back.
        self._buckets = kept if len(kept) <= _MAX_ADDRESSES else {_ALL: kept[_ALL]}

"""How much is measured: rounds in which everything has its turn, so that noise hits all alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from runtime.bench.groups import Group

__all__ = ["FULL", "QUICK", "Plan", "Share", "Slice", "plan_of"]

BURST: Final = 16


@dataclass(frozen=True)
class Share:
    """How often each thing is done in a round, on one runtime."""

    engine: int
    """Each of the two floors of the engine."""

    cold: int
    hits: int
    process: int
    process_at_once: int
    time_outs: int


@dataclass(frozen=True)
class Slice:
    """Steady load with so many callers, in pieces between which the others have their turn."""

    at_once: int
    pieces: int
    seconds: float
    """Of each piece of ours."""

    engine_seconds: float
    """Of each piece of the engine by itself, which comes before it."""


@dataclass(frozen=True)
class Plan:
    """One run."""

    rounds: int
    bare: int
    """`python3 -c` in a round; forks and pipes are twenty times that."""

    first: Share
    """For the engine's default runtime, which what is wanted is about."""

    others: Share
    burst: int
    burst_rounds: int
    """In how many of the rounds there is a burst; filling the pool for it takes long."""

    slices: tuple[Slice, ...]
    """Of the steady load on the first runtime."""

    other_slices: tuple[Slice, ...]
    command: str = ""
    """What somebody typed to get this, without its options."""

    quick: bool = False
    runtimes: tuple[str, ...] = ()
    """The ones that are measured; none named is all that the engine lists."""

    groups: frozenset[Group] = field(default=frozenset(Group))

    def share(self, *, first: bool) -> Share:
        """For a runtime."""
        return self.first if first else self.others


FULL: Final = Plan(
    rounds=3,
    bare=10,
    first=Share(engine=6, cold=7, hits=34, process=350, process_at_once=500, time_outs=2),
    others=Share(engine=3, cold=3, hits=8, process=100, process_at_once=200, time_outs=1),
    burst=BURST,
    burst_rounds=2,
    slices=(
        Slice(at_once=8, pieces=4, seconds=15.0, engine_seconds=6.0),
        Slice(at_once=1, pieces=1, seconds=6.0, engine_seconds=5.0),
        Slice(at_once=4, pieces=1, seconds=6.0, engine_seconds=5.0),
        Slice(at_once=16, pieces=1, seconds=6.0, engine_seconds=5.0),
    ),
    other_slices=tuple(
        Slice(at_once=at_once, pieces=1, seconds=4.0, engine_seconds=4.0)
        for at_once in (1, 4, 8, 16)
    ),
)
"""A minute at eight at once, which is what steady means; the rest shorter."""

QUICK: Final = Plan(
    rounds=1,
    bare=2,
    first=Share(engine=2, cold=2, hits=4, process=20, process_at_once=32, time_outs=1),
    others=Share(engine=1, cold=1, hits=1, process=5, process_at_once=8, time_outs=1),
    burst=4,
    burst_rounds=1,
    slices=(Slice(at_once=4, pieces=1, seconds=1.0, engine_seconds=1.0),),
    other_slices=(),
    quick=True,
)
"""Shows that everything works; its times say little."""


def plan_of(command: str, *, quick: bool, groups: Iterable[Group], runtimes: Iterable[str]) -> Plan:
    """What somebody asked for; no groups and no runtimes named are all of them."""
    plan = QUICK if quick else FULL
    return replace(
        plan,
        command=command,
        groups=frozenset(groups) or plan.groups,
        runtimes=tuple(runtimes),
    )

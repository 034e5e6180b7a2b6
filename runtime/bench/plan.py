"""How much is measured: rounds in which everything has its turn, so that noise hits all alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from runtime.bench.groups import Group

__all__ = ["FULL", "QUICK", "Plan", "Share", "plan_of"]

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
class Plan:
    """One run."""

    rounds: int
    bare: int
    """`python3 -c` in a round; forks and pipes are twenty times that."""

    first: Share
    """For the engine's default runtime, which what is wanted is about."""

    others: Share
    burst: int
    slices: tuple[tuple[int, int, float], ...]
    """Of the steady load on the first runtime: how many at once, how many slices, seconds of a
    slice. The engine by itself has half of that between them."""

    other_slices: tuple[tuple[int, int, float], ...]
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
    rounds=4,
    bare=8,
    first=Share(engine=5, cold=5, hits=25, process=250, process_at_once=500, time_outs=2),
    others=Share(engine=3, cold=3, hits=8, process=100, process_at_once=200, time_outs=1),
    burst=BURST,
    slices=((8, 4, 15.0), (1, 2, 4.0), (4, 2, 4.0), (16, 2, 4.0)),
    other_slices=((1, 1, 5.0), (4, 1, 5.0), (8, 1, 5.0), (16, 1, 5.0)),
)
"""A minute at eight at once, which is what steady means; the rest shorter."""

QUICK: Final = Plan(
    rounds=1,
    bare=2,
    first=Share(engine=2, cold=2, hits=4, process=20, process_at_once=32, time_outs=1),
    others=Share(engine=1, cold=1, hits=1, process=5, process_at_once=8, time_outs=1),
    burst=4,
    slices=((4, 1, 1.0),),
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

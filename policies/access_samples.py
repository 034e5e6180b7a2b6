"""Requests that tell rules apart: made of the names that rules mention, and of one of each other.

Rules compare with names that stand in them, so a request with those names and with one name that
is in no rule is, up to spelling, every request that there is. Only what rules mention is varied.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Final, Literal

from policies.access import Action, Circumstances, Principal, PrincipalKind, Resource
from policies.permissions import LintLevel

OTHER: Final = "somebody-else"
_ORIGINS: Final[tuple[Literal["human", "agent", "import"], ...]] = ("human", "agent", "import")
_VOTES: Final[tuple[Literal["", "approve", "reject", "change"], ...]] = (
    "approve",
    "reject",
    "change",
)
_STATES: Final = ("proposed", "quarantined", "approved")


@dataclass(frozen=True, slots=True)
class Mentioned:
    """What some rules mention."""

    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Names by kind of entity: Person, Role, Host and so on."""

    attributes: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    numbers: frozenset[int] = frozenset()

    def of(self, kind: str) -> tuple[str, ...]:
        """The names of one kind, sorted."""
        return tuple(sorted(self.names.get(kind, ())))


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, with roles of the principal that no policy file gives."""

    principal: Principal
    action: Action
    resource: Resource
    context: Circumstances
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Samples:
    """Requests to try rules on."""

    requests: tuple[Asked, ...]
    complete: bool
    """Whether these are all that the mentioned names give, and not a part drawn from them."""


def merged(*parts: Samples) -> Samples:
    """Several sets of requests as one."""
    requests = tuple(asked for part in parts for asked in part.requests)
    return Samples(requests, complete=all(part.complete for part in parts))


def samples(mentioned: Mentioned, *, at_most: int) -> Samples:
    """The requests that `mentioned` gives; a fixed part of them where they are too many."""
    people = list(_principals(mentioned))
    resources = list(islice(_resources(mentioned), at_most + 1))
    contexts = list(_contexts(mentioned))
    size = len(people) * len(Action) * len(resources) * len(contexts)
    if size <= at_most:
        found = tuple(
            Asked(principal, action, resource, context, roles)
            for (principal, roles), action, resource, context in product(
                people, Action, resources, contexts
            )
        )
        return Samples(found, complete=True)
    # The same part every time, so that a check says the same twice.
    chosen = random.Random(0)  # noqa: S311 - no secret
    drawn = []
    for _ in range(at_most):
        principal, roles = chosen.choice(people)
        resource, context = chosen.choice(resources), chosen.choice(contexts)
        drawn.append(Asked(principal, chosen.choice(list(Action)), resource, context, roles))
    return Samples(tuple(drawn), complete=False)


def _principals(mentioned: Mentioned) -> Iterator[tuple[Principal, tuple[str, ...]]]:
    """Each kind, each name, in no role, in each one, and in all."""
    roles = mentioned.of("Role")
    memberships = [(), *((role,) for role in roles)]
    if len(roles) > 1:
        memberships.append(roles)
    people = (*mentioned.of("Person"), OTHER)
    agents = (*mentioned.of("Agent"), "a-model")
    sessions = (*mentioned.of("Session"), "a-session")
    for member in memberships:
        for name in people:
            yield Principal.of_person(name), member
        for name in agents:
            yield Principal(kind=PrincipalKind.AGENT, name=name), member
        for name, agent, person in product(sessions, agents, people):
            yield Principal.of_session(name, person=person, model=agent), member


def _resources(mentioned: Mentioned) -> Iterator[Resource]:
    people = (*mentioned.of("Person"), OTHER, "the-author")
    axes = product(
        (*mentioned.of("Tool"), *sorted(mentioned.texts & _named(mentioned)), "a_tool"),
        tuple(LintLevel) if "level" in mentioned.attributes else (LintLevel.L0,),
        people if "author" in mentioned.attributes else ("the-author",),
        _ORIGINS if "origin" in mentioned.attributes else ("human",),
        _choices(_STATES, mentioned) if "state" in mentioned.attributes else ("approved",),
        _groups(mentioned.of("Host")),
        _groups(mentioned.of("Secret")),
        _groups(mentioned.of("Permission")),
    )
    for number, each in enumerate(axes):
        name, level, author, origin, state, hosts, secrets, kinds = each
        yield Resource(
            name=name,
            digest=f"sha256:{number:064x}",
            level=level,
            author=author,
            origin=origin,
            state=state,
            hosts=hosts,
            secrets=secrets,
            permissions=kinds,
        )


def _named(mentioned: Mentioned) -> frozenset[str]:
    return mentioned.texts if "name" in mentioned.attributes else frozenset()


def _choices(known: Iterable[str], mentioned: Mentioned) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*known, *sorted(mentioned.texts))))


def _groups(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """None, each by itself, and all of them."""
    groups = [(), *((name,) for name in names)]
    if len(names) > 1:
        groups.append(names)
    return groups


def _contexts(mentioned: Mentioned) -> Iterator[Circumstances]:
    near = {number + step for number in mentioned.numbers for step in (-1, 0, 1)}
    counts = sorted({0} | {number for number in near if number >= 0})
    yield from (
        Circumstances(vote=vote, rule=rule, approvals=count)
        for vote, rule, count in product(
            _VOTES if "vote" in mentioned.attributes else ("",),
            _choices(("ANY",), mentioned) if "rule" in mentioned.attributes else ("",),
            counts if "approvals" in mentioned.attributes else (0,),
        )
    )

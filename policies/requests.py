"""Hosts and secrets that a tool declares against those that a policy grants."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from policies.network import AddressError, HostGrant, covering, parse_grant
from policies.problems import Problem

if TYPE_CHECKING:
    from policies.config import PolicyProfile
    from policies.permissions import Permissions

__all__ = ["network_problems", "secret_problems"]

_SHOWN: Final = 10


def network_problems(permissions: Permissions, profile: PolicyProfile) -> tuple[Problem, ...]:
    """The declared hosts that cannot be understood or are not inside of what is granted."""
    allowed = [parse_grant(text) for text in profile.network.allow]
    problems = (_host_problem(text, allowed, profile.name) for text in permissions.hosts)
    return tuple(problem for problem in problems if problem is not None)


def secret_problems(permissions: Permissions, profile: PolicyProfile) -> tuple[Problem, ...]:
    """The declared secrets that are not granted, or that no declared request would get."""
    hosts = _readable(permissions.hosts)
    problems = (_secret_problem(name, hosts, profile) for name in permissions.secrets)
    return tuple(problem for problem in problems if problem is not None)


def _host_problem(text: str, allowed: list[HostGrant], policy: str) -> Problem | None:
    try:
        wanted = parse_grant(text)
    except AddressError as error:
        return Problem("RP403", f"permissions.hosts: {error}", "write it in that spelling")
    missing = wanted.methods - covering(allowed, wanted)
    if not missing:
        return None
    if not allowed:
        return Problem(
            "RP403",
            f"permissions.hosts asks for {str(wanted)!r:.300}, and policy {policy} grants no "
            "requests at all",
            "take what would be fetched as a parameter, or ask whoever keeps the policy to add it "
            "to network.allow",
        )
    near = any(grant.contains_place(wanted) for grant in allowed)
    what = f"the methods {', '.join(sorted(missing))} of " if near else ""
    return Problem(
        "RP403",
        f"permissions.hosts asks for {what}{str(wanted)!r:.300}, which policy {policy} does not "
        "grant",
        f"declare no more than what is granted ({_listed(map(str, allowed))}), or ask whoever "
        "keeps the policy to add it to network.allow",
    )


def _secret_problem(name: str, declared: list[HostGrant], profile: PolicyProfile) -> Problem | None:
    grant = profile.secrets.get(name)
    if grant is None:
        near = get_close_matches(name, profile.secrets, n=1)
        known = f"granted are {_listed(sorted(profile.secrets))}" if profile.secrets else "none is"
        return Problem(
            "RP404",
            f"permissions.secrets asks for {name!r:.80}, which policy {profile.name} does not "
            f"grant; {known}",
            f"did you mean {near[0]!r}?"
            if near
            else f"drop it, or ask whoever keeps the policy to add [secrets.{name:.80}]",
        )
    places = [parse_grant(text) for text in grant.hosts]
    if any(place.overlaps(host) for place in places for host in declared):
        return None
    return Problem(
        "RP404",
        f"permissions.secrets asks for {name!r}, which goes only into requests to "
        f"{_listed(grant.hosts)}; permissions.hosts declares none of these",
        "declare the host that gets the secret in permissions.hosts, or drop the secret",
    )


def _readable(hosts: Iterable[str]) -> list[HostGrant]:
    """Those that can be understood; the others are problems of their own."""
    grants = []
    for text in hosts:
        try:
            grants.append(parse_grant(text))
        except AddressError:
            continue
    return grants


def _listed(texts: Iterable[str]) -> str:
    words = list(texts)
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more

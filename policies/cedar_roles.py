"""Who is in which role, those of roles included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from policies.errors import PolicyConfigError

_MEMBERS: Final = {"person": "Person", "agent": "Agent", "role": "Role"}

Roles = Mapping[str, Sequence[str]]
"""Members by role: `ada` or `person:ada`, `agent:MODEL`, `role:OTHER`."""

RolesOf = Mapping[tuple[str, str], Sequence[str]]
"""All roles of each member: its kind in Cedar, its name."""


def roles_of(roles: Roles) -> dict[tuple[str, str], tuple[str, ...]]:
    """All roles of each member (its kind in Cedar, its name), those of its roles included.

    Raises:
        PolicyConfigError: A member is written in no known way, or a role is inside itself.
    """
    direct: dict[tuple[str, str], list[str]] = {}
    for role, members in roles.items():
        for member in members:
            direct.setdefault(_member(role, member, roles), []).append(role)
    return {member: _closure(parents, direct) for member, parents in direct.items()}


def _closure(
    parents: Sequence[str], direct: Mapping[tuple[str, str], Sequence[str]]
) -> tuple[str, ...]:
    found: dict[str, None] = {}
    waiting = list(parents)
    while waiting:
        role = waiting.pop()
        if role not in found:
            found[role] = None
            waiting.extend(direct.get(("Role", role), ()))
    return tuple(sorted(found))


def _member(role: str, text: str, roles: Roles) -> tuple[str, str]:
    kind, colon, name = text.partition(":")
    if not colon:
        kind, name = "person", text
    if kind not in _MEMBERS or not name:
        raise PolicyConfigError(
            "access.roles",
            f"{role} has the member {text!r}; write NAME or person:NAME, agent:MODEL, role:OTHER",
        )
    if kind == "role" and name not in roles:
        near = get_close_matches(name, roles, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise PolicyConfigError("access.roles", f"{role} has the unknown role {name!r}{hint}")
    return _MEMBERS[kind], name

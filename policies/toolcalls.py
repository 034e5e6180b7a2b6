"""Tools that call tools: what a caller may declare, and what a callee may need of it.

A callee was approved with rights of its own. Called by another tool it has only those that the
caller declares as well, so that no tool reaches through another what it was not granted itself.
Rights are what reaches beyond the callee's own container: hosts, secrets, files. Its imports,
packages and level are not: they change what runs inside its walls, not what it can touch.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from policies.display import escape_text, excerpt
from policies.network import is_covered
from policies.problems import Problem

if TYPE_CHECKING:
    from policies.config import PolicyProfile
    from policies.permissions import Permissions

__all__ = ["callee_name", "missing_rights", "tool_problems"]

_CALLEE: Final = re.compile(
    r"(?P<name>[A-Za-z][A-Za-z0-9_]{0,63})(?:@(?:[1-9]\d{0,8}|sha256:[0-9a-f]{6,64}))?"
)


def callee_name(declared: str) -> str | None:
    """The tool's name in one of `permissions.tools`; None where it is no reference to a tool."""
    match = _CALLEE.fullmatch(declared)
    return None if match is None else match["name"]


def tool_problems(permissions: Permissions, profile: PolicyProfile) -> tuple[Problem, ...]:
    """Everything that is wrong with `permissions.tools`, without a look into the store."""
    if not permissions.tools:
        return ()
    if not profile.tools.allow:
        return (
            Problem(
                "RP406",
                f"permissions.tools asks to call {_listed(permissions.tools)}, and policy "
                f"{profile.name} lets no tool call another",
                "do all of it in this tool, or ask whoever keeps the policy to set "
                "tools.allow = true",
            ),
        )
    names = [callee_name(declared) for declared in permissions.tools]
    return (
        *(
            Problem(
                "RP406",
                f"permissions.tools has {_shown(declared)}, which is no reference to a tool",
                "write NAME, NAME@3 or NAME@sha256:…",
            )
            for declared, name in zip(permissions.tools, names, strict=True)
            if name is None
        ),
        *(
            Problem(
                "RP406",
                f"permissions.tools has {name!r} more than once",
                "name each tool once: a call by its name must mean one version",
            )
            for name in sorted({name for name in names if name and names.count(name) > 1})
        ),
    )


def missing_rights(callee: Permissions, caller: Permissions) -> tuple[str, ...]:
    """What `callee` needs and `caller` does not declare, one line of words for each."""
    return (
        *(
            f"permissions.hosts: {_shown(host)}"
            for host in callee.hosts
            if not is_covered(host, caller.hosts)
        ),
        *(
            f"permissions.secrets: {_shown(secret)}"
            for secret in callee.secrets
            if secret not in caller.secrets
        ),
        *(f"permissions.files: {kind!r}" for kind in callee.files if kind not in caller.files),
    )


def _listed(tools: tuple[str, ...]) -> str:
    shown = ", ".join(map(_shown, tools[:5]))
    return shown if len(tools) <= 5 else f"{shown} and {len(tools) - 5} more"  # noqa: PLR2004 - as many as the slice


def _shown(text: str) -> str:
    return repr(excerpt(escape_text(text, keep_newlines=False), characters=80))

"""What a tool declares against what a policy grants, before anything of the tool is run.

Pure, and all problems at once. A policy grants; a tool may narrow what it was granted and never
widen it. What is not granted is refused here, so that no trial ever runs with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.packages import package_problems
from policies.problems import Problem
from policies.requests import network_problems, secret_problems
from policies.toolcalls import tool_problems

if TYPE_CHECKING:
    from policies.config import PolicyProfile
    from policies.permissions import Permissions

__all__ = ["Problem", "grant_problems"]


def grant_problems(permissions: Permissions, profile: PolicyProfile) -> tuple[Problem, ...]:
    """Everything that `profile` does not grant of `permissions`; empty when all is granted."""
    return (
        *package_problems(permissions, profile),
        *_file_problems(permissions, profile),
        *network_problems(permissions, profile),
        *secret_problems(permissions, profile),
        *tool_problems(permissions, profile),
    )


def _file_problems(permissions: Permissions, profile: PolicyProfile) -> tuple[Problem, ...]:
    granted = {"input": profile.files.input, "output": profile.files.output}
    return tuple(
        Problem(
            "RP405",
            f"permissions.files asks for {kind!r}, which policy {profile.name} does not grant",
            "take the contents as a parameter and return them as a value, or ask whoever keeps "
            f"the policy to set files.{kind} = true",
        )
        for kind in permissions.files
        if not granted[kind]
    )

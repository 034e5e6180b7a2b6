"""Files of examples, against what the tool declares and the policy grants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.problems import Problem

if TYPE_CHECKING:
    from policies.config import PolicyProfile
    from policies.source import ToolSource

__all__ = ["example_file_problems"]


def example_file_problems(source: ToolSource, profile: PolicyProfile) -> tuple[Problem, ...]:
    """Examples whose files the tool could not be given."""
    problems = []
    ceiling = profile.files.input_bytes
    for number, example in enumerate(source.examples, 1):
        if not example.files:
            continue
        if "input" not in source.permissions.files:
            problems.append(
                Problem(
                    "RP405",
                    f"example {number} has files, and the tool does not declare to read any",
                    'declare permissions.files = ["input"], or leave the files out',
                )
            )
        size = sum(map(len, example.inputs.values()))
        if size > ceiling:
            problems.append(
                Problem(
                    "RP405",
                    f"the files of example {number} have {size:,} bytes, where policy "
                    f"{profile.name} allows {ceiling:,} (files.input_bytes)",
                    "show the same behaviour on smaller files",
                )
            )
    return tuple(problems)

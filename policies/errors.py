"""What can go wrong in the policies: only a configuration that cannot be trusted.

PoliciesError
└── PolicyConfigError    a policy file that is not exactly understood
"""

from __future__ import annotations


class PoliciesError(Exception):
    """Base class: the rules themselves are unusable."""


class PolicyConfigError(PoliciesError):
    """A policy file is not exactly understood, so nothing may be decided by it."""

    def __init__(self, origin: str, problem: str) -> None:
        super().__init__(
            f"policy {origin}: {problem}. Nothing was admitted under it; mend the file and retry."
        )
        self.origin = origin
        self.problem = problem

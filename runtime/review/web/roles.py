"""What a token is good for; by itself, because the command line knows it before all else."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a token is good for; what the policy lets its person do, at most."""

    REVIEWER = "reviewer"
    """Reads and votes."""

    READER = "reader"
    """Reads."""

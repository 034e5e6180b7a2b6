"""What is wrong with a declared permission, as a value for all that check permissions."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """One thing that was declared and is not granted, or cannot be understood."""

    rule: str
    """Id of the rule, as in the rulebook."""

    message: str
    suggestion: str

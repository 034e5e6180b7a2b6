"""Findings: what a check has to say about a proposed tool, and how to mend it.

The words are the linters' (rule, finding) and the fields map one to one onto SARIF results.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydantic import Field

from policies.value import Value

MAX_FINDINGS = 50
"""More than this helps nobody; the rest is counted in one closing finding."""


class Severity(StrEnum):
    """How much a finding weighs; the spellings are SARIF levels."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Stage(StrEnum):
    """The step of an admission that made a finding."""

    LIMITS = "limits"
    LINT = "lint"
    SCHEMA = "schema"
    TRIALS = "trials"
    STORE = "store"


class Finding(Value):
    """One problem of one proposed tool, with the change that mends it."""

    rule: str = Field(pattern=r"^[A-Z]{2}\d{3}$")
    """Stable code: LM (limits), RP (lint), SC (schema), TR (trials), ST (store)."""

    severity: Severity
    stage: Stage
    message: str
    """One sentence: what is wrong, naming what was given and what was expected."""

    suggestion: str
    """One change that the author can apply as it stands."""

    line: int | None = None
    """1-based, as are the columns; columns count characters. None: about the whole tool."""

    column: int | None = None
    end_line: int | None = None
    end_column: int | None = None
    source_line: str | None = None
    """The line, with everything that does not print escaped, cut to a readable width."""


def has_errors(findings: Iterable[Finding]) -> bool:
    """Whether any finding stops an admission."""
    return any(finding.severity is Severity.ERROR for finding in findings)

"""Proposed tools for the tests of the static checks: a clean one, to be spoilt one way a test."""

from __future__ import annotations

from typing import Any

from policies.analysis import Analysis, analyse
from policies.findings import Finding, Severity
from policies.limits import SourceLimits
from policies.source import ToolSource

LIMITS = SourceLimits()

CLEAN = '''def count_words(text: str) -> int:
    """Count the words of a text.

    Args:
        text: What to count in.

    Returns:
        How many words there are.
    """
    return len(text.split())
'''


def proposal(code: str = CLEAN, **fields: Any) -> ToolSource:
    """A tool named `count_words` with `code`; other fields as given."""
    defaults = {"name": "count_words", "description": "Counts the words of a text."}
    return ToolSource.model_validate({**defaults, "code": code, **fields})


def body(text: str) -> str:
    """The clean tool with more lines in front of it."""
    return text.rstrip("\n") + "\n\n\n" + CLEAN


def analysed(code: str = CLEAN, **fields: Any) -> Analysis:
    """What the static checks say of it."""
    return analyse(proposal(code, **fields), LIMITS)


def findings(code: str = CLEAN, **fields: Any) -> tuple[Finding, ...]:
    """The findings on it."""
    return analysed(code, **fields).report.findings


def rules(code: str = CLEAN, **fields: Any) -> set[str]:
    """The codes of the rules that fired."""
    return {finding.rule for finding in findings(code, **fields)}


def errors(code: str = CLEAN, **fields: Any) -> list[str]:
    """Errors, as short text that shows in a failing test."""
    return [
        f"{f.rule} line {f.line}: {f.message}"
        for f in findings(code, **fields)
        if f.severity is Severity.ERROR
    ]

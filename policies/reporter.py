"""Findings with their place in the source: columns in characters, the line escaped and cut."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Final

from policies.display import escape_text, excerpt
from policies.findings import MAX_FINDINGS, Finding, Severity, Stage
from policies.rulebook import RULES

_STAGE_ORDER: Final = {stage: position for position, stage in enumerate(Stage)}
_SEVERITY_ORDER: Final = {severity: position for position, severity in enumerate(Severity)}
_MESSAGE_CHARACTERS: Final = 600


@dataclass(frozen=True, slots=True)
class Spot:
    """A range in the source: lines and columns from 1, the end column just behind the range."""

    line: int
    column: int
    end_line: int
    end_column: int


def shown(text: str, *, characters: int = 60) -> str:
    """A short piece of untrusted text for use inside a message."""
    return excerpt(escape_text(text, keep_newlines=False), characters=characters)


class Reporter:
    """Collects the findings of one stage on one text."""

    def __init__(self, code: str) -> None:
        self.lines = code.split("\n")
        self.findings: list[Finding] = []

    def at(self, rule: str, node: ast.AST, message: str, suggestion: str) -> None:
        """Report `rule` on the place of `node`; on the whole tool where it has none."""
        self.on(rule, self.spot(node), message, suggestion)

    def on(self, rule: str, spot: Spot | None, message: str, suggestion: str) -> None:
        """Report `rule` on `spot`; None means the whole tool."""
        info = RULES[rule]
        finding = Finding(
            rule=rule,
            severity=info.severity,
            stage=info.stage,
            message=_clean(message),
            suggestion=_clean(suggestion),
        )
        if spot is not None:
            finding = finding.model_copy(
                update={
                    "line": spot.line,
                    "column": spot.column,
                    "end_line": spot.end_line,
                    "end_column": spot.end_column,
                    "source_line": excerpt(self._line(spot.line)),
                }
            )
        self.findings.append(finding)

    def spot(self, node: ast.AST) -> Spot | None:
        """The range of `node` in characters; the syntax tree counts bytes."""
        if not hasattr(node, "lineno"):
            return None
        line = max(1, getattr(node, "lineno", 1))
        end_line = max(line, getattr(node, "end_lineno", None) or line)
        column = self._column(line, getattr(node, "col_offset", 0))
        end_offset = getattr(node, "end_col_offset", None)
        end_column = column + 1 if end_offset is None else self._column(end_line, end_offset)
        if end_line == line:
            end_column = max(end_column, column + 1)
        return Spot(line, column, end_line, end_column)

    def _line(self, number: int) -> str:
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def _column(self, line: int, offset_bytes: int) -> int:
        text = self._line(line)
        if text.isascii():
            return offset_bytes + 1
        head = text.encode("utf-8", "surrogatepass")[: max(0, offset_bytes)]
        return len(head.decode("utf-8", "ignore")) + 1


def _clean(text: str) -> str:
    return excerpt(escape_text(text, keep_newlines=False), characters=_MESSAGE_CHARACTERS)


def finding_order(finding: Finding) -> tuple[int, int, int, str, str]:
    """Sort key: stage, line, column, rule; what is about the whole tool comes first."""
    return (
        _STAGE_ORDER[finding.stage],
        finding.line or 0,
        finding.column or 0,
        finding.rule,
        finding.message,
    )


def _without_doubles(findings: list[Finding]) -> list[Finding]:
    """Keep the first of those that say the same of the same place."""
    first: dict[tuple[object, ...], Finding] = {}
    for f in findings:
        place = (f.line, f.column, f.end_line, f.end_column)
        first.setdefault((f.rule, place) if f.line else (f.rule, f.message), f)
    return list(first.values())


def arrange(findings: list[Finding]) -> tuple[Finding, ...]:
    """Sort, drop doubles, and keep what a reader can use: errors first when some must go."""
    unique = _without_doubles(findings)
    if len(unique) > MAX_FINDINGS:
        unique.sort(key=lambda f: (_SEVERITY_ORDER[f.severity], *finding_order(f)))
        kept, dropped = unique[: MAX_FINDINGS - 1], unique[MAX_FINDINGS - 1 :]
        errors = sum(finding.severity is Severity.ERROR for finding in dropped)
        closing = Reporter("")
        closing.on(
            "RP990",
            None,
            f"{len(dropped)} more findings, {errors} of them errors, are not shown",
            "mend those above and submit again; the rest is reported then",
        )
        return (*sorted(kept, key=finding_order), *closing.findings)
    return tuple(sorted(unique, key=finding_order))

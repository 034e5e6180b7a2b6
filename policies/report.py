"""Findings for their readers: text with a caret, JSON, and SARIF 2.1.0."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Final

from pydantic import JsonValue

from policies.display import CUT_MARK, escape_text
from policies.findings import Finding, Severity
from policies.rulebook import RULES
from policies.value import JsonObject

SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_COLOURS: Final = {Severity.ERROR: "31", Severity.WARNING: "33", Severity.NOTE: "36"}
_BOLD: Final = "1"
_FAINT: Final = "2"


def as_text(findings: Sequence[Finding], *, file: str = "<tool>", colour: bool = False) -> str:
    """The findings as a linter prints them, with the place, the line and a caret below it.

    Nothing in the answer acts on a terminal but, with `colour`, the colours themselves.
    """
    if not findings:
        return ""
    lines = [line for finding in findings for line in lines_of(finding, file, colour=colour)]
    return "\n".join([*lines, _summary(findings)]) + "\n"


def as_json(findings: Sequence[Finding]) -> list[JsonValue]:
    """The findings as a list of objects, without the fields that are not set."""
    return [finding.model_dump(mode="json", exclude_none=True) for finding in findings]


def as_sarif(
    findings: Sequence[Finding], *, file: str = "tool.py", version: str = "0"
) -> JsonObject:
    """One SARIF 2.1.0 log with one run, with the metadata of the rules that fired."""
    fired = sorted({finding.rule for finding in findings})
    rules: list[JsonValue] = [_sarif_rule(code) for code in fired]
    results: list[JsonValue] = [_sarif_result(f, file, fired.index(f.rule)) for f in findings]
    driver: JsonObject = {"name": "toolkiln", "version": version, "rules": rules}
    run: JsonObject = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}


def as_sarif_text(findings: Sequence[Finding], *, file: str = "tool.py", version: str = "0") -> str:
    """The SARIF log as the text of a file."""
    return json.dumps(as_sarif(findings, file=file, version=version), indent=2) + "\n"


def lines_of(finding: Finding, file: str = "<tool>", *, colour: bool = False) -> list[str]:
    """One finding: where and what, the source line with a caret where there is one, the repair."""
    place = escape_text(file, keep_newlines=False)
    if finding.line is not None:
        place += f":{finding.line}:{finding.column or 1}"
    weight = finding.severity.value
    head = (
        f"{_paint(place, _BOLD, on=colour)}: "
        f"{_paint(f'{weight} {finding.rule}', _COLOURS[finding.severity], on=colour)} "
        f"{_line(finding.message)}"
    )
    lines = [head]
    if finding.source_line is not None and finding.line is not None:
        gutter = f"{finding.line:>5} | "
        lines.append(_paint(gutter, _FAINT, on=colour) + _line(finding.source_line, tabs=True))
        caret = _caret(finding)
        if caret:
            blank = " " * (len(gutter) - 2) + "| "
            painted = _paint(caret, _COLOURS[finding.severity], on=colour)
            lines.append(_paint(blank, _FAINT, on=colour) + painted)
    lines.append(f"      = {_line(finding.suggestion)}")
    return lines


def _caret(finding: Finding) -> str:
    """Carets below the range, as far as the line is shown; none where it was cut off."""
    shown = (finding.source_line or "").removesuffix(CUT_MARK)
    start = (finding.column or 1) - 1
    if start > len(shown):
        return ""
    same_line = finding.end_line in {None, finding.line}
    end = (finding.end_column or start + 2) - 1 if same_line else len(shown)
    lead = "".join("\t" if c == "\t" else " " * _cells(c) for c in shown[:start])
    marked = sum(_cells(character) for character in shown[start:end])
    return lead + "^" * max(1, marked)


def _cells(character: str) -> int:
    """How many columns of a terminal a character takes."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _summary(findings: Sequence[Finding]) -> str:
    counts = []
    for severity in Severity:
        number = sum(finding.severity is severity for finding in findings)
        if number:
            counts.append(f"{number} {severity.value}{'s' if number > 1 else ''}")
    return "found " + ", ".join(counts)


def _line(text: str, *, tabs: bool = False) -> str:
    parts = text.split("\t") if tabs else [text]
    return "\t".join(escape_text(part, keep_newlines=False) for part in parts)


def _paint(text: str, code: str, *, on: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if on else text


def _sarif_rule(code: str) -> JsonObject:
    info = RULES.get(code)
    if info is None:  # the rules of the trials and of the store describe themselves
        return {"id": code}
    return {
        "id": code,
        "name": info.name,
        "shortDescription": {"text": info.summary},
        "defaultConfiguration": {"level": info.severity.value},
        "properties": {"stage": info.stage.value},
    }


def _sarif_result(finding: Finding, file: str, index: int) -> JsonObject:
    location: JsonObject = {"artifactLocation": {"uri": escape_text(file, keep_newlines=False)}}
    if finding.line is not None:
        region: JsonObject = {
            "startLine": finding.line,
            "startColumn": finding.column or 1,
            "endLine": finding.end_line or finding.line,
        }
        if finding.end_column is not None:
            region["endColumn"] = finding.end_column
        if finding.source_line is not None:
            region["snippet"] = {"text": finding.source_line}
        location["region"] = region
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.severity.value,
        "message": {"text": f"{finding.message}. {finding.suggestion}"},
        "locations": [{"physicalLocation": location}],
        "properties": {"stage": finding.stage.value, "suggestion": finding.suggestion},
    }

"""Findings as SARIF 2.1.0, for editors and code hosts that read it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from pydantic import JsonValue

from policies.findings import Finding
from policies.rulebook import RULES
from policies.value import JsonObject

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def to_sarif(findings: Sequence[Finding], *, uri: str) -> JsonObject:
    """One SARIF log with one run; `uri` names the file that the findings are about."""
    rules = sorted({finding.rule for finding in findings})
    driver: JsonObject = {
        "name": "toolkiln",
        "version": version("toolkiln"),
        "rules": [_rule(code) for code in rules],
    }
    run: JsonObject = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, rules.index(finding.rule), uri) for finding in findings],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(code: str) -> JsonObject:
    info = RULES.get(code)
    if info is None:  # rules of the trials stand in no book: each result says what happened
        return {"id": code}
    return {"id": code, "name": info.name, "shortDescription": {"text": info.summary}}


def _result(finding: Finding, index: int, uri: str) -> JsonObject:
    location: JsonObject = {"artifactLocation": {"uri": uri}}
    if finding.line is not None:
        location["region"] = _region(finding)
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.severity.value,
        "message": {"text": f"{finding.message} {finding.suggestion}".strip()},
        "locations": [{"physicalLocation": location}],
        "properties": {"stage": finding.stage.value, "suggestion": finding.suggestion},
    }


def _region(finding: Finding) -> JsonObject:
    fields: dict[str, JsonValue] = {
        "startLine": finding.line,
        "startColumn": finding.column,
        "endLine": finding.end_line,
        "endColumn": finding.end_column,
    }
    return {name: value for name, value in fields.items() if value is not None}

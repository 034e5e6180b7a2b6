"""The rules of Cedar files, parsed and checked against the schema."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Final

import cedarpy

from policies.access import Action
from policies.cedar_schema import CEDAR_SCHEMA
from policies.cedar_text import Statement, statements, words_in
from policies.errors import PolicyConfigError
from policies.value import JsonObject

_ID: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_WORDS: Final = (
    *("permit", "forbid", "principal", "action", "resource", "context", "when", "unless"),
    *("Person", "Agent", "Session", "Role", "Tool", "Version", "Host", "Secret", "Permission"),
    *("name", "level", "author", "origin", "state", "person", "vote", "rule", "approvals"),
    *(action.value for action in Action),
)
"""What a misspelt word could have been meant as."""


@dataclass(frozen=True, slots=True)
class CedarRule:
    """One rule of a Cedar file."""

    id: str
    permits: bool
    reason: str
    """Its `@reason`; empty where it gives none."""

    statement: Statement
    parsed: JsonObject
    """As Cedar writes it in JSON."""


@dataclass(frozen=True, slots=True)
class CedarRules:
    """All rules of a policy, parsed and checked against the schema."""

    rules: Mapping[str, CedarRule]
    """By the place that Cedar's diagnostics name: `policy0`, `policy1` and so on."""

    policies: cedarpy.PolicySet
    schema: cedarpy.Schema


@lru_cache(maxsize=64)
def compile_rules(files: tuple[tuple[str, str], ...]) -> CedarRules:
    """Parse Cedar files (name and text), in their order.

    Raises:
        PolicyConfigError: One is not understood, does not fit the schema, or has a rule without
            an identifier of its own.
    """
    found = [each for name, text in files for each in statements(name, text)]
    if not found:
        names = ", ".join(name for name, _ in files)
        raise PolicyConfigError(names, "there is no rule in it, so it would refuse everything")
    for statement in found:
        _check_syntax(statement)
    text = "\n".join(statement.text for statement in found)
    schema = cedar_schema()
    rules = {f"policy{place}": _rule(each) for place, each in enumerate(found)}
    _check_types(rules, text, schema)
    _check_ids(rules.values())
    return CedarRules(rules, cedarpy.PolicySet.from_str(text), schema)


@lru_cache(maxsize=1)
def cedar_schema() -> cedarpy.Schema:
    """The shipped schema, parsed."""
    return cedarpy.Schema.from_str(CEDAR_SCHEMA)


def _check_syntax(statement: Statement) -> None:
    try:
        found = cedarpy.PolicySet.from_str(statement.text)
    except ValueError as error:
        raise _wrong(statement, str(error)) from None
    if found.templates():
        raise _wrong(statement, "a template (?principal, ?resource) is no rule; write names")


def _rule(statement: Statement) -> CedarRule:
    """One rule with what it says of itself."""
    parsed = json.loads(cedarpy.policies_to_json_str(statement.text))["staticPolicies"]["policy0"]
    notes = parsed.get("annotations", {})
    name = notes.get("id") or ""
    if not _ID.fullmatch(name):
        raise _wrong(
            statement,
            f'the rule has no usable identifier (given: {name!r}); write @id("what-it-is-for") '
            "before it, in lower-case letters, digits and hyphens: decisions name it",
        )
    return CedarRule(
        id=name,
        permits=parsed["effect"] == "permit",
        reason=notes.get("reason") or "",
        statement=statement,
        parsed=parsed,
    )


def _check_ids(rules: Iterable[CedarRule]) -> None:
    places = {rule.id: rule.statement for rule in rules}
    counts = Counter(rule.id for rule in rules)
    for name, count in counts.items():
        if count > 1:
            raise _wrong(places[name], f"there are {count} rules with the identifier {name!r}")


def _check_types(rules: Mapping[str, CedarRule], text: str, schema: cedarpy.Schema) -> None:
    result = cedarpy.validate_policies(text, schema)
    if result.validation_passed:
        return
    first = result.errors[0]
    rule = rules.get(first.policy_id)
    problem = first.error.removeprefix(f"for policy `{first.policy_id}`, ")
    if rule is None:  # not about one rule, and still not understood
        raise PolicyConfigError("Cedar files", problem)
    raise _wrong(rule.statement, problem)


def _wrong(statement: Statement, problem: str) -> PolicyConfigError:
    """What is wrong with a rule, where, and which word may have been meant."""
    hint = ""
    for quoted in words_in(problem):
        word = quoted.rpartition("::")[2].strip('"')
        near = get_close_matches(word, _WORDS, n=1)
        if near and near[0] != word:
            hint = f"; did you mean {near[0]!r}?"
            break
    where = f"{statement.file}, line {statement.line_of(problem)}"
    return PolicyConfigError(where, f"{problem}{hint}")

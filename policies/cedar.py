"""Access rules in Cedar: parsed and checked once, then a decision is some tens of microseconds.

Cedar decides as a policy should (a forbid wins, nothing said is a no), with two exceptions that
are made stricter here: a rule that fails while it is evaluated is left out by Cedar, and a request
without a decision is an answer of its own; both are a no.

The only module that knows `cedarpy`; whoever needs no Cedar files does not import it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Final

import cedarpy
from pydantic import JsonValue

from policies.access import Action, Circumstances, Principal, PrincipalKind, Resource
from policies.access_rules import answer
from policies.access_samples import Asked, Mentioned
from policies.cedar_schema import CEDAR_SCHEMA
from policies.cedar_text import Statement, statements, words_in
from policies.decision import Decision
from policies.errors import PolicyConfigError
from policies.value import JsonObject

_ID: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_KINDS: Final = {
    PrincipalKind.PERSON: "Person",
    PrincipalKind.AGENT: "Agent",
    PrincipalKind.SESSION: "Session",
}
_MEMBERS: Final = {"person": "Person", "agent": "Agent", "role": "Role"}
_WORDS: Final = (
    *("permit", "forbid", "principal", "action", "resource", "context", "when", "unless"),
    *("Person", "Agent", "Session", "Role", "Tool", "Version", "Host", "Secret", "Permission"),
    *("name", "level", "author", "origin", "state", "person", "vote", "rule", "approvals"),
    *(action.value for action in Action),
)
"""What a misspelt word could have been meant as."""

Roles = Mapping[str, Sequence[str]]
"""Members by role: `ada` or `person:ada`, `agent:MODEL`, `role:OTHER`."""


@dataclass(frozen=True, slots=True)
class CedarRule:
    """One rule of a Cedar file."""

    id: str
    permits: bool
    reason: str
    """Its `@reason`; empty where it gives none."""

    statement: Statement


@dataclass(frozen=True, slots=True)
class CedarRules:
    """All rules of a policy, parsed and checked against the schema."""

    rules: Mapping[str, CedarRule]
    """By the place that Cedar's diagnostics name: `policy0`, `policy1` and so on."""

    policies: cedarpy.PolicySet
    schema: cedarpy.Schema


class CedarAuthorizer:
    """Decides by Cedar files and by who is in which role."""

    def __init__(self, files: tuple[tuple[str, str], ...], roles: Roles, *, digest: str) -> None:
        """Compile the files.

        Raises:
            PolicyConfigError: They are not exactly understood.
        """
        self._compiled = compile_rules(files)
        self._roles = roles_of(roles)
        self.digest = digest

    def decide(
        self,
        principal: Principal,
        action: Action,
        resource: Resource,
        context: Circumstances = Circumstances(),  # noqa: B008 - frozen
    ) -> Decision:
        """Allow what a rule permits and none forbids, if every rule could be evaluated."""
        asked = Asked(principal, action, resource, context)
        rules = self._compiled.rules
        try:
            result = self._ask(asked, self._compiled.policies)
        except ValueError as error:  # such as a name that Cedar cannot spell
            problems: tuple[str, ...] = (f"Cedar could not take the request: {error}",)
            determining: tuple[CedarRule, ...] = ()
            allowed = False
        else:
            diagnostics = result.diagnostics
            problems = tuple(self._named(problem) for problem in diagnostics.errors)
            determining = tuple(rules[place] for place in sorted(diagnostics.reasons, key=_number))
            allowed = result.allowed and not problems
        if problems:  # a rule that failed may be the one that forbids
            determining = tuple(rule for rule in determining if not rule.permits)
        return answer(
            (principal, action, resource),
            allowed=allowed,
            determining=tuple((rule.id, rule.reason) for rule in determining),
            digest=self.digest,
            problems=problems,
        )

    @property
    def rules(self) -> tuple[CedarRule, ...]:
        """All rules, in the order of their files."""
        return tuple(self._compiled.rules.values())

    def matches(
        self, requests: Iterable[Asked], only: Iterable[str] | None = None
    ) -> Iterator[frozenset[str]]:
        """For each request, which rules (of those in `only`) apply to it; for checks.

        A rule that fails while it is evaluated applies to no request.
        """
        wanted = None if only is None else frozenset(only)
        alone = {
            rule.id: cedarpy.PolicySet.from_str(rule.statement.text)
            for rule in self.rules
            if wanted is None or rule.id in wanted
        }
        for asked in requests:
            entities, request = self._entities(asked), _request(asked)
            yield frozenset(
                rule
                for rule, policies in alone.items()
                if cedarpy.is_authorized(request, policies, entities).diagnostics.reasons
            )

    def _ask(self, asked: Asked, policies: cedarpy.PolicySet) -> cedarpy.AuthzResult:
        return cedarpy.is_authorized(
            _request(asked), policies, self._entities(asked), self._compiled.schema
        )

    def _entities(self, asked: Asked) -> cedarpy.Entities:
        # Made here and to the schema; checking them against it again is most of the time.
        entities = [self._principal(asked.principal, asked.roles), _version(asked.resource)]
        return cedarpy.Entities.from_json_str(json.dumps(entities))

    def _principal(self, principal: Principal, more: Sequence[str]) -> JsonObject:
        """The principal with its roles; of a session, those of its model."""
        kind = _KINDS[principal.kind]
        if principal.kind is not PrincipalKind.SESSION:
            return _entity(kind, principal.name, parents=self._in_roles(kind, principal.name, more))
        return _entity(
            kind,
            principal.name,
            attributes={"person": {"__entity": _uid("Person", principal.person)}},
            parents=[
                _uid("Agent", principal.model),
                *self._in_roles("Agent", principal.model, more),
            ],
        )

    def _in_roles(self, kind: str, name: str, more: Sequence[str]) -> list[JsonObject]:
        return [_uid("Role", role) for role in (*self._roles.get((kind, name), ()), *more)]

    def _named(self, problem: str) -> str:
        """Cedar's words about a rule that failed, with the rule's own name."""
        name = re.sub(
            r"policy\d+",
            lambda found: (
                self._compiled.rules[found[0]].id if found[0] in self._compiled.rules else found[0]
            ),
            problem,
        )
        return f"a rule failed, so nothing is allowed: {name}"


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


def roles_of(roles: Roles) -> dict[tuple[str, str], tuple[str, ...]]:
    """All roles of each member (its kind in Cedar, its name), those of its roles included.

    Raises:
        PolicyConfigError: A member is written in no known way, or a role is inside itself.
    """
    direct: dict[tuple[str, str], list[str]] = {}
    for role, members in roles.items():
        for member in members:
            direct.setdefault(_member(role, member, roles), []).append(role)
    return {member: _closure(parents, direct) for member, parents in direct.items()}


def _closure(
    parents: Sequence[str], direct: Mapping[tuple[str, str], Sequence[str]]
) -> tuple[str, ...]:
    found: dict[str, None] = {}
    waiting = list(parents)
    while waiting:
        role = waiting.pop()
        if role not in found:
            found[role] = None
            waiting.extend(direct.get(("Role", role), ()))
    return tuple(sorted(found))


def _member(role: str, text: str, roles: Roles) -> tuple[str, str]:
    kind, colon, name = text.partition(":")
    if not colon:
        kind, name = "person", text
    if kind not in _MEMBERS or not name:
        raise PolicyConfigError(
            "access.roles",
            f"{role} has the member {text!r}; write NAME or person:NAME, agent:MODEL, role:OTHER",
        )
    if kind == "role" and name not in roles:
        near = get_close_matches(name, roles, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise PolicyConfigError("access.roles", f"{role} has the unknown role {name!r}{hint}")
    return _MEMBERS[kind], name


def _request(asked: Asked) -> dict[str, JsonValue]:
    return {
        "principal": _uid(_KINDS[asked.principal.kind], asked.principal.name),
        "action": _uid("Action", asked.action.value),
        "resource": _uid("Version", asked.resource.digest),
        "context": asked.context.model_dump(mode="json"),
    }


def _version(resource: Resource) -> JsonObject:
    parents = [
        _uid("Tool", resource.name),
        *(_uid("Host", host) for host in resource.hosts),
        *(_uid("Secret", secret) for secret in resource.secrets),
        *(_uid("Permission", kind) for kind in resource.permissions),
    ]
    attributes: JsonObject = {
        "name": resource.name,
        "level": resource.level.value,
        "author": {"__entity": _uid("Person", resource.author)},
        "origin": resource.origin,
        "state": resource.state,
    }
    return _entity("Version", resource.digest, attributes=attributes, parents=parents)


def _entity(
    kind: str,
    name: str,
    *,
    attributes: JsonObject | None = None,
    parents: Sequence[JsonObject] = (),
) -> JsonObject:
    return {"uid": _uid(kind, name), "attrs": attributes or {}, "parents": [*parents]}


def _uid(kind: str, name: str) -> JsonObject:
    return {"type": kind, "id": name}


def _number(place: str) -> int:
    return int(place.removeprefix("policy"))


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


def mentioned(rules: Iterable[CedarRule]) -> Mentioned:
    """The names, attributes, texts and numbers that stand in rules."""
    names: dict[str, set[str]] = {}
    attributes: set[str] = set()
    texts: set[str] = set()
    numbers: set[int] = set()
    waiting: list[JsonValue] = [
        json.loads(cedarpy.policies_to_json_str(rule.statement.text))["staticPolicies"]
        for rule in rules
    ]
    while waiting:
        match waiting.pop():
            case {"type": str(kind), "id": str(name)}:
                names.setdefault(kind, set()).add(name)
            case {"attr": str(name), "left": inner}:
                attributes.add(name)
                waiting.append(inner)
            case {"pattern": list(pattern), "left": inner}:
                texts.add("".join(_piece(piece) for piece in pattern))
                waiting.append(inner)
            case {"Value": str(text)}:
                texts.add(text)
            case {"Value": bool()}:
                pass
            case {"Value": int(number)}:
                numbers.add(number)
            case dict() as node:
                waiting.extend(value for key, value in node.items() if key != "annotations")
            case list() as several:
                waiting.extend(several)
            case _:
                pass
    return Mentioned(
        {kind: frozenset(found) for kind, found in names.items()},
        frozenset(attributes),
        frozenset(texts),
        frozenset(numbers),
    )


def _piece(piece: JsonValue) -> str:
    """What stands for one piece of a `like` pattern in a text that it matches."""
    match piece:
        case {"Literal": str(text)}:
            return text
        case _:
            return "x"

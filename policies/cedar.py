"""Access rules in Cedar: parsed and checked once, then a decision is some tens of microseconds.

Cedar decides as a policy should (a forbid wins, nothing said is a no), with two exceptions that
are made stricter here: a rule that fails while it is evaluated is left out by Cedar, and a request
without a decision is an answer of its own; both are a no.

Whoever needs no Cedar files imports neither this nor `cedar_rules`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

import cedarpy

from policies.access import Action, Circumstances, Principal, Resource
from policies.access_rules import answer
from policies.access_samples import Asked
from policies.cedar_requests import entities_of, request_of
from policies.cedar_roles import Roles, roles_of
from policies.cedar_rules import CedarRule, compile_rules
from policies.decision import Decision


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
            result = self._ask(asked)
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
            entities, request = self._entities(asked), request_of(asked)
            yield frozenset(
                rule
                for rule, policies in alone.items()
                if cedarpy.is_authorized(request, policies, entities).diagnostics.reasons
            )

    def _ask(self, asked: Asked) -> cedarpy.AuthzResult:
        compiled = self._compiled
        entities = self._entities(asked)
        return cedarpy.is_authorized(
            request_of(asked), compiled.policies, entities, compiled.schema
        )

    def _entities(self, asked: Asked) -> cedarpy.Entities:
        # Made here and to the schema; checking them against it again is most of the time.
        entities = entities_of(asked, self._roles)
        return cedarpy.Entities.from_json_str(json.dumps(entities))

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


def _number(place: str) -> int:
    return int(place.removeprefix("policy"))

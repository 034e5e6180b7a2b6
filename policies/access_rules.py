"""The rules for a policy without Cedar files: people do everything, models make and call tools.

The same meaning as the shipped `local.cedar`, which a test compares rule by rule; so a store of
one's own needs no policy language and loads none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policies.access import Action, Circumstances, Principal, PrincipalKind, Resource
from policies.decision import Decision

_DECIDING: Final = frozenset(
    {Action.APPROVE, Action.WAIVE, Action.DEPRECATE, Action.REVOKE, Action.EXPORT}
)


@dataclass(frozen=True, slots=True)
class AccessRule:
    """One rule: some kinds of principals may, or must not, do some actions."""

    id: str
    permits: bool
    kinds: frozenset[PrincipalKind]
    actions: frozenset[Action]
    reason: str

    def applies(self, principal: Principal, action: Action) -> bool:
        """Whether it is about this request."""
        return principal.kind in self.kinds and action in self.actions


_MODELS: Final = frozenset({PrincipalKind.AGENT, PrincipalKind.SESSION})

BUILT_IN: Final = (
    AccessRule(
        id="people-do-everything",
        permits=True,
        kinds=frozenset({PrincipalKind.PERSON}),
        actions=frozenset(Action),
        reason="people may do everything",
    ),
    AccessRule(
        id="models-make-and-call-tools",
        permits=True,
        kinds=_MODELS,
        actions=frozenset({Action.DEFINE, Action.ADMIT, Action.CALL, Action.READ_SOURCE}),
        reason="models may make, call and read tools",
    ),
    AccessRule(
        id="models-never-decide",
        permits=False,
        kinds=_MODELS,
        actions=_DECIDING,
        reason="approving, waiving, deprecating, revoking and exporting is for people",
    ),
)


class RuleAuthorizer:
    """Decides by rules of this module's kind: a no wins, and nothing said is a no."""

    def __init__(self, rules: tuple[AccessRule, ...], *, digest: str) -> None:
        self._rules = rules
        self.digest = digest

    def decide(
        self,
        principal: Principal,
        action: Action,
        resource: Resource,
        context: Circumstances = Circumstances(),  # noqa: ARG002, B008 - the shape of `Authorizer`; the value is frozen
    ) -> Decision:
        """Allow what some rule permits and none forbids."""
        fitting = [rule for rule in self._rules if rule.applies(principal, action)]
        forbidding = [rule for rule in fitting if not rule.permits]
        determining = forbidding or fitting
        return answer(
            (principal, action, resource),
            allowed=bool(fitting) and not forbidding,
            determining=tuple((rule.id, rule.reason) for rule in determining),
            digest=self.digest,
        )


def answer(
    request: tuple[Principal, Action, Resource],
    *,
    allowed: bool,
    determining: tuple[tuple[str, str], ...],
    digest: str,
    problems: tuple[str, ...] = (),
) -> Decision:
    """The decision in words: by which rules, each with its own reason where it gives one."""
    principal, action, resource = request
    asked = f"{principal} may {'' if allowed else 'not '}{action.value} {resource.name}"
    verb = "permits it" if allowed else "forbids it"
    reasons = tuple(
        f"{asked}: rule {rule!r} {verb}" + (f" ({why})" if why else "") for rule, why in determining
    )
    if problems:
        reasons += tuple(f"{asked}: {problem}" for problem in problems)
    elif not determining:
        reasons = (f"{asked}: no rule permits it, and what no rule permits is refused",)
    return Decision(
        allowed=allowed,
        needs_review=False,
        reasons=reasons,
        rules=tuple(rule for rule, _ in determining),
        policy_digest=digest,
    )

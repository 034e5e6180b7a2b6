"""Why a policy decides as it does, and what would have to be otherwise for it to decide otherwise.

What would change a decision is found by trying: the same question with one thing altered, decided
by the same rules. So nothing is said of a change that was not seen to work.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from policies.access import Action, Circumstances, Principal, Resource
from policies.access_samples import Asked
from policies.authorizers import authorizer_of
from policies.config import PolicyProfile
from policies.decision import AdmissionRequest, Approval, Decision, Verdict
from policies.evidence import Outcome, TrialKind
from policies.findings import Severity
from policies.permissions import LintLevel, Permissions
from policies.value import Value

_OTHER: Final = "somebody-else"


class RuleAnswer(Value):
    """What one rule says."""

    rule: str
    says: str
    reason: str


class Change(Value):
    """One thing that, altered, would change the decision."""

    change: str
    decided: str


class Explanation(Value):
    """A decision, the rules behind it, and what would change it."""

    question: str
    decided: str
    """`allow`, `review` or `refuse`."""

    rules: tuple[RuleAnswer, ...]
    """Those that determine it first."""

    changes: tuple[Change, ...]
    policy: str
    policy_digest: str


def word_of(decision: Decision) -> str:
    """`allow`, `review` or `refuse`."""
    return "allow" if decision.allowed else "review" if decision.needs_review else "refuse"


def explain_access(profile: PolicyProfile, asked: Asked) -> Explanation:
    """Why this principal may, or may not, do this.

    Raises:
        PolicyConfigError: A Cedar file of the policy is not exactly understood.
    """
    decision = _decide(profile, asked)
    changes = []
    for what, other in _variations(profile, asked):
        altered = _decide(profile, other)
        if altered.allowed is not decision.allowed:
            changes.append(Change(change=what, decided=word_of(altered)))
    return Explanation(
        question=f"may {asked.principal} {asked.action.value} {asked.resource.name}?",
        decided=word_of(decision),
        rules=tuple(
            RuleAnswer(rule=rule, says=word_of(decision), reason=reason)
            for rule, reason in zip(
                decision.rules or ("",) * len(decision.reasons), decision.reasons, strict=False
            )
        ),
        changes=tuple(changes),
        policy=profile.name,
        policy_digest=profile.digest,
    )


def _decide(profile: PolicyProfile, asked: Asked) -> Decision:
    return authorizer_of(in_roles(profile, asked.principal, asked.roles)).decide(
        asked.principal, asked.action, asked.resource, asked.context
    )


def in_roles(profile: PolicyProfile, principal: Principal, roles: tuple[str, ...]) -> PolicyProfile:
    """The policy, with the principal in these roles as well; for questions of "what if"."""
    if not roles:
        return profile
    kind = "person" if principal.is_person else "agent"
    name = principal.name if principal.is_person else principal.model or principal.name
    filled = dict(profile.access.roles)
    for role in roles:
        filled[role] = (*filled.get(role, ()), f"{kind}:{name}")
    access = profile.access.model_copy(update={"roles": filled})
    return profile.model_copy(update={"access": access})


def _variations(profile: PolicyProfile, asked: Asked) -> Iterator[tuple[str, Asked]]:
    """The same question with one thing altered, and what that is."""
    yield from _other_principals(profile, asked)
    yield from _other_resources(asked)
    if asked.action is Action.APPROVE:
        for vote in ("approve", "reject"):
            if vote != asked.context.vote:
                context = asked.context.model_copy(update={"vote": vote})
                yield f"the vote is {vote}", _with(asked, context=context)


def _other_principals(profile: PolicyProfile, asked: Asked) -> Iterator[tuple[str, Asked]]:
    principal, resource = asked.principal, asked.resource
    if not principal.is_person:
        yield "a person asks", _with(asked, principal=Principal.of_person(_OTHER))
    elif principal.name != resource.author:
        yield "the author asks", _with(asked, principal=Principal.of_person(resource.author))
    else:
        other = resource.model_copy(update={"author": _OTHER})
        yield "somebody else is the author", _with(asked, resource=other)
    if principal.is_person:
        session = Principal.of_session("a-session", person=principal.name, model="a-model")
        yield "a model asks, in a session of theirs", _with(asked, principal=session)
    for role in profile.access.roles:
        if role not in asked.roles:
            yield f"{principal} is in the role {role}", _with(asked, roles=(*asked.roles, role))


def _other_resources(asked: Asked) -> Iterator[tuple[str, Asked]]:
    resource = asked.resource
    for kind in resource.permissions:
        kept = tuple(each for each in resource.permissions if each != kind)
        cleared: dict[str, object] = {"permissions": kept}
        if kind in {"network", "secrets"}:
            cleared["hosts" if kind == "network" else "secrets"] = ()
        other = resource.model_copy(update=cleared)
        yield f"the tool does not declare {kind}", _with(asked, resource=other)
    for level in LintLevel:
        if level is not resource.level:
            other = resource.model_copy(update={"level": level})
            yield f"the tool is of level {level.value}", _with(asked, resource=other)


def _with(
    asked: Asked,
    *,
    principal: Principal | None = None,
    resource: Resource | None = None,
    context: Circumstances | None = None,
    roles: tuple[str, ...] | None = None,
) -> Asked:
    return Asked(
        principal=principal or asked.principal,
        action=asked.action,
        resource=resource or asked.resource,
        context=context or asked.context,
        roles=asked.roles if roles is None else roles,
    )


def explain_admission(
    profile: PolicyProfile, request: AdmissionRequest, *, at: datetime
) -> Explanation:
    """Why a tool is admitted, waits for a person, or is refused, on its evidence."""
    policy = profile.rules
    decision = policy.decide(request)
    order = {Verdict.REFUSE: 0, Verdict.REVIEW: 1, Verdict.ALLOW: 2}
    rulings = sorted(policy.rulings(request).items(), key=lambda each: order[each[1].verdict])
    changes = []
    for what, other in _alterations(profile, request, at):
        altered = policy.decide(other)
        if word_of(altered) != word_of(decision):
            changes.append(Change(change=what, decided=word_of(altered)))
    return Explanation(
        question=f"is {request.source.name} ({request.digest[:19]}…) admitted?",
        decided=word_of(decision),
        rules=tuple(
            RuleAnswer(rule=rule, says=ruling.verdict.value, reason=ruling.reason)
            for rule, ruling in rulings
        ),
        changes=tuple(changes),
        policy=profile.name,
        policy_digest=profile.digest,
    )


def _alterations(
    profile: PolicyProfile, request: AdmissionRequest, at: datetime
) -> Iterator[tuple[str, AdmissionRequest]]:
    """The same request with one thing altered, and at last with all that helps."""
    evidence = request.evidence
    clean = evidence.model_copy(
        update={
            "findings": tuple(f for f in evidence.findings if f.severity is not Severity.ERROR),
            "report": evidence.report.model_copy(
                update={
                    "findings": tuple(
                        f for f in evidence.report.findings if f.severity is not Severity.ERROR
                    )
                }
            ),
        }
    )
    proven = evidence.model_copy(
        update={
            "trials": tuple(
                trial.model_copy(update={"passed": True, "outcome": Outcome.RETURNED})
                if trial.kind is TrialKind.PROPERTY
                else trial
                for trial in evidence.trials
            )
        }
    )
    pure_source = request.source.model_copy(update={"permissions": Permissions()})
    pure = request.model_copy(
        update={
            "source": pure_source,
            "evidence": evidence.model_copy(
                update={
                    "source_digest": pure_source.digest,
                    "report": evidence.report.model_copy(update={"level": LintLevel.L0}),
                }
            ),
        }
    )
    if clean != evidence:
        yield "no check finds an error", request.model_copy(update={"evidence": clean})
    if proven != evidence:
        better = request.model_copy(update={"evidence": proven})
        yield "all runs with generated arguments pass", better
    if request.source.permissions.any_beyond_l0:
        yield "it declares no permissions", pure
    if request.approvals:
        yield "nobody had approved it", request.model_copy(update={"approvals": ()})
    yes = Approval(principal=request.author, digest=request.digest, at=at)
    yield "its author approves it", _approved(request, (yes,))
    for count in range(1, profile.admission.approvers + 1):
        people = tuple(
            Approval(principal=f"{_OTHER}-{n}", digest=request.digest, at=at) for n in range(count)
        )
        who = "another person approves it" if count == 1 else f"{count} other people approve it"
        yield who, _approved(request, people)
        if clean != evidence:
            both = request.model_copy(update={"evidence": clean})
            yield f"no check finds an error, and {who}", _approved(both, people)


def _approved(request: AdmissionRequest, more: tuple[Approval, ...]) -> AdmissionRequest:
    return request.model_copy(update={"approvals": (*request.approvals, *more)})

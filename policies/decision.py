"""Decisions: the shape of a verdict, and how rules combine into one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, assert_never

from pydantic import AwareDatetime

from policies.evidence import Evidence
from policies.source import ToolSource
from policies.value import Value
from policies.waivers import Waiver


class Verdict(StrEnum):
    """What one rule says."""

    ALLOW = "allow"
    REVIEW = "review"
    REFUSE = "refuse"


class Ruling(Value):
    """One rule's verdict, with the reason that a person or a model reads."""

    verdict: Verdict
    reason: str


class Channel(StrEnum):
    """For whom a version is callable; each one includes those before it."""

    SESSION = "session"
    """For the session that wrote it."""

    CANARY = "canary"
    """For a share of the calls of everybody."""

    STABLE = "stable"


class Approval(Value):
    """A person's yes to one digest, the one that was shown."""

    principal: str
    digest: str
    at: AwareDatetime
    comment: str = ""
    scope: Channel = Channel.STABLE
    """How far the yes goes."""

    expires_at: AwareDatetime | None = None
    """From when on it no longer counts; None is for good."""

    shown: str = ""
    """What was on the screen beyond the version: see `runtime.review.shown.Shown`."""

    def counts(self, at: AwareDatetime) -> bool:
        """Whether it has not expired at that time."""
        return self.expires_at is None or at < self.expires_at


class AdmissionRequest(Value):
    """What is asked of a policy: may this version be admitted, on this evidence?"""

    digest: str
    """Of the version."""

    source: ToolSource
    evidence: Evidence
    author: str
    approvals: tuple[Approval, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    """Those in force now; see `policies.waivers.in_force`."""


class Rule(Protocol):
    """One small question about an admission; pure."""

    def judge(self, request: AdmissionRequest) -> Ruling:
        """Allow, ask for a person, or refuse; never raise for what a request holds."""
        ...


class Decision(Value):
    """A policy's answer, with reasons in words and the policy it was taken under."""

    allowed: bool
    needs_review: bool
    reasons: tuple[str, ...]
    rules: tuple[str, ...] = ()
    """Identifiers of the rules that determined it; one a reason where it came from rules."""

    policy_digest: str


class Policy(Protocol):
    """Decides about admissions."""

    @property
    def digest(self) -> str:
        """Identity of the rules, recorded with each decision."""
        ...

    def decide(self, request: AdmissionRequest) -> Decision:
        """Decide from the request alone: same request, same policy, same decision."""
        ...


class AllOf:
    """Allows only what every rule allows. An empty set of rules refuses: nobody said yes."""

    def __init__(self, rules: tuple[Rule, ...], *, digest: str) -> None:
        self._rules = rules
        self.digest = digest

    def decide(self, request: AdmissionRequest) -> Decision:
        """Refuse if any rule refuses; else ask for review if any does; else allow."""
        if not self._rules:
            return self._decision(Verdict.REFUSE, ("the policy has no rules, so it refuses",))
        rulings = self.rulings(request)
        for verdict in (Verdict.REFUSE, Verdict.REVIEW):
            found = {rule: ruling for rule, ruling in rulings.items() if ruling.verdict is verdict}
            if found:
                return self._decision(verdict, _reasons(found), tuple(found))
        return self._decision(Verdict.ALLOW, _reasons(rulings), tuple(rulings))

    def rulings(self, request: AdmissionRequest) -> dict[str, Ruling]:
        """What every rule says, by the rule's identifier."""
        found: dict[str, Ruling] = {}
        for rule in self._rules:
            name = rule_id(rule)
            while name in found:  # the same rule with other settings
                name += "+"
            found[name] = rule.judge(request)
        return found

    def _decision(
        self, verdict: Verdict, reasons: tuple[str, ...], rules: tuple[str, ...] = ()
    ) -> Decision:
        match verdict:
            case Verdict.ALLOW:
                allowed, needs_review = True, False
            case Verdict.REVIEW:
                allowed, needs_review = False, True
            case Verdict.REFUSE:
                allowed, needs_review = False, False
            case _:
                assert_never(verdict)
        return Decision(
            allowed=allowed,
            needs_review=needs_review,
            reasons=reasons,
            rules=rules,
            policy_digest=self.digest,
        )


def rule_id(rule: Rule) -> str:
    """`no-error-findings` for `NoErrorFindings`: how decisions name a rule."""
    words = re.findall(r"[A-Z][a-z0-9]*", type(rule).__name__)
    return "-".join(words).lower()


def _reasons(rulings: Mapping[str, Ruling]) -> tuple[str, ...]:
    return tuple(ruling.reason for ruling in rulings.values())

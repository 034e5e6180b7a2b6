"""Tests of a policy: cases with the decision that they expect, and the rule that makes it.

A file of cases is TOML:

    [[access]]
    name = "a model approves nothing"
    principal = "session:s1"
    action = "approve"
    expect = "refuse"
    rule = "models-never-decide"

    [[admission]]
    name = "a pure tool with complete evidence"
    expect = "allow"
"""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from policies.access import Action, Circumstances, Principal, PrincipalKind, Resource
from policies.authorizers import authorizer_of
from policies.config import PolicyProfile
from policies.decision import AdmissionRequest, Approval, Decision
from policies.errors import PolicyConfigError
from policies.evidence import Evidence, LintReport, Outcome, Trial, TrialKind
from policies.explaining import in_roles, word_of
from policies.findings import Finding, Severity, Stage
from policies.permissions import LintLevel, Permissions
from policies.source import Example, ToolSource
from policies.value import Value, sha256_digest

_WHEN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_DIGEST: Final = sha256_digest(b"the version of a case")
Text = Annotated[str, Field(max_length=200)]


class CaseTool(Value):
    """The tool that a case is about."""

    name: Text = "a_tool"
    author: Text = "ada"
    origin: Literal["human", "agent", "import"] = "human"
    state: Text = "quarantined"
    permissions: Permissions = Permissions()


class AccessCase(Value):
    """Who does what, and what becomes of it."""

    name: Text
    principal: Text = "person:ada"
    """`person:NAME`, `agent:MODEL`, `session:ID`."""

    person: Text = "ada"
    """Whom a session works for."""

    model: Text = "a-model"
    """The model of a session."""

    roles: tuple[Text, ...] = ()
    """Roles of the principal beside those of the policy file."""

    action: Action
    vote: Literal["", "approve", "reject", "change"] = ""
    finding: Text = ""
    """Of `waive`: the rule that the finding is about."""

    approvals: int = 0
    tool: CaseTool = CaseTool()
    expect: Literal["allow", "refuse"]
    rule: Text = ""
    """Must be among those that determine it."""


class CaseEvidence(Value):
    """What was proven; nothing is said of what is complete."""

    examples: int = Field(default=3, ge=0, le=50)
    runs: int = Field(default=5, ge=0, le=5)
    """How often each example was run."""

    failed_examples: int = Field(default=0, ge=0, le=50)
    property_runs: int = Field(default=500, ge=0, le=500)
    failed_property_runs: int = Field(default=0, ge=0, le=500)
    errors: tuple[Text, ...] = ()
    """Rules of error findings."""


class AdmissionCase(Value):
    """A proven tool, and what the policy says to it."""

    name: Text
    tool: CaseTool = CaseTool()
    evidence: CaseEvidence = CaseEvidence()
    approvals: tuple[Text, ...] = ()
    """People who said yes."""

    expect: Literal["allow", "review", "refuse"]
    rule: Text = ""
    """Must be among those that determine it."""


class CaseFile(Value):
    """A file of cases."""

    policy: Text = ""
    """What they are about, where the command names no other: a shipped profile, or a path from
    this file on."""

    access: tuple[AccessCase, ...] = ()
    admission: tuple[AdmissionCase, ...] = ()


class CaseResult(Value):
    """What became of one case."""

    name: str
    passed: bool
    expected: str
    decided: str
    rules: tuple[str, ...]
    reasons: tuple[str, ...]
    problem: str = ""
    """In words, where it did not pass."""


def read_cases(text: str, *, origin: str) -> CaseFile:
    """Read a file of cases; `origin` names it in messages.

    Raises:
        PolicyConfigError: Not TOML, or not of this shape, or without any case.
    """
    try:
        cases = CaseFile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise PolicyConfigError(origin, f"not TOML: {error}") from None
    except ValidationError as error:
        raise PolicyConfigError(origin, _explain(error)) from None
    if not (cases.access or cases.admission):
        raise PolicyConfigError(origin, "there is no case in it; add [[access]] or [[admission]]")
    for case in cases.access:
        principal_of(case.principal, person=case.person, model=case.model, origin=origin)
    return cases


def run_cases(cases: CaseFile, profile: PolicyProfile) -> tuple[CaseResult, ...]:
    """Decide every case under a policy.

    Raises:
        PolicyConfigError: A Cedar file of the policy is not exactly understood.
    """
    return (
        *(_try_access(case, profile) for case in cases.access),
        *(_try_admission(case, profile) for case in cases.admission),
    )


def principal_of(text: str, *, person: str, model: str, origin: str = "principal") -> Principal:
    """The principal that `person:NAME`, `agent:MODEL` or `session:ID` means; else a person.

    Raises:
        PolicyConfigError: It is of no kind that there is.
    """
    kind, colon, name = text.partition(":")
    if not colon:
        kind, name = "person", text
    if kind not in {each.value for each in PrincipalKind} or not name:
        raise PolicyConfigError(
            origin, f"{text!r} is no principal; write person:NAME, agent:MODEL or session:ID"
        )
    if kind == PrincipalKind.SESSION:
        return Principal.of_session(name, person=person, model=model)
    return Principal(kind=PrincipalKind(kind), name=name)


def _try_access(case: AccessCase, profile: PolicyProfile) -> CaseResult:
    principal = principal_of(case.principal, person=case.person, model=case.model)
    resource = Resource.of_source(
        case_source(case.tool, examples=1),
        author=case.tool.author,
        origin=case.tool.origin,
        digest=_DIGEST,
        state=case.tool.state,
    )
    context = Circumstances(vote=case.vote, rule=case.finding, approvals=case.approvals)
    authorizer = authorizer_of(in_roles(profile, principal, case.roles))
    decision = authorizer.decide(principal, case.action, resource, context)
    return _result(case.name, case.expect, case.rule, decision)


def _try_admission(case: AdmissionCase, profile: PolicyProfile) -> CaseResult:
    source = case_source(case.tool, examples=case.evidence.examples)
    request = AdmissionRequest(
        digest=_DIGEST,
        source=source,
        evidence=_evidence(case, source),
        author=case.tool.author,
        approvals=tuple(
            Approval(principal=person, digest=_DIGEST, at=_WHEN) for person in case.approvals
        ),
    )
    return _result(case.name, case.expect, case.rule, profile.policy.decide(request))


def case_source(tool: CaseTool, *, examples: int = 1) -> ToolSource:
    """A source with the permissions of a case's tool."""
    return ToolSource(
        name=tool.name,
        description="The tool of a case.",
        code=f"def {tool.name}(number: int) -> int:\n    return number\n",
        examples=tuple(Example(arguments={"number": n}, returns=n) for n in range(examples)),
        permissions=tool.permissions,
    )


def _evidence(case: AdmissionCase, source: ToolSource) -> Evidence:
    had = case.evidence
    trials = [
        _trial(
            TrialKind.EXAMPLE if run == 0 else TrialKind.REPEAT,
            number,
            passed=number >= had.failed_examples,
        )
        for number in range(had.examples)
        for run in range(had.runs)
    ]
    trials += [
        _trial(TrialKind.PROPERTY, number, passed=number >= had.failed_property_runs)
        for number in range(had.property_runs)
    ]
    findings = tuple(
        Finding(
            rule=rule, severity=Severity.ERROR, stage=Stage.LINT, message="an error", suggestion=""
        )
        for rule in had.errors
    )
    level: LintLevel = source.permissions.lint_level
    return Evidence(
        subject=_DIGEST,
        source_digest=source.digest,
        image_digest=_DIGEST,
        report=LintReport(level=level, findings=findings),
        trials=tuple(trials),
        produced_by="a case",
        produced_at=_WHEN,
    )


def _trial(kind: TrialKind, number: int, *, passed: bool) -> Trial:
    return Trial(
        kind=kind,
        arguments={"number": number},
        expected=None if kind is TrialKind.PROPERTY else {"returns": number},
        outcome=Outcome.RETURNED if passed else Outcome.CRASHED,
        value=number if passed else None,
        passed=passed,
        detail="it returned" if passed else "it crashed",
        wall_seconds=0.0,
    )


def _result(name: str, expected: str, rule: str, decision: Decision) -> CaseResult:
    decided = word_of(decision)
    problem = ""
    if decided != expected:
        problem = f"expected {expected}, decided {decided}: {'; '.join(decision.reasons)}"
    elif rule and rule not in decision.rules:
        near = get_close_matches(rule, decision.rules, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        problem = (
            f"decided {decided} as expected, by {', '.join(decision.rules) or 'no rule'} "
            f"and not by {rule!r}{hint}"
        )
    return CaseResult(
        name=name,
        passed=not problem,
        expected=expected,
        decided=decided,
        rules=decision.rules,
        reasons=decision.reasons,
        problem=problem,
    )


def _explain(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    unknown = [problem for problem in problems if problem["type"] == "extra_forbidden"]
    problem = (unknown or problems)[0]
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = (*AccessCase.model_fields, *AdmissionCase.model_fields, *CaseTool.model_fields)
        near = get_close_matches(str(problem["loc"][-1]), {*known, *CaseEvidence.model_fields}, n=1)
        return f"unknown key {path!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    return f"{path}: {problem['msg']} (given: {problem['input']!r:.80})"

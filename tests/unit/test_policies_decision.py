"""Rules fail closed, one by one and together; profiles are understood exactly or not at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import policies.config
from policies.config import SHIPPED_PROFILES, PolicyProfile, load_profile
from policies.decision import AdmissionRequest, AllOf, Approval, Decision
from policies.errors import PolicyConfigError
from policies.evidence import Evidence, LintReport, Outcome, Trial, TrialKind
from policies.findings import Finding, Severity, Stage
from policies.permissions import LintLevel, Permissions
from policies.source import Example, ToolSource
from policies.value import canonical_json
from runtime.profiles import read_profile

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
EXAMPLE = Example(arguments={"a": 1}, returns=2)
SOURCE = ToolSource(
    name="plus_one",
    description="Add one.",
    code="def plus_one(a: int) -> int:\n    return a + 1\n",
    examples=(EXAMPLE,),
)


def profile(name: str) -> PolicyProfile:
    return read_profile(name)


def trial(kind: TrialKind, **changes: object) -> Trial:
    fields: dict[str, object] = {
        "kind": kind,
        "arguments": {"a": 1},
        "expected": None if kind is TrialKind.PROPERTY else {"returns": 2},
        "outcome": Outcome.RETURNED,
        "value": 2,
        "passed": True,
        "detail": "returned 2 as expected",
        "wall_seconds": 0.1,
    }
    return Trial.model_validate(fields | changes)


TRIALS = (trial(TrialKind.EXAMPLE), trial(TrialKind.REPEAT), trial(TrialKind.PROPERTY))


def request(
    source: ToolSource = SOURCE,
    trials: tuple[Trial, ...] = TRIALS,
    *,
    findings: tuple[Finding, ...] = (),
    subject: str = DIGEST,
    level: LintLevel = LintLevel.L0,
    approvals: tuple[Approval, ...] = (),
    author: str = "ada",
) -> AdmissionRequest:
    return AdmissionRequest(
        digest=DIGEST,
        source=source,
        evidence=Evidence(
            subject=subject,
            source_digest=source.digest,
            image_digest=DIGEST,
            report=LintReport(level=level, findings=findings),
            trials=trials,
            produced_by="toolkiln",
            produced_at=NOW,
        ),
        author=author,
        approvals=approvals,
    )


def decide(name: str, asked: AdmissionRequest) -> Decision:
    return profile(name).policy.decide(asked)


def yes(principal: str, digest: str = DIGEST) -> Approval:
    return Approval(principal=principal, digest=digest, at=NOW)


def test_local_admits_a_pure_tool_with_complete_evidence():
    decision = decide("local", request())

    assert (decision.allowed, decision.needs_review) == (True, False)
    assert decision.policy_digest == profile("local").digest


def test_an_empty_set_of_rules_refuses():
    decision = AllOf((), digest=DIGEST).decide(request())

    assert (decision.allowed, decision.needs_review) == (False, False)


@pytest.mark.parametrize("name", SHIPPED_PROFILES)
def test_no_shipped_profile_admits_without_examples(name: str):
    bare = SOURCE.model_copy(update={"examples": ()})

    decision = decide(name, request(bare, (), approvals=(yes("eve"),)))

    assert (decision.allowed, decision.needs_review) == (False, False)
    assert "example" in decision.reasons[0]


@pytest.mark.parametrize("name", SHIPPED_PROFILES)
@pytest.mark.parametrize(
    "trials",
    [
        (),
        TRIALS[:1],
        (TRIALS[0], trial(TrialKind.REPEAT, arguments={"a": 2}), TRIALS[2]),
        (TRIALS[0], trial(TrialKind.REPEAT, expected={"returns": 3}), TRIALS[2]),
        (TRIALS[0], trial(TrialKind.REPEAT, passed=False), TRIALS[2]),
        (TRIALS[0], trial(TrialKind.REPEAT, outcome=Outcome.CRASHED), TRIALS[2]),
        TRIALS[:2],
    ],
    ids=["none", "once", "other input", "other answer", "failed", "passed a crash", "no property"],
)
def test_incomplete_or_failed_evidence_is_refused_even_with_approval(
    name: str, trials: tuple[Trial, ...]
):
    decision = decide(name, request(trials=trials, approvals=(yes("eve"),)))

    assert (decision.allowed, decision.needs_review) == (False, False)


def test_evidence_about_other_bytes_is_refused():
    assert not decide("local", request(subject="sha256:" + "b" * 64)).allowed


def test_an_error_finding_is_refused():
    finding = Finding(
        rule="RP301", severity=Severity.ERROR, stage=Stage.LINT, message="no", suggestion="do"
    )
    decision = decide("local", request(findings=(finding,)))

    assert not decision.allowed
    assert "RP301" in decision.reasons[0]


@pytest.mark.parametrize("name", SHIPPED_PROFILES)
def test_code_level_waits_for_a_person_everywhere(name: str):
    wide = SOURCE.model_copy(update={"permissions": Permissions(level=LintLevel.L2)})

    waiting = decide(name, request(wide, level=LintLevel.L2))
    approved = decide(name, request(wide, level=LintLevel.L2, approvals=(yes("eve"),)))

    assert (waiting.allowed, waiting.needs_review) == (False, True)
    assert approved.allowed


def test_a_level_that_was_not_linted_is_refused():
    wide = SOURCE.model_copy(update={"permissions": Permissions(level=LintLevel.L2)})

    assert not decide("local", request(wide, level=LintLevel.L0, approvals=(yes("eve"),))).allowed


def test_production_always_asks_and_never_the_author():
    waiting = decide("production", request())
    by_author = decide("production", request(approvals=(yes("ada"),)))
    by_other = decide("production", request(approvals=(yes("eve"),)))

    assert (waiting.allowed, waiting.needs_review) == (False, True)
    assert (by_author.allowed, by_author.needs_review) == (False, False)
    assert "author" in by_author.reasons[0]
    assert by_other.allowed


@pytest.mark.parametrize("name", SHIPPED_PROFILES)
def test_an_approval_of_other_bytes_is_refused(name: str):
    decision = decide(name, request(approvals=(yes("eve", "sha256:" + "b" * 64),)))

    assert (decision.allowed, decision.needs_review) == (False, False)


def test_team_asks_a_person_when_generated_arguments_fail():
    shaky = (*TRIALS[:2], trial(TrialKind.PROPERTY, outcome=Outcome.RAISED, passed=False))

    assert decide("local", request(trials=shaky)).allowed
    assert decide("team", request(trials=shaky)).needs_review


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("name =", "nam ="), "did you mean 'name'"),
        (("approvers", "aprovers"), "did you mean 'approvers'"),
        (("examples = 1", "examples = 0"), "evidence.examples"),
        (('review = "permissions"', 'review = "sometimes"'), "admission.review"),
        (("[evidence]", "[evidence"), "not TOML"),
        (('automatic_levels = ["L0"]', 'automatic_levels = ["L3"]'), "automatic_levels"),
        (("wall_seconds = 10.0", "wall_seconds = inf"), "run.wall_seconds"),
        (("pids = 48", "pids = 0"), "run.pids"),
    ],
)
def test_a_file_that_is_not_exactly_understood_is_refused(change: tuple[str, str], words: str):
    text = (Path(policies.config.__file__).parent / "profiles" / "local.toml").read_text()
    assert change[0] in text

    with pytest.raises(PolicyConfigError, match="Nothing was admitted") as caught:
        load_profile(text.replace(*change), origin="mine.toml")

    assert words in str(caught.value)
    assert "mine.toml" in str(caught.value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=5,
)
examples = st.builds(
    Example, arguments=st.dictionaries(st.text("ab", min_size=1), json_values), returns=json_values
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
sources = st.builds(
    ToolSource,
    name=texts,
    description=texts,
    code=texts,
    examples=st.lists(examples, max_size=2).map(tuple),
)


@given(sources)
def test_digest_survives_a_round_trip_through_json(source: ToolSource):
    assert ToolSource.model_validate(source.to_json()).digest == source.digest


@given(sources, sources)
def test_digests_are_equal_exactly_when_sources_are(first: ToolSource, second: ToolSource):
    assert (first.digest == second.digest) == (
        # As text, because in Python 1 == True == 1.0, and to a tool the order of keys counts.
        json.dumps(first.to_json()) == json.dumps(second.to_json())
    )


def test_an_example_keeps_the_order_of_its_keys():
    example = Example(arguments={"d": {"p": 1, "A": 2}}, returns=False)
    source = SOURCE.model_copy(update={"examples": (example,)})

    again = ToolSource.model_validate_json(canonical_json(source.to_json()))

    assert list(again.examples[0].arguments["d"]) == ["p", "A"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"arguments": {}},
        {"arguments": {}, "returns": 1, "raises": "ValueError"},
        {"returns": 1},
        {"arguments": {}, "result": 1},
    ],
)
def test_an_example_without_exactly_one_expectation_is_refused(fields: dict[str, object]):
    with pytest.raises(ValueError, match=r"returns|raises|arguments|result"):
        Example.model_validate(fields)


def test_null_is_an_expected_value():
    assert Example.model_validate({"arguments": {}, "returns": None}).expectation == {
        "returns": None
    }
    assert Example.model_validate(
        {"arguments": {}, "returns": None, "raises": "KeyError"}
    ).expectation == {"raises": "KeyError"}

"""Waivers: one rule, one digest, one person, until a time; and nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from factories import NOON, make_evidence, make_schema, make_source
from hypothesis import given
from hypothesis import strategies as st

from policies.decision import AdmissionRequest, Verdict
from policies.evidence import Evidence, Outcome, Trial, TrialKind
from policies.findings import Finding, Severity, Stage
from policies.rules import NoErrorFindings, PropertyRunsDone
from policies.waivers import Waiver, Waiving, in_force

SOURCE = make_source()
DAY = timedelta(days=1)
ALLOWED = Waiving(rules=frozenset({"TR202"}), author_may=False)


def waiver(rule: str = "TR202", *, digest: str = "d", by: str = "bob", days: int = 1) -> Waiver:
    return Waiver(
        rule=rule,
        digest=digest,
        principal=by,
        reason="known",
        at=NOON,
        expires_at=NOON + days * DAY,
    )


def evidence(*rules: str, severity: Severity = Severity.WARNING) -> Evidence:
    """With a generated run that failed, and findings of these rules."""
    failed = Trial(
        kind=TrialKind.PROPERTY,
        arguments={"number": 0},
        outcome=Outcome.RAISED,
        passed=False,
        detail="raised KeyError",
        wall_seconds=0.01,
    )
    findings = tuple(
        Finding(rule=rule, severity=severity, stage=Stage.TRIALS, message="m", suggestion="s")
        for rule in rules
    )
    made = make_evidence(SOURCE, make_schema())
    return made.model_copy(update={"trials": (*made.trials, failed), "findings": findings})


def request(found: Evidence, *waivers: Waiver) -> AdmissionRequest:
    return AdmissionRequest(
        digest="d", source=SOURCE, evidence=found, author="ada", waivers=waivers
    )


def property_verdict(found: Evidence, *waivers: Waiver, rules: Waiving = ALLOWED) -> Verdict:
    rule = PropertyRunsDone(minimum=1, on_failure=Verdict.REVIEW, waiving=rules)
    return rule.judge(request(found, *waivers)).verdict


@pytest.mark.parametrize(
    ("given_waiver", "wanted"),
    [
        (None, Verdict.REVIEW),
        (waiver(), Verdict.ALLOW),
        (waiver(digest="another"), Verdict.REVIEW),
        (waiver("TR203"), Verdict.REVIEW),
        (waiver(by="ada"), Verdict.REVIEW),
    ],
    ids=["none", "fits", "another version", "another rule", "the author's"],
)
def test_only_the_waiver_that_fits_counts(given_waiver: Waiver | None, wanted: Verdict) -> None:
    given_waivers = () if given_waiver is None else (given_waiver,)

    assert property_verdict(evidence("TR202"), *given_waivers) is wanted


def test_every_finding_about_generated_arguments_must_be_waived() -> None:
    both = Waiving(rules=frozenset({"TR202", "TR203"}))

    assert property_verdict(evidence("TR202", "TR203"), waiver(), rules=both) is Verdict.REVIEW
    assert (
        property_verdict(evidence("TR202", "TR203"), waiver(), waiver("TR203"), rules=both)
        is Verdict.ALLOW
    )


def test_a_failure_without_a_finding_cannot_be_waived() -> None:
    assert property_verdict(evidence(), waiver()) is Verdict.REVIEW


def test_a_rule_off_the_policys_list_cannot_be_waived() -> None:
    found = evidence("TR204", severity=Severity.ERROR)

    refused = NoErrorFindings(waiving=ALLOWED).judge(request(found, waiver("TR204")))
    lax = Waiving(rules=frozenset({"TR204"}))
    let_through = NoErrorFindings(waiving=lax).judge(request(found, waiver("TR204")))

    assert (refused.verdict, let_through.verdict) == (Verdict.REFUSE, Verdict.ALLOW)


times = st.datetimes(datetime(2025, 12, 1), datetime(2026, 3, 1)).map(  # noqa: DTZ001 - zone below
    lambda at: at.replace(tzinfo=NOON.tzinfo)
)


@given(st.lists(st.tuples(st.sampled_from(["bob", "eve"]), st.integers(0, 40)), max_size=6), times)
def test_of_each_person_the_last_word_counts_until_it_ends(
    said: list[tuple[str, int]], at: datetime
) -> None:
    waivers = [waiver(by=by, days=days) for by, days in said]

    counting = in_force(waivers, digest="d", at=at)

    last = {each.principal: each for each in waivers}
    wanted = {by for by, each in last.items() if each.at <= at < each.expires_at}
    assert {each.principal for each in counting} == wanted
    assert in_force(waivers, digest="e", at=at) == ()

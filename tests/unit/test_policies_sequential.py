"""The canary's test: exact under the null hypothesis, quick where a canary is bad."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.sequential import (
    CanarySettings,
    CanaryVerdict,
    Tally,
    evidence_above,
    evidence_of_fine,
    evidence_of_worse,
    judge_canary,
)

rates = st.floats(0.0, 1.0)
sizes = st.integers(0, 6)
unhurried = settings(deadline=None, max_examples=30)


def probability(failed: int, calls: int, rate: float) -> float:
    """Of so many failures among so many calls."""
    return math.comb(calls, failed) * rate**failed * (1.0 - rate) ** (calls - failed)


def expectation(canary: int, stable: int, rate: float, other: float, *, null: str, d: float):
    """Of the evidence over all outcomes of so many calls at these failure rates."""
    total = 0.0
    for bad in range(canary + 1):
        for bad_other in range(stable + 1):
            mine = Tally(succeeded=canary - bad, failed=bad)
            others = Tally(succeeded=stable - bad_other, failed=bad_other)
            found = {"worse": evidence_of_worse, "fine": evidence_of_fine}[null](mine, others, d)
            weight = probability(bad, canary, rate) * probability(bad_other, stable, other)
            total += weight * found
    return total


@unhurried
@given(sizes, sizes, rates, rates, st.floats(0.0, 0.5))
def test_a_canary_within_bounds_gives_no_evidence_on_average(
    canary: int, stable: int, rate: float, slack: float, tolerated: float
) -> None:
    other = max(0.0, rate - tolerated) + slack * (1.0 - max(0.0, rate - tolerated))

    assert expectation(canary, stable, rate, other, null="worse", d=tolerated) <= 1.0 + 1e-9


@unhurried
@given(sizes, sizes, rates, rates, st.floats(0.01, 0.5))
def test_a_canary_beyond_bounds_gives_no_evidence_for_it_on_average(
    canary: int, stable: int, other: float, slack: float, tolerated: float
) -> None:
    other *= 1.0 - tolerated
    rate = min(1.0, other + tolerated + slack * (1.0 - other - tolerated))

    assert expectation(canary, stable, rate, other, null="fine", d=tolerated) <= 1.0 + 1e-9


@unhurried
@given(st.integers(0, 200), st.integers(0, 200), rates.filter(lambda r: 0.0 < r < 1.0))
def test_evidence_above_a_ceiling_needs_failures_above_it(
    succeeded: int, failed: int, ceiling: float
) -> None:
    found = evidence_above(Tally(succeeded=succeeded, failed=failed), ceiling)

    if failed <= ceiling * (succeeded + failed):
        assert found <= 1.0 + 1e-9


def run(canary_rate: float, stable_rate: float, calls: int, seed: int, **changes: object):
    """The verdict that ends a canary that gets a tenth of the calls, and after how many of them."""
    judged = CanarySettings.model_validate(changes)
    dice = random.Random(seed)  # noqa: S311 - the same dice each time is the point
    counts = {True: [0, 0], False: [0, 0]}
    for _ in range(calls):
        mine = dice.random() < 0.1
        counts[mine][dice.random() < (canary_rate if mine else stable_rate)] += 1
        if not mine:
            continue
        canary, stable = (
            Tally(succeeded=counts[who][0], failed=counts[who][1]) for who in (True, False)
        )
        verdict = judge_canary(canary, stable, judged).verdict
        if verdict is not CanaryVerdict.GO_ON:
            return verdict, canary.calls
    return CanaryVerdict.GO_ON, calls


def test_looking_after_every_call_does_not_take_good_canaries_out() -> None:
    ends = [run(0.05, 0.05, 600, seed, tolerated_increase=0.0)[0] for seed in range(20)]

    assert ends.count(CanaryVerdict.TAKE_OUT) <= 1


def test_a_canary_that_always_fails_is_out_within_few_calls() -> None:
    assert run(1.0, 0.0, 10_000, 1) == (CanaryVerdict.TAKE_OUT, 4)


def test_a_canary_that_fails_without_any_stable_call_is_out_as_well() -> None:
    judged = judge_canary(Tally(failed=14), Tally(), CanarySettings())

    assert judged.verdict is CanaryVerdict.TAKE_OUT
    assert judged.evidence >= judged.threshold


@pytest.mark.parametrize(("promote", "wanted"), [("automatic", "promote"), ("never", "go_on")])
def test_a_good_canary_is_promoted_only_where_the_policy_says_so(promote: str, wanted: str) -> None:
    verdict, _ = run(0.0, 0.0, 5_000, 3, promote=promote)

    assert verdict.value == wanted


def test_too_few_calls_promote_nothing() -> None:
    generous = CanarySettings(promote="automatic", least_calls=500, tolerated_increase=0.5)

    judged = judge_canary(Tally(succeeded=499), Tally(succeeded=5_000), generous)

    assert judged.verdict is CanaryVerdict.GO_ON

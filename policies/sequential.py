"""Is a canary worse than the stable version? A test that may be looked at after every call.

Method: the running likelihood ratio against the best member of the null hypothesis (Wasserman,
Ramdas, Balakrishnan: "Universal inference", PNAS 117 (2020), section 8), with the Beta(1/2, 1/2)
mixture of Robbins ("Statistical methods related to the law of the iterated logarithm", 1970) as
the alternative. For outcomes whose failure rates are constant, its value exceeds 1/e ever, at
whatever time one looks and however calls are shared out, with a probability of at most e under
every member of the null hypothesis (Ville's inequality). Exact, for few calls as for many.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Literal

from pydantic import Field

from policies.value import Value

_STEPS = 80
"""Of a ternary search; the interval is below 1e-14 then."""


class Tally(Value):
    """Calls of one version that say something about it."""

    succeeded: int = Field(default=0, ge=0)
    failed: int = Field(default=0, ge=0)

    @property
    def calls(self) -> int:
        """All of them."""
        return self.succeeded + self.failed


class CanarySettings(Value):
    """When a canary is taken out, or becomes the stable one, by itself."""

    weight: float = Field(default=0.1, gt=0.0, le=1.0)
    """Share of the sessions that get a canary, where nobody says otherwise."""

    tolerated_increase: float = Field(default=0.05, ge=0.0, lt=1.0)
    """So much higher than that of the stable one the failure rate may be."""

    failure_ceiling: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Above this rate it is taken out whatever the stable one does."""

    false_alarm: float = Field(default=0.01, gt=0.0, lt=1.0)
    """Probability that a canary which is within both bounds is ever taken out."""

    promote: Literal["never", "automatic"] = "never"
    false_promotion: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Probability that a canary beyond the tolerated increase is ever promoted by itself."""

    least_calls: int = Field(default=30, ge=1, le=1_000_000)
    """Calls of the canary before it is promoted by itself."""


class CanaryVerdict(StrEnum):
    """What the counts say."""

    GO_ON = "go_on"
    TAKE_OUT = "take_out"
    PROMOTE = "promote"


class CanaryJudgement(Value):
    """A verdict, and what it rests on."""

    verdict: CanaryVerdict
    evidence: float
    """Likelihood ratio against the hypothesis that decides, at least."""

    threshold: float
    reason: str


def judge_canary(canary: Tally, stable: Tally, settings: CanarySettings) -> CanaryJudgement:
    """What becomes of a canary; pure, and safe to ask after every call."""
    tolerated = settings.tolerated_increase
    # Two chances to be taken out share the one probability of a false alarm.
    alarm = 2.0 / settings.false_alarm
    worse = evidence_of_worse(canary, stable, tolerated)
    bad = evidence_above(canary, settings.failure_ceiling)
    seen = (
        f"{canary.failed} of {canary.calls} calls of the canary failed, "
        f"{stable.failed} of {stable.calls} of the stable version"
    )
    if max(worse, bad) >= alarm:
        return CanaryJudgement(
            verdict=CanaryVerdict.TAKE_OUT,
            evidence=max(worse, bad),
            threshold=alarm,
            reason=f"{seen}: more than the policy tolerates",
        )
    if settings.promote == "automatic" and canary.calls >= settings.least_calls:
        fine = evidence_of_fine(canary, stable, tolerated)
        threshold = 1.0 / settings.false_promotion
        if fine >= threshold:
            return CanaryJudgement(
                verdict=CanaryVerdict.PROMOTE,
                evidence=fine,
                threshold=threshold,
                reason=f"{seen}: within what the policy tolerates",
            )
    return CanaryJudgement(
        verdict=CanaryVerdict.GO_ON, evidence=max(worse, bad), threshold=alarm, reason=seen
    )


def evidence_of_worse(canary: Tally, stable: Tally, tolerated: float) -> float:
    """Evidence against "the canary fails at most `tolerated` more often than the stable one"."""
    within = _rate(canary, if_none=0.0) <= _rate(stable, if_none=1.0) + tolerated
    return _ratio(canary, stable, tolerated, mle_is_null=within)


def evidence_of_fine(canary: Tally, stable: Tally, tolerated: float) -> float:
    """Evidence against "the canary fails `tolerated` more often than the stable one, or more"."""
    beyond = _rate(canary, if_none=1.0) >= _rate(stable, if_none=0.0) + tolerated
    return _ratio(canary, stable, tolerated, mle_is_null=beyond)


def evidence_above(tally: Tally, ceiling: float) -> float:
    """Evidence against "it fails at most at the rate `ceiling`"."""
    best = min(_rate(tally, if_none=0.0), ceiling)
    return _from_log(_log_mixture(tally) - _log_likelihood(best, tally))


def _ratio(canary: Tally, stable: Tally, tolerated: float, *, mle_is_null: bool) -> float:
    """Mixture over the best of the null: the rates as they are, or the edge of the hypothesis."""
    if mle_is_null:
        best = _log_likelihood(_rate(canary), canary) + _log_likelihood(_rate(stable), stable)
    else:
        # On the edge the sum is concave in the rate of the stable one.
        best = _maximum(
            lambda rate: _log_likelihood(rate + tolerated, canary) + _log_likelihood(rate, stable),
            0.0,
            1.0 - tolerated,
        )
    return _from_log(_log_mixture(canary) + _log_mixture(stable) - best)


def _rate(tally: Tally, *, if_none: float = 0.5) -> float:
    return tally.failed / tally.calls if tally.calls else if_none


def _log_mixture(tally: Tally) -> float:
    """Probability of one order of these outcomes, the rate being drawn from Beta(1/2, 1/2)."""
    return (
        math.lgamma(tally.failed + 0.5)
        + math.lgamma(tally.succeeded + 0.5)
        - math.lgamma(tally.calls + 1.0)
        - math.log(math.pi)
    )


def _log_likelihood(rate: float, tally: Tally) -> float:
    return _times_log(tally.failed, rate) + _times_log(tally.succeeded, 1.0 - rate)


def _times_log(count: int, probability: float) -> float:
    if count == 0:
        return 0.0
    return count * math.log(probability) if probability > 0.0 else -math.inf


def _maximum(function: Callable[[float], float], low: float, high: float) -> float:
    """The greatest value of a concave function between `low` and `high`, by ternary search."""
    for _ in range(_STEPS):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if function(left) < function(right):
            low = left
        else:
            high = right
    return function((low + high) / 2)


def _from_log(value: float) -> float:
    """Bounded, so that it can be written down as a number."""
    return math.exp(min(value, 600.0))

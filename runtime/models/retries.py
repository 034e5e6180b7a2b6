"""When a failed request is made again, and how long to wait before."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request gave no answer, in words for a person."""

    reason: str
    advice: str
    retryable: bool = False
    unavailable: bool = False
    """No key, no such model, or no connection: to be put right outside."""

    retry_after_seconds: float | None = None
    """The provider's own word on when to ask again."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with jitter, bounded in number and in length."""

    requests: int = 5
    """How often one answer is asked for, the first time included."""

    first_delay_seconds: float = 0.5
    longest_delay_seconds: float = 60.0
    jitter: Callable[[], float] = random.random
    """Gives a number from 0 to 1; spreads clients that failed at the same moment."""

    def delay_seconds(self, made: int, failure: Failure) -> float | None:
        """How long to wait after `made` requests; None if asking again is of no use.

        A provider that asks for a longer wait than the longest is not asked again at all: to
        come back earlier would only be refused.
        """
        if not failure.retryable or made >= self.requests:
            return None
        asked = failure.retry_after_seconds
        if asked is None:
            longest = min(self.first_delay_seconds * 2.0 ** (made - 1), self.longest_delay_seconds)
            return longest * (0.5 + self.jitter() / 2)
        if asked > self.longest_delay_seconds:
            return None
        return asked * (1 + self.jitter() / 10)

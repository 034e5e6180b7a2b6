"""How a new version behaves beside the one that it is to replace, on the same arguments."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Final

from pydantic import JsonValue

from policies.outcomes import Outcome
from policies.value import JsonObject, Value

SLOWER_FACTOR: Final = 5.0
SLOWER_SECONDS: Final = 0.5
"""Slower by far is both: this many times the time, and this much more of it."""


class InputOrigin(StrEnum):
    """Where the arguments come from."""

    RECORDED = "recorded"
    """A call of the version that is to be replaced; what it answered then was kept."""

    EARLIER = "earlier"
    """A call of a version before that, run again on both."""

    GENERATED = "generated"
    """Made from the schema, because too few calls were kept; run on both."""


class Difference(StrEnum):
    """What is different on one input, seen from whoever calls the tool."""

    SAME = "same"
    DIFFERS = "differs"
    """It returns another value."""

    RAISES_OTHERWISE = "raises_otherwise"
    """It raises another exception."""

    NOW_RAISES = "now_raises"
    """It returned before."""

    NOW_RETURNS = "now_returns"
    """It raised, or was stopped, before."""

    NOW_STOPPED = "now_stopped"
    """It answered before, and now runs into a limit, crashes or breaks off."""

    NOT_TAKEN = "not_taken"
    """The arguments do not fit its schema any more."""

    SLOWER = "slower"
    """The same answer, slower by far."""


class Answer(Value):
    """What one version made of one input."""

    outcome: Outcome
    value: JsonValue = None
    error_type: str | None = None
    """Class of the exception; the guest's word: untrusted."""

    wall_seconds: float | None = None
    """None where it was not measured in the same way."""


class ReplayRun(Value):
    """Both versions on one input. Compared on the host from raw answers.

    Evidence is kept for good, and what callers sent should not be: arguments and answers are
    there only where they differ, for a few inputs, the smallest.
    """

    origin: InputOrigin
    arguments_digest: str
    difference: Difference
    detail: str
    """What is different, in one printable sentence."""

    arguments: JsonObject | None = None
    before: Answer | None = None
    after: Answer | None = None


class Replay(Value):
    """The behaviour of a version beside its predecessor."""

    predecessor: str
    """Digest of the version that was approved when this one came."""

    predecessor_ref: str
    """Its name and number, for people."""

    runs: tuple[ReplayRun, ...] = ()
    left_out: str = ""
    """Why there are no runs, or fewer than wanted; empty where nothing is missing."""

    @property
    def differences(self) -> tuple[ReplayRun, ...]:
        """The runs in which the versions are not the same."""
        return tuple(run for run in self.runs if run.difference is not Difference.SAME)

    def count(self, origin: InputOrigin) -> int:
        """How many inputs came from there."""
        return sum(run.origin is origin for run in self.runs)

    @property
    def summary(self) -> str:
        """One sentence for people and models.

        It names no recorded input: those are other callers', and the author's model reads it.
        """
        if not self.runs:
            return f"not compared with {self.predecessor_ref}: {self.left_out}"
        kept = len(self.runs) - self.count(InputOrigin.GENERATED)
        inputs = f"{kept} recorded and {len(self.runs) - kept} generated inputs"
        if not self.differences:
            return f"behaves as {self.predecessor_ref} on {inputs}"
        kinds = Counter(run.difference.value.replace("_", " ") for run in self.differences)
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        generated = (run for run in self.differences if run.origin is InputOrigin.GENERATED)
        example = next(generated, None)
        return (
            f"behaves differently from {self.predecessor_ref} on {len(self.differences)} of "
            f"{inputs} ({told}){'' if example is None else f': {example.detail}'}"
        )

"""Comparing the answers of two versions on one input; on the host, from raw answers."""

from __future__ import annotations

from typing import Final

from policies.outcomes import Outcome
from policies.redaction import NO_REDACTION, Redaction
from policies.replay import (
    SLOWER_FACTOR,
    SLOWER_SECONDS,
    Answer,
    Difference,
    InputOrigin,
    ReplayRun,
)
from policies.value import JsonObject, canonical_json
from runtime.compare import matches
from runtime.verdicts import short_arguments, short_value
from sandbox.base import ExecutionResult

MOST_SHOWN: Final = 10
"""Of so many inputs that differ, the smallest, the evidence keeps what went in and came out."""

MOST_SHOWN_BYTES: Final = 8_192

_ANSWERED: Final = frozenset({Outcome.RETURNED, Outcome.RAISED})
_WORDS: Final = {
    Difference.SAME: "the same answer",
    Difference.DIFFERS: "another value",
    Difference.RAISES_OTHERWISE: "another exception",
    Difference.NOW_RAISES: "an exception instead of a value",
    Difference.NOW_RETURNS: "an answer where there was none, or an exception",
    Difference.NOW_STOPPED: "no answer where there was one",
    Difference.NOT_TAKEN: "arguments that do not fit the schema any more",
    Difference.SLOWER: "the same answer, slower by far",
}


def answer_of(result: ExecutionResult) -> Answer:
    """What a version made of an input."""
    return Answer(
        outcome=result.outcome,
        value=result.value if result.outcome is Outcome.RETURNED else None,
        error_type=result.error_type if result.outcome is Outcome.RAISED else None,
        wall_seconds=round(result.timings.execute, 6),
    )


def difference_of(before: Answer, after: Answer) -> Difference:
    """What is different between two answers to one input."""
    if before.outcome not in _ANSWERED:
        return Difference.NOW_RETURNS if after.outcome in _ANSWERED else Difference.SAME
    if after.outcome not in _ANSWERED:
        return Difference.NOW_STOPPED
    if before.outcome is not after.outcome:
        returns = after.outcome is Outcome.RETURNED
        return Difference.NOW_RETURNS if returns else Difference.NOW_RAISES
    if before.outcome is Outcome.RAISED:
        same = before.error_type == after.error_type
        return Difference.SAME if same else Difference.RAISES_OTHERWISE
    if not matches(before.value, after.value):
        return Difference.DIFFERS
    return Difference.SLOWER if _slower(before, after) else Difference.SAME


def _slower(before: Answer, after: Answer) -> bool:
    if before.wall_seconds is None or after.wall_seconds is None:
        return False
    more = after.wall_seconds - before.wall_seconds
    return more > SLOWER_SECONDS and after.wall_seconds > SLOWER_FACTOR * before.wall_seconds


def run_of(
    origin: InputOrigin,
    digest: str,
    arguments: JsonObject,
    answers: tuple[Answer, Answer | None],
    redaction: Redaction = NO_REDACTION,
) -> ReplayRun:
    """Both answers to one input, compared; no second one means that it was not taken.

    They are compared as they are, and kept with what `redaction` strikes out.
    """
    before, after = answers
    difference = Difference.NOT_TAKEN if after is None else difference_of(before, after)
    if difference is Difference.SAME:
        return ReplayRun(
            origin=origin,
            arguments_digest=digest,
            difference=difference,
            detail=_WORDS[difference],
        )
    timed = difference is Difference.SLOWER
    struck = redaction.apply(arguments)
    arguments = struck if isinstance(struck, dict) else {}
    before = _struck(before, redaction)
    after = None if after is None else _struck(after, redaction)
    then = _words(before, timed=timed)
    now = "its arguments do not fit the schema" if after is None else _words(after, timed=timed)
    return ReplayRun(
        origin=origin,
        arguments_digest=digest,
        difference=difference,
        detail=f"with {short_arguments(arguments)}: before, {then}; now, {now}",
        arguments=arguments,
        before=before,
        after=after,
    )


def _struck(answer: Answer, redaction: Redaction) -> Answer:
    error = redaction.apply(answer.error_type)  # its name is the tool's to choose
    return answer.model_copy(update={"value": redaction.apply(answer.value), "error_type": error})


def _words(answer: Answer, *, timed: bool = False) -> str:
    match answer.outcome:
        case Outcome.RETURNED:
            took = f" in {answer.wall_seconds:.3f} s" if timed and answer.wall_seconds else ""
            return f"it returned {short_value(answer.value)}{took}"
        case Outcome.RAISED:
            return f"it raised {short_value(answer.error_type)}"
        case _:
            return f"it ended with {answer.outcome.value.replace('_', ' ')}"


def without_bodies(runs: list[ReplayRun]) -> tuple[ReplayRun, ...]:
    """The runs as evidence keeps them: bodies of the smallest few that differ, no others.

    The runs that differ come first, the smallest in front.
    """
    differing = [run for run in runs if run.difference is not Difference.SAME]
    differing.sort(key=_size)
    shown = [run for run in differing[:MOST_SHOWN] if _size(run) <= MOST_SHOWN_BYTES]
    bare = [
        run.model_copy(
            update={
                "arguments": None,
                "before": None,
                "after": None,
                "detail": _WORDS[run.difference],
            }
        )
        for run in differing[len(shown) :]
    ]
    return (*shown, *bare, *(run for run in runs if run.difference is Difference.SAME))


def _size(run: ReplayRun) -> int:
    return len(canonical_json(run.model_dump(mode="json")))

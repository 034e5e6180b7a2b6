"""Verdicts on trials, computed on the host from raw outcomes; expected values stay here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, assert_never

from pydantic import JsonValue

from policies.display import escape_text
from policies.evidence import Outcome, Trial, TrialKind
from policies.schema import ToolSchema
from policies.source import Example
from policies.validation import validate
from policies.value import JsonObject, canonical_json
from runtime.compare import matches
from sandbox.base import ExecutionResult

NOT_JSON: Final = "ResultNotJSON"
"""What the harness raises for a result that JSON cannot hold. No declaration excuses it."""

_TEXT_CHARACTERS: Final = 400


def judge_example(
    kind: TrialKind, example: Example, result: ExecutionResult, source_schema: ToolSchema
) -> Trial:
    """The verdict on one run of an example."""
    verdict = _example_verdict(example, result, source_schema)
    return _trial(kind, example, result, verdict)


def _example_verdict(
    example: Example, result: ExecutionResult, source_schema: ToolSchema
) -> tuple[bool, str]:
    match result.outcome:
        case Outcome.RETURNED:
            return _returned_verdict(example, result, source_schema)
        case Outcome.RAISED:
            return _raised_verdict(example, result)
        case _:
            return False, stopped_text(result)


def _returned_verdict(
    example: Example, result: ExecutionResult, source_schema: ToolSchema
) -> tuple[bool, str]:
    got = _short(result.value)
    if example.raises is not None:
        return False, f"returned {got}, expected it to raise {example.raises}"
    problems = validate(result.value, source_schema.returns)
    if problems:
        return False, _not_declared(problems)
    if not matches(example.returns, result.value):
        return False, f"returned {got}, expected {_short(example.returns)}"
    return True, f"returned {got} as expected"


def _raised_verdict(example: Example, result: ExecutionResult) -> tuple[bool, str]:
    if result.error_type == NOT_JSON:
        return False, _cut(result.error_message)
    if example.raises is None:
        return False, f"raised {error_text(result)}, expected {_short(example.returns)}"
    if result.error_type != example.raises:
        return False, f"raised {error_text(result)}, expected {example.raises}"
    return True, f"raised {example.raises} as expected"


def _not_declared(problems: Sequence[str]) -> str:
    return f"the result is not of the declared type: {_cut(problems[0])}"


def judge_generated(
    arguments: JsonObject, result: ExecutionResult, source_schema: ToolSchema
) -> Trial:
    """The verdict on one run with generated arguments: only the contract is known, no value."""
    match result.outcome:
        case Outcome.RETURNED:
            problems = validate(result.value, source_schema.returns)
            passed = not problems
            detail = _not_declared(problems) if problems else f"returned {_short(result.value)}"
        case Outcome.RAISED if result.error_type == NOT_JSON:
            passed, detail = False, _cut(result.error_message)
        case Outcome.RAISED:
            passed = result.error_type in source_schema.raises
            declared = "declared" if passed else "which its docstring does not declare"
            detail = f"raised {error_text(result)}, {declared}"
        case (
            Outcome.TIMED_OUT
            | Outcome.OUT_OF_MEMORY
            | Outcome.LIMIT_EXCEEDED
            | Outcome.CRASHED
            | Outcome.PROTOCOL_BROKEN
        ):
            passed, detail = False, stopped_text(result)
        case _:
            assert_never(result.outcome)
    return _trial(TrialKind.PROPERTY, arguments, result, (passed, detail))


def agreeing(trials: Sequence[Trial], runs: int) -> list[Trial]:
    """Fail the repeats whose answer is not exactly that of the first run of their example."""
    agreed = []
    for number, trial in enumerate(trials):
        first = trials[number - number % runs]
        if trial.passed and _answer(trial) != _answer(first):
            trial = trial.model_copy(  # noqa: PLW2901 - the verdict of the same trial
                update={
                    "passed": False,
                    "detail": f"not deterministic: {_short(first.value)} in one container, "
                    f"{_short(trial.value)} in the next",
                }
            )
        agreed.append(trial)
    return agreed


def _answer(trial: Trial) -> str:
    # The text of an exception may name an address; its class is what was promised.
    raised = trial.outcome is Outcome.RAISED
    return json.dumps([trial.outcome.value, None if raised else trial.value], sort_keys=True)


def _trial(
    kind: TrialKind,
    given: Example | JsonObject,
    result: ExecutionResult,
    verdict: tuple[bool, str],
) -> Trial:
    example = given if isinstance(given, Example) else None
    passed, detail = verdict
    return Trial(
        kind=kind,
        arguments=given.arguments if isinstance(given, Example) else given,
        files=example.file_digests if example else {},
        expected=example.expectation if example else None,
        outcome=result.outcome,
        value=result.value,
        error=None if result.outcome is Outcome.RETURNED else error_text(result),
        output=_cut(result.output),
        passed=passed,
        detail=detail,
        wall_seconds=round(result.timings.execute, 6),
        memory_bytes=result.usage.memory_peak_bytes,
    )


def error_text(result: ExecutionResult) -> str:
    """`ValueError: …` as the guest says it, or what stopped the run; printable and cut."""
    if result.outcome is not Outcome.RAISED:
        return stopped_text(result)
    message = f": {result.error_message}" if result.error_message else ""
    return _cut(f"{result.error_type}{message}")


def stopped_text(result: ExecutionResult) -> str:
    """Why there is no answer, in the sandbox's own sentence."""
    return _cut(result.error_message) or f"{result.outcome.value}: it ended without an answer"


def short_arguments(arguments: JsonObject) -> str:
    """Arguments as one printable line."""
    return _short(arguments)


def short_value(value: JsonValue) -> str:
    """A JSON value as one printable line, cut."""
    return _short(value)


def _short(value: object) -> str:
    return _cut(canonical_json(value).decode())  # type: ignore[arg-type] # JSON by construction


def _cut(text: str) -> str:
    # Cut before escaping: the guest decides how long the text is.
    shown = escape_text(text[:_TEXT_CHARACTERS], keep_newlines=False)
    return shown if len(text) <= _TEXT_CHARACTERS else shown + " [...]"

"""What failed trials say to the author, each kind with the smallest input that shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from policies.evidence import Outcome, Trial, TrialKind
from policies.findings import Finding, Severity, Stage
from policies.source import example_identity
from policies.value import canonical_json
from runtime.trials import TrialPlan
from runtime.verdicts import NOT_JSON, short_arguments

_BROKEN = {Outcome.CRASHED, Outcome.PROTOCOL_BROKEN}
_STOPPED = {Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.LIMIT_EXCEEDED}


def findings_of(plan: TrialPlan, trials: Sequence[Trial]) -> tuple[Finding, ...]:
    """All findings at once: each failed example, then each kind of failure on generated inputs."""
    examples = [t for t in trials if t.kind is not TrialKind.PROPERTY and not t.passed]
    probes = [t for t in trials if t.kind is TrialKind.PROPERTY]
    failed = [t for t in probes if not t.passed]
    return (
        *_example_findings(examples),
        *_kind(
            "TR201",
            Severity.WARNING,
            [t for t in failed if t.outcome is Outcome.RETURNED],
            "declare what it really returns (such as `int | None`), or return the declared type",
        ),
        *_kind(
            "TR202",
            Severity.WARNING,
            [t for t in failed if t.outcome is Outcome.RAISED and not _not_json(t)],
            "handle this input, or declare the exception in a `Raises:` section of the docstring",
        ),
        *_kind(
            "TR203",
            Severity.WARNING,
            [t for t in failed if t.outcome in _STOPPED],
            "refuse inputs that cost too much with a ValueError, or make it cheaper",
        ),
        *_kind(
            "TR204",
            Severity.ERROR,
            [t for t in failed if t.outcome in _BROKEN or _not_json(t)],
            "return a JSON value (number, string, list, dict with string keys, true, false, null)",
        ),
        *_untried(len(plan.generated) - len(probes)),
    )


def _not_json(trial: Trial) -> bool:
    return trial.outcome is Outcome.RAISED and (trial.error or "").startswith(NOT_JSON)


def _example_findings(failed: Iterable[Trial]) -> Iterable[Finding]:
    """One for each example, though it failed in each of its runs."""
    told: set[bytes] = set()
    for trial in failed:
        example = canonical_json(example_identity(trial.arguments, trial.files, trial.expected))
        if example in told:
            continue
        told.add(example)
        unsteady = trial.detail.startswith("not deterministic")
        yield Finding(
            rule="TR102" if unsteady else "TR101",
            severity=Severity.ERROR,
            stage=Stage.TRIALS,
            message=f"example {short_arguments(trial.arguments)}{_with(trial)}: {trial.detail}",
            suggestion=(
                "make the result depend on the arguments alone: no clock, no randomness without "
                "a fixed seed, no order of a set"
                if unsteady
                else "mend the code, or the example if its expectation is wrong"
            ),
        )


def _with(trial: Trial) -> str:
    return f" with the files {', '.join(trial.files)}" if trial.files else ""


def _kind(rule: str, severity: Severity, failed: Sequence[Trial], suggestion: str) -> list[Finding]:
    if not failed:
        return []
    smallest = min(failed, key=lambda trial: len(canonical_json(trial.arguments)))
    count = f" ({len(failed)} generated inputs like this)" if len(failed) > 1 else ""
    return [
        Finding(
            rule=rule,
            severity=severity,
            stage=Stage.TRIALS,
            message=f"with {short_arguments(smallest.arguments)}: {smallest.detail}{count}",
            suggestion=suggestion,
        )
    ]


def _untried(count: int) -> list[Finding]:
    if count <= 0:
        return []
    return [
        Finding(
            rule="TR301",
            severity=Severity.NOTE,
            stage=Stage.TRIALS,
            message=f"{count} generated inputs were not tried: too many before them ended "
            "their container",
            suggestion="mend what the other findings show; the next proof gets further",
        )
    ]

"""What the trials reach of a source: one more run in the sandbox, which is no evidence.

The source is instrumented inside of the guest, so the host parses and runs nothing of it. What
comes back was said by a process that the tool shares: it helps a reviewer, and proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, ValidationError

from policies.evidence import TrialKind
from policies.marking import mark_text
from policies.value import JsonObject, Value, canonical_json
from runtime.authorize import author_of
from runtime.composition import CallScope, Composition
from runtime.equipment import Equipment
from runtime.review.parts import Coverage, Gap
from sandbox.base import ExecutionResult, Outcome, Program, Sandbox
from toolstore.models import ToolVersion

MAX_RUNS: Final = 60
MAX_BATCHES: Final = 3
WALL_SECONDS: Final = 2.0
_MAX_PLACES: Final = 20_000
_WORDS: Final = 80
_NUMBER: Final = re.compile(r"[0-9]{1,6}")
_GUEST: Final = Path(__file__).with_name("coverage_guest.py")


class _Report(Value):
    """One run, as the guest tells of it. Anything may be in it."""

    statements: tuple[Annotated[int, Field(ge=1)], ...] = Field(max_length=_MAX_PLACES)
    arms: tuple[tuple[int, str], ...] = Field(max_length=_MAX_PLACES)
    reached: tuple[str, ...] = Field(max_length=2 * _MAX_PLACES)
    ended: str


_REPORT: Final = TypeAdapter(_Report)


@dataclass(slots=True)
class _Reached:
    """What runs reached, added up."""

    statements: tuple[int, ...] = ()
    arms: tuple[tuple[int, str], ...] = ()
    by_examples: set[str] = field(default_factory=set)
    by_all: set[str] = field(default_factory=set)
    runs: int = 0

    def add(self, report: _Report, *, example: bool) -> None:
        """Take in one run; a run that tells of other places is none of this source."""
        if self.runs and (report.statements, report.arms) != (self.statements, self.arms):
            return
        self.statements, self.arms = report.statements, report.arms
        self.by_all.update(report.reached)
        if example:
            self.by_examples.update(report.reached)
        self.runs += 1


@dataclass(frozen=True, slots=True)
class _Run:
    arguments: JsonObject
    example: bool


async def measure_coverage(
    version: ToolVersion, sandbox: Sandbox, equipment: Equipment, composition: Composition
) -> Coverage | str:
    """What examples and generated arguments reach of `version`; words where that is not known.

    It runs as trials do: with the rights of its author, and unrecorded.

    Raises:
        SandboxError: The sandbox failed.
    """
    permissions = version.source.permissions
    if permissions.hosts:
        return (
            "not measured: what its requests were answered in the trials is not kept, so each of "
            "them would be sent once more"
        )
    reached = _Reached()
    program = Program(
        code=_GUEST.read_text(),
        function="measure",
        level=version.level,
        limits=equipment.limits.model_copy(
            update={"wall_seconds": min(WALL_SECONDS, equipment.limits.wall_seconds)}
        ),
        image=version.image_digest if permissions.packages else None,
    )
    for files, runs in _by_files(version):
        left = runs
        for _ in range(MAX_BATCHES):
            if not left:
                break
            scope = CallScope.outermost(
                equipment.profile,
                files=files,
                calls=len(left),
                principal=author_of(version.provenance),
                recorded=False,
            )
            kit = equipment.kit(permissions, scope, composition, calls=len(left))
            batch = [_arguments(version, run) for run in left]
            results = await sandbox.run_batch(program, batch, kit.options)
            for run, result in zip(left, results, strict=False):
                report = _report(result)
                if report is not None:
                    reached.add(report, example=run.example)
            left = left[len(results) :] if results else []
    if not reached.runs:
        return "not measured: no run ended by itself under the instruments"
    return _coverage(reached)


def _by_files(version: ToolVersion) -> list[tuple[dict[str, bytes], list[_Run]]]:
    """The runs, in groups that are given the same files; generated arguments get the first."""
    groups: dict[bytes, tuple[dict[str, bytes], list[_Run]]] = {}
    for example in version.source.examples[:MAX_RUNS]:
        key = canonical_json({**example.files})
        groups.setdefault(key, (example.inputs, []))[1].append(_Run(example.arguments, True))  # noqa: FBT003 - the field has a name
    generated = [
        _Run(trial.arguments, example=False)
        for trial in version.evidence.trials_of(TrialKind.PROPERTY)
    ]
    if generated:
        with_files = [group for group in groups.values() if group[0]]
        target = next(iter(with_files or groups.values()), None)
        runs = target[1] if target else groups.setdefault(b"", ({}, []))[1]
        runs += generated[: MAX_RUNS - min(MAX_RUNS, len(runs))]
    return list(groups.values())


def _arguments(version: ToolVersion, run: _Run) -> JsonObject:
    return {
        "source": version.source.code,
        "function": version.source_schema.function,
        "arguments": run.arguments,
    }


def _report(result: ExecutionResult) -> _Report | None:
    if result.outcome is not Outcome.RETURNED:
        return None
    try:
        return _REPORT.validate_python(result.value)
    except ValidationError:
        return None


def _coverage(reached: _Reached) -> Coverage:
    statements = [number in _numbers(reached.by_all, "s") for number in _range(reached.statements)]
    arms = _numbers(reached.by_all, "a")
    missed = {line for line, ran in zip(reached.statements, statements, strict=True) if not ran}
    return Coverage(
        statements=len(statements),
        statements_run=sum(statements),
        arms=len(reached.arms),
        arms_run=sum(number in arms for number in _range(reached.arms)),
        by_examples=_gaps(reached, reached.by_examples),
        by_all=_gaps(reached, reached.by_all),
        lines_missed=tuple(sorted(missed)),
        lines_run=tuple(sorted(set(reached.statements) - missed)),
        runs=reached.runs,
    )


def _gaps(reached: _Reached, by: set[str]) -> tuple[Gap, ...]:
    arms, statements = _numbers(by, "a"), _numbers(by, "s")
    missed = {line for n, line in enumerate(reached.statements) if n not in statements}
    gaps = [
        Gap(line=line, words=mark_text(words, characters=_WORDS))
        for number, (line, words) in enumerate(reached.arms)
        if number not in arms and line not in missed  # what is not run at all says it already
    ]
    gaps += [
        Gap(line=first, words=mark_text(_never(first, last))) for first, last in _spans(missed)
    ]
    return tuple(sorted(gaps, key=lambda gap: gap.line))


def _never(first: int, last: int) -> str:
    return "never run" if first == last else f"lines {first} to {last} were never run"


def _spans(lines: set[int]) -> list[tuple[int, int]]:
    """Neighbouring lines together."""
    spans: list[tuple[int, int]] = []
    for line in sorted(lines):
        if spans and line == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], line)
        else:
            spans.append((line, line))
    return spans


def _numbers(notes: set[str], kind: str) -> set[int]:
    return {int(note[1:]) for note in notes if note[:1] == kind and _NUMBER.fullmatch(note[1:])}


def _range(places: Sequence[object]) -> range:
    return range(len(places))

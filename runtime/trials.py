"""Proving a candidate: its examples and generated arguments, run in fresh containers.

The host sends inputs and gets raw outcomes; every verdict is computed here. Expected values
never enter a container.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock

from policies.config import EvidenceSettings
from policies.evidence import Trial, TrialKind
from policies.limits import ResourceLimits
from policies.permissions import Permissions
from policies.schema import ToolSchema
from policies.source import Example, ToolSource
from policies.value import JsonObject
from runtime.composition import CallScope, Composition
from runtime.concurrency import run_all
from runtime.equipment import Equipment, image_digest
from runtime.events import AdmissionListener, TrialFinished
from runtime.generate import generate_arguments
from runtime.verdicts import agreeing, judge_example, judge_generated
from sandbox.base import CallOptions, ExecutionResult, Program, Sandbox

PROPERTY_WALL_SECONDS = 1.0
"""Generated arguments are small; what takes longer on them is worth a finding."""

PACKAGES_WALL_SECONDS = 4.0
"""More for tools with packages: the first call in a container imports them."""

CALLS_WALL_SECONDS = 4.0
"""More for tools that call tools: each of these calls may start a container."""

MAX_BATCHES = 4
"""A generated input that ends its container costs a new one; after this many, enough is known."""

PROPERTY_SEED = 20_240_229

_GENERATING = Lock()
"""Hypothesis turns warnings off meanwhile, for the whole process."""


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """What will be run, known before anything is."""

    source: ToolSource
    source_schema: ToolSchema
    generated: tuple[JsonObject, ...]
    runs_per_example: int
    limits: ResourceLimits

    @property
    def files(self) -> dict[str, bytes]:
        """What runs with generated arguments are given: the files of the first example with any."""
        return next((example.inputs for example in self.source.examples if example.files), {})

    @property
    def steps(self) -> int:
        """How many trials there are at the most."""
        return len(self.source.examples) * self.runs_per_example + len(self.generated)


async def plan_trials(
    source: ToolSource,
    source_schema: ToolSchema,
    evidence: EvidenceSettings,
    limits: ResourceLimits,
) -> TrialPlan:
    """Decide on every input beforehand, the same ones each time for the same tool."""
    generated: tuple[JsonObject, ...] = ()
    if source_schema.parameters.get("properties") and evidence.property_runs:
        generated = await inputs_for(source_schema, source.examples, evidence.property_runs)
    return TrialPlan(source, source_schema, generated, evidence.runs_per_example, limits)


async def inputs_for(
    source_schema: ToolSchema,
    examples: tuple[Example, ...],
    count: int,
    *,
    seed: int = PROPERTY_SEED,
) -> tuple[JsonObject, ...]:
    """At most `count` generated arguments that fit the schema, the same ones each time.

    A few tenths of a second of computing, in which other sessions go on.
    """
    return await asyncio.to_thread(_generate, source_schema, examples, count, seed)


def _generate(
    source_schema: ToolSchema, examples: tuple[Example, ...], count: int, seed: int
) -> tuple[JsonObject, ...]:
    with _GENERATING:
        found = generate_arguments(source_schema, examples, count=count, seed=seed)
    # Where the examples are all that there is (two for a bool), they are what is tried again.
    return found or tuple(example.arguments for example in examples)[:count]


async def run_trials(
    plan: TrialPlan,
    sandbox: Sandbox,
    equipment: Equipment,
    composition: Composition,
    on_event: AdmissionListener,
) -> tuple[Trial, ...]:
    """Run the whole plan, as much at once as the sandbox has places for.

    Raises:
        SandboxError: The sandbox failed; nothing can be said about the candidate.
    """
    tool = plan.source.name

    def told(trial: Trial) -> Trial:
        on_event(TrialFinished(tool=tool, trial=trial))
        return trial

    permissions = plan.source.permissions
    image = await image_digest(permissions, sandbox)
    program = equipment.program(plan.source, plan.source_schema, permissions.lint_level, image)
    sandbox.prepare(program, len(plan.source.examples) * plan.runs_per_example)

    def options(files: Mapping[str, bytes], calls: int) -> CallOptions:
        scope = CallScope.outermost(
            equipment.profile,
            files=files,
            calls=calls,
            principal=equipment.principal,
            recorded=False,
        )
        return equipment.kit(permissions, scope, composition, calls=calls).options

    async def one_example(example: Example, run: int) -> Trial:
        result = await sandbox.run(program, example.arguments, options(example.inputs, 1))
        kind = TrialKind.EXAMPLE if run == 0 else TrialKind.REPEAT
        return told(judge_example(kind, example, result, plan.source_schema))

    async def examples() -> list[Trial]:
        return await run_all(
            one_example(example, run)
            for example in plan.source.examples
            for run in range(plan.runs_per_example)
        )

    async def generated() -> list[Trial]:
        with_files = partial(options, plan.files)
        return [told(trial) for trial in await _run_generated(plan, program, sandbox, with_files)]

    proven, probed = await run_all((examples(), generated()))
    return (*agreeing(proven, plan.runs_per_example), *probed)


async def _run_generated(
    plan: TrialPlan, program: Program, sandbox: Sandbox, options: Callable[[int], CallOptions]
) -> list[Trial]:
    """Run the generated inputs, with less time for each than a call has."""
    seconds = quick_seconds(plan.source.permissions, plan.limits)
    results = await run_many(within(program, seconds), plan.generated, sandbox, options)
    return [
        judge_generated(arguments, result, plan.source_schema)
        for arguments, result in zip(plan.generated, results, strict=False)
    ]


def quick_seconds(permissions: Permissions, limits: ResourceLimits) -> float:
    """The time that one input of many may take."""
    seconds = PROPERTY_WALL_SECONDS + (PACKAGES_WALL_SECONDS if permissions.packages else 0.0)
    seconds += CALLS_WALL_SECONDS if permissions.tools else 0.0
    return min(seconds, limits.wall_seconds)


def within(program: Program, wall_seconds: float) -> Program:
    """`program` with that much time for each call."""
    limits = program.limits.model_copy(update={"wall_seconds": wall_seconds})
    return program.model_copy(update={"limits": limits})


async def run_many(
    program: Program,
    inputs: Sequence[JsonObject],
    sandbox: Sandbox,
    options: Callable[[int], CallOptions],
) -> list[ExecutionResult]:
    """Many inputs to a container; a new one where an input ended it, a bounded number of times.

    The results are shorter than `inputs` where too many of them ended their container.
    """
    left = list(inputs)
    results: list[ExecutionResult] = []
    for _ in range(MAX_BATCHES):
        if not left:
            break
        batch = await sandbox.run_batch(program, left, options(len(left)))
        results += batch
        left = left[len(batch) :]
    return results

"""Proving one proposed tool: read without running it, then tried in the sandbox.

What both say are values: an `Analysis` of the text, and a `Proof` by trials.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from policies.access import Principal
from policies.analysis import Analysis
from policies.evidence import Trial
from policies.examplefiles import example_file_problems
from policies.findings import Finding, Stage, has_errors
from policies.grants import grant_problems
from policies.rulebook import RULES
from policies.schema import ToolSchema
from policies.source import ToolSource
from runtime.analyzer import Analyzer
from runtime.composition import Composition
from runtime.equipment import Equipment
from runtime.events import AdmissionListener, StageFinished, StageStarted
from runtime.tools import ignore_progress
from runtime.trial_findings import findings_of
from runtime.trials import plan_trials, run_trials
from sandbox.base import Sandbox
from sandbox.errors import PackagesRefusedError
from toolstore.models import ToolVersion

_STATIC_STAGES = (Stage.LIMITS, Stage.LINT, Stage.SCHEMA)


@dataclass(frozen=True, slots=True)
class Proof:
    """What the trials came to."""

    trials: tuple[Trial, ...]
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Nothing that was found forbids the tool."""
        return not has_errors(self.findings)


class Prover:
    """Proves tools under one policy."""

    def __init__(
        self,
        analyzer: Analyzer,
        sandbox: Callable[[], Awaitable[Sandbox]],
        equipment: Equipment,
        composition: Composition,
    ) -> None:
        self._analyzer = analyzer
        self._sandbox = sandbox
        self._equipment = equipment
        self._profile = equipment.profile
        self._composition = composition

    async def analyse(self, source: ToolSource, on_event: AdmissionListener) -> Analysis:
        """Read it in a disposable process."""
        start = time.monotonic()
        for stage in _STATIC_STAGES:
            on_event(StageStarted(tool=source.name, stage=stage))
        analysis = await self._analyzer.analyse(source, self._profile.source)
        for stage in _STATIC_STAGES:
            found = tuple(f for f in analysis.report.findings if f.stage is stage)
            on_event(_finished(source, stage, time.monotonic() - start, found))
        return analysis

    def ungranted(self, source: ToolSource) -> tuple[Finding, ...]:
        """What the source declares, or its examples need, and the policy does not grant."""
        granted = grant_problems(source.permissions, self._profile)
        return tuple(
            Finding(
                rule=problem.rule,
                severity=RULES[problem.rule].severity,
                stage=RULES[problem.rule].stage,
                message=problem.message,
                suggestion=problem.suggestion,
            )
            for problem in (*granted, *example_file_problems(source, self._profile))
        )

    async def prove(
        self,
        source: ToolSource,
        source_schema: ToolSchema,
        on_event: AdmissionListener,
        author: Principal | None = None,
    ) -> Proof:
        """Run its trials, with the rights of `author` for the tools that it calls.

        Raises:
            SandboxError: The sandbox failed; nothing can be said about it.
        """
        start = time.monotonic()
        evidence, limits = self._profile.evidence, self._profile.run
        plan = await plan_trials(source, source_schema, evidence, limits)
        on_event(StageStarted(tool=source.name, stage=Stage.TRIALS, steps=plan.steps))
        equipment = replace(self._equipment, principal=author)
        sandbox = await self._sandbox()
        trials = await run_trials(plan, sandbox, equipment, self._composition, on_event)
        proof = Proof(trials, findings_of(plan, trials))
        seconds = time.monotonic() - start
        on_event(_finished(source, Stage.TRIALS, seconds, proof.findings))
        return proof

    async def retest(
        self, version: ToolVersion, on_event: AdmissionListener = ignore_progress
    ) -> Proof:
        """Run the trials of a stored version again; nothing is stored or changed.

        None is run where the policy does not grant what the version needs.
        """
        if ungranted := self.ungranted(version.source):
            return Proof(trials=(), findings=ungranted)
        return await self.prove(version.source, version.source_schema, on_event)


def not_to_be_had(error: PackagesRefusedError) -> Finding:
    """What is wrong with the declared packages, once they were asked for."""
    return Finding(
        rule="RP402",
        severity=RULES["RP402"].severity,
        stage=RULES["RP402"].stage,
        message=f"the packages {', '.join(error.requirements)} cannot be had: {error.reason}",
        suggestion="declare other packages or versions, or do without",
    )


def _finished(
    source: ToolSource, stage: Stage, seconds: float, found: tuple[Finding, ...]
) -> StageFinished:
    return StageFinished(
        tool=source.name,
        stage=stage,
        seconds=seconds,
        findings=found,
        passed=not has_errors(found),
    )

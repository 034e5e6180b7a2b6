"""The `define_tool` pipeline: it carries values between policies, sandbox and store.

limits, lint, schema   in a disposable process    -> Analysis
trials                 in fresh containers        -> Evidence
duplicates, replay     beside other versions      -> an answer, or more Evidence
decision               by the policy              -> Decision
version                in one transaction         -> ToolVersion
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version as distribution_version

from policies.access import Action, Principal, Resource
from policies.analysis import Analysis
from policies.config import PolicyProfile
from policies.decision import AdmissionRequest, Decision
from policies.evidence import Evidence, Trial
from policies.examplefiles import example_file_problems
from policies.findings import Finding, Severity, Stage, has_errors
from policies.grants import grant_problems
from policies.limits import ResourceLimits
from policies.normal import shape_digest
from policies.rulebook import RULES
from policies.schema import ToolSchema
from policies.source import ToolSource
from runtime.analyzer import Analyzer
from runtime.authorize import admitted_by, author_of
from runtime.comparisons import Candidate, Comparisons, replay_findings
from runtime.composition import Composition
from runtime.equipment import Equipment, image_digest
from runtime.events import AdmissionListener, StageFinished, StageStarted
from runtime.outcome import DefinitionOutcome
from runtime.pinning import pin_tools
from runtime.quotas import DefinitionQuota
from runtime.terms import terms_of
from runtime.tools import ignore_progress
from runtime.trial_findings import findings_of
from runtime.trials import plan_trials, run_trials
from sandbox.base import Sandbox
from sandbox.errors import PackagesRefusedError
from toolstore.errors import ToolNotFoundError, TransitionError
from toolstore.models import (
    Lifecycle,
    Provenance,
    Submission,
    ToolRef,
    ToolVersion,
    version_digest,
)
from toolstore.store import ToolStore

_STATIC_STAGES = (Stage.LIMITS, Stage.LINT, Stage.SCHEMA)


def _ungranted(source: ToolSource, profile: PolicyProfile) -> tuple[Finding, ...]:
    """What the source declares, or its examples need, and the policy does not grant."""
    problems = grant_problems(source.permissions, profile)
    return tuple(
        Finding(
            rule=problem.rule,
            severity=RULES[problem.rule].severity,
            stage=RULES[problem.rule].stage,
            message=problem.message,
            suggestion=problem.suggestion,
        )
        for problem in (*problems, *example_file_problems(source, profile))
    )


def _not_to_be_had(error: PackagesRefusedError) -> Finding:
    """What is wrong with the declared packages, once they were asked for."""
    return Finding(
        rule="RP402",
        severity=RULES["RP402"].severity,
        stage=RULES["RP402"].stage,
        message=f"the packages {', '.join(error.requirements)} cannot be had: {error.reason}",
        suggestion="declare other packages or versions, or do without",
    )


@dataclass(frozen=True, slots=True)
class Proof:
    """What the trials came to."""

    trials: tuple[Trial, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Draft:
    """A proposed version that the static checks let through, on its way to its proof."""

    candidate: Candidate
    analysis: Analysis
    digest: str
    provenance: Provenance
    author: Principal
    asked: Resource

    @property
    def schema(self) -> ToolSchema:
        """What it takes and gives."""
        return self.candidate.source_schema


class Admission:
    """Admits tools into one store, under one policy, proven in one sandbox."""

    def __init__(  # noqa: PLR0913  each is one part that it carries values between
        self,
        *,
        analyzer: Analyzer,
        sandbox: Callable[[], Awaitable[Sandbox]],
        store: ToolStore,
        equipment: Equipment,
        composition: Composition,
        clock: Callable[[], datetime],
    ) -> None:
        self._analyzer = analyzer
        self._sandbox = sandbox
        self._store = store
        self._equipment = equipment
        self._profile = equipment.profile
        self._composition = composition
        self._clock = clock
        self._quota = DefinitionQuota(equipment.profile.lifecycle)

    async def define(
        self,
        source: ToolSource,
        provenance: Provenance,
        on_event: AdmissionListener = ignore_progress,
        *,
        insist: bool = False,
    ) -> DefinitionOutcome:
        """Take `source` through all stages; everything that is wrong with it is in the outcome.

        What the store has under another name is not stored again, unless the author insists.

        Raises:
            SandboxError: The sandbox failed; nothing was decided and nothing stored.
            ToolStoreError: The store failed; nothing was stored.
        """
        author = author_of(provenance)
        asked = Resource.of_source(source, author=provenance.author, origin=provenance.origin.value)
        may_define = self._equipment.access.decide(author, Action.DEFINE, asked)
        if not may_define.allowed:
            return DefinitionOutcome.refused(source.name, (), may_define.reasons)
        if (too_many := self._quota.take(provenance)) is not None:
            return DefinitionOutcome.refused(source.name, (), (too_many,))
        source, unpinned = await pin_tools(source, self._store, session=provenance.session)
        analysis = await self._analyse(source, on_event)
        findings = (*analysis.report.findings, *_ungranted(source, self._profile), *unpinned)
        if has_errors(findings) or analysis.source_schema is None:
            return DefinitionOutcome.refused(source.name, findings)

        sandbox = await self._sandbox()
        try:
            image = await image_digest(source.permissions, sandbox)
        except PackagesRefusedError as error:
            return DefinitionOutcome.refused(source.name, (*findings, _not_to_be_had(error)))
        digest = version_digest(source, analysis.source_schema, image)
        known = await self._known(source.name, digest)
        if known is not None:
            return known
        draft = _Draft(
            candidate=Candidate(source, analysis.source_schema, image),
            analysis=analysis,
            digest=digest,
            provenance=provenance,
            author=author,
            asked=asked,
        )
        return await self._prove_and_store(draft, sandbox, on_event, insist=insist)

    async def _prove_and_store(
        self, draft: _Draft, sandbox: Sandbox, on_event: AdmissionListener, *, insist: bool
    ) -> DefinitionOutcome:
        source, schema, image = draft.candidate.source, draft.schema, draft.candidate.image
        comparisons = Comparisons(
            self._store, self._analyzer, self._equipment, self._composition, draft.author
        )
        if not insist:
            twin = await comparisons.twin_by_text(source, draft.analysis, image)
            if twin is not None:
                return DefinitionOutcome.duplicate(source.name, twin.version, twin.reason)
        proof = await self._prove(source, schema, sandbox, on_event, draft.author)
        replay = None
        if not has_errors(proof.findings):
            if not insist:
                twin = await comparisons.twin_by_behaviour(draft.candidate, proof.trials, sandbox)
                if twin is not None:
                    return DefinitionOutcome.duplicate(source.name, twin.version, twin.reason)
            replay = await comparisons.replay(draft.candidate, sandbox)
        evidence = Evidence(
            subject=draft.digest,
            source_digest=source.digest,
            image_digest=image,
            report=draft.analysis.report,
            trials=proof.trials,
            findings=(*proof.findings, *replay_findings(replay)),
            replay=replay,
            produced_by=f"toolkiln {distribution_version('toolkiln')}",
            produced_at=self._clock(),
        )
        decision = self._decide(source, draft.digest, evidence, draft.provenance, on_event)
        decision = admitted_by(decision, self._equipment.access, draft.author, draft.asked)
        if not (decision.allowed or decision.needs_review):
            return DefinitionOutcome.refused(
                source.name, evidence.all_findings, decision.reasons, draft.digest, evidence
            )
        submission = Submission(
            source=source,
            source_schema=schema,
            image_digest=image,
            level=draft.analysis.report.level,
            evidence=evidence,
            decision=decision,
            provenance=draft.provenance,
        )
        outcome = await self._store_version(submission, draft.provenance.author)
        if outcome.ref is not None and draft.analysis.normal is not None:
            await self._store.note_form(
                draft.digest, normal=draft.analysis.normal, shape=shape_digest(schema)
            )
        return outcome

    async def retest(
        self, version: ToolVersion, on_event: AdmissionListener = ignore_progress
    ) -> Proof:
        """Run the trials of a stored version again; nothing is stored or changed.

        None is run where the policy does not grant what the version needs.
        """
        if ungranted := _ungranted(version.source, self._profile):
            return Proof(trials=(), findings=ungranted)
        sandbox = await self._sandbox()
        return await self._prove(version.source, version.source_schema, sandbox, on_event)

    async def _analyse(self, source: ToolSource, on_event: AdmissionListener) -> Analysis:
        start = time.monotonic()
        for stage in _STATIC_STAGES:
            on_event(StageStarted(tool=source.name, stage=stage))
        analysis = await self._analyzer.analyse(source, self._profile.source)
        for stage in _STATIC_STAGES:
            found = tuple(f for f in analysis.report.findings if f.stage is stage)
            on_event(
                StageFinished(
                    tool=source.name,
                    stage=stage,
                    seconds=time.monotonic() - start,
                    findings=found,
                    passed=not has_errors(found),
                )
            )
        return analysis

    async def _known(self, name: str, digest: str) -> DefinitionOutcome | None:
        """The answer where this very version is in the store and no proof can change it."""
        version = None
        with suppress(ToolNotFoundError):
            version = await self._store.find(ToolRef(name=name, digest=digest))
        if version is None:
            return None
        if version.state is Lifecycle.REVOKED:
            return DefinitionOutcome.refused(
                name,
                (),
                (f"{version.ref} is exactly this text and was revoked: {version.state_reason}",),
                digest,
                version.evidence,
            )
        if version.state is Lifecycle.APPROVED or (
            version.state is Lifecycle.QUARANTINED
            and version.decision.policy_digest == self._profile.digest
        ):
            return DefinitionOutcome.stored(version)
        return None

    async def _prove(
        self,
        source: ToolSource,
        source_schema: ToolSchema,
        sandbox: Sandbox,
        on_event: AdmissionListener,
        author: Principal | None = None,
    ) -> Proof:
        start = time.monotonic()
        plan = await plan_trials(source, source_schema, self._profile.evidence, self.limits)
        on_event(StageStarted(tool=source.name, stage=Stage.TRIALS, steps=plan.steps))
        # A draft that calls other tools in its trials has the rights of whoever proposes it.
        equipment = replace(self._equipment, principal=author)
        trials = await run_trials(plan, sandbox, equipment, self._composition, on_event)
        findings = findings_of(plan, trials)
        on_event(
            StageFinished(
                tool=source.name,
                stage=Stage.TRIALS,
                seconds=time.monotonic() - start,
                findings=findings,
                passed=not has_errors(findings),
            )
        )
        return Proof(trials, findings)

    @property
    def limits(self) -> ResourceLimits:
        """Ceilings of every run under this policy."""
        return self._profile.run

    def _decide(
        self,
        source: ToolSource,
        digest: str,
        evidence: Evidence,
        provenance: Provenance,
        on_event: AdmissionListener,
    ) -> Decision:
        on_event(StageStarted(tool=source.name, stage="decision"))
        decision = self._profile.policy.decide(
            AdmissionRequest(
                digest=digest, source=source, evidence=evidence, author=provenance.author
            )
        )
        on_event(
            StageFinished(
                tool=source.name,
                stage="decision",
                seconds=0.0,
                passed=decision.allowed or decision.needs_review,
            )
        )
        return decision

    async def _store_version(self, submission: Submission, actor: str) -> DefinitionOutcome:
        digest = submission.decision.policy_digest
        await self._store.decisions.keep_policy(self._profile.text, digest=digest, actor=actor)
        try:
            version = await self._store.admit(
                submission, actor=actor, terms=terms_of(self._profile)
            )
        except TransitionError as error:
            finding = Finding(
                rule="ST101",
                severity=Severity.ERROR,
                stage=Stage.STORE,
                message=str(error),
                suggestion="choose another name, or call the tool that has it",
            )
            return DefinitionOutcome.refused(
                submission.source.name,
                (*submission.evidence.all_findings, finding),
                (str(error),),
                submission.digest,
                submission.evidence,
            )
        return DefinitionOutcome.stored(version)

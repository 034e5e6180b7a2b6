"""The `define_tool` pipeline: it carries values between policies, sandbox and store.

limits, lint, schema   in a disposable process    -> Analysis
trials                 in fresh containers        -> Proof
duplicates             beside other tools         -> an answer, and nothing is stored
replay                 beside the current version -> Evidence
decision               by the policy              -> Decision
version                in one transaction         -> ToolVersion
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as distribution_version
from typing import Final

from policies.access import Action, Principal, Resource
from policies.analysis import Analysis
from policies.decision import AdmissionRequest, Decision
from policies.display import escape_text
from policies.evidence import Evidence
from policies.findings import Finding, Severity, Stage, has_errors
from policies.normal import shape_digest
from policies.source import ToolSource
from policies.textcheck import check_bytes
from runtime.analyzer import Analyzer
from runtime.authorize import admitted_by, author_of
from runtime.comparisons import Candidate, Comparisons, replay_findings
from runtime.composition import Composition
from runtime.equipment import Equipment, image_digest
from runtime.events import AdmissionListener, StageFinished, StageStarted
from runtime.outcome import DefinitionOutcome
from runtime.pinning import pin_tools
from runtime.proving import Proof, Prover, not_to_be_had
from runtime.terms import proposal_quota_of, terms_of
from runtime.tools import ignore_progress
from sandbox.base import Sandbox
from sandbox.errors import PackagesRefusedError
from toolstore.errors import (
    PredecessorChangedError,
    QuotaError,
    ToolNotFoundError,
    TransitionError,
)
from toolstore.models import (
    Lifecycle,
    Origin,
    Provenance,
    Submission,
    ToolRef,
    ToolVersion,
    version_digest,
)
from toolstore.store import ToolStore

_MOST_REPLAYS: Final = 3
"""So often a draft is compared anew because another version became current meanwhile."""


@dataclass(frozen=True, slots=True)
class _Proposal:
    """What somebody wants to have in the store."""

    source: ToolSource
    provenance: Provenance
    author: Principal
    asked: Resource
    insist: bool


@dataclass(frozen=True, slots=True)
class _Draft:
    """A proposed version that the static checks let through, on its way to its proof."""

    proposal: _Proposal
    candidate: Candidate
    analysis: Analysis

    @property
    def name(self) -> str:
        """Of the tool."""
        return self.candidate.source.name

    @property
    def digest(self) -> str:
        """Of the version that it would be."""
        what = self.candidate
        return version_digest(what.source, what.source_schema, what.image)


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
        self._prover = Prover(analyzer, sandbox, equipment, composition)
        self.retest = self._prover.retest

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
        if without_bytes := check_bytes(source, self._profile.source):
            return DefinitionOutcome.refused(escape_text(source.name), tuple(without_bytes))
        author = author_of(provenance)
        asked = Resource.of_source(source, author=provenance.author, origin=provenance.origin.value)
        may_define = self._equipment.access.decide(author, Action.DEFINE, asked)
        if not may_define.allowed:
            return DefinitionOutcome.refused(source.name, (), may_define.reasons)
        try:
            await self._store.lifecycle.propose(
                source.name,
                author=provenance.author,
                session=provenance.session,
                quota=proposal_quota_of(self._profile),
            )
        except QuotaError as error:
            return DefinitionOutcome.refused(source.name, (), (str(error),))
        source, unpinned = await pin_tools(source, self._store, session=provenance.session)
        proposal = _Proposal(source, provenance, author, asked, insist)
        draft = await self._read(proposal, unpinned, on_event)
        if isinstance(draft, DefinitionOutcome):
            return draft
        return await self._known(draft) or await self._try(draft, on_event)

    async def _read(
        self, proposal: _Proposal, unpinned: tuple[Finding, ...], on_event: AdmissionListener
    ) -> _Draft | DefinitionOutcome:
        """What can be said of the text, and of the image that it would run in."""
        source = proposal.source
        analysis = await self._prover.analyse(source, on_event)
        schema = analysis.source_schema
        findings = (*analysis.report.findings, *self._prover.ungranted(source), *unpinned)
        if has_errors(findings) or schema is None:
            return DefinitionOutcome.refused(source.name, findings)
        try:
            image = await image_digest(source.permissions, await self._sandbox())
        except PackagesRefusedError as error:
            return DefinitionOutcome.refused(source.name, (*findings, not_to_be_had(error)))
        return _Draft(proposal, Candidate(source, schema, image), analysis)

    async def _known(self, draft: _Draft) -> DefinitionOutcome | None:
        """The answer where this very version is in the store and no proof can change it."""
        version = None
        with suppress(ToolNotFoundError):
            version = await self._store.find(ToolRef(name=draft.name, digest=draft.digest))
        if version is None:
            return None
        match version.state:
            case Lifecycle.REVOKED:
                words = f"is exactly this text and was revoked: {version.state_reason}"
                return _as_it_is(version, words)
            case Lifecycle.DEPRECATED | Lifecycle.ARCHIVED if _is_import(draft):
                words = (
                    f"is exactly this text and is {version.state} ({version.state_reason}); no "
                    f"import changes that. `toolkiln tools rollback {version.name} --to "
                    f"{version.ref}` makes it current again"
                )
                return _as_it_is(version, words)
            case Lifecycle.APPROVED:
                return DefinitionOutcome.stored(version)
            case Lifecycle.QUARANTINED:
                under_this = version.decision.policy_digest == self._profile.digest
                return DefinitionOutcome.stored(version) if under_this else None
            case _:
                return None

    async def _try(self, draft: _Draft, on_event: AdmissionListener) -> DefinitionOutcome:
        """Trials, with a look at what the store has before and after them; then the rest."""
        proposal, candidate = draft.proposal, draft.candidate
        sandbox = await self._sandbox()
        comparisons = Comparisons(
            self._store, self._analyzer, self._equipment, self._composition, proposal.author
        )
        if not proposal.insist:
            twin = await comparisons.twin_by_text(candidate.source, draft.analysis, candidate.image)
            if twin is not None:
                return DefinitionOutcome.duplicate(draft.name, twin.version, twin.reason)
        proof = await self._prover.prove(
            candidate.source, candidate.source_schema, on_event, proposal.author
        )
        if proof.holds and not proposal.insist:
            twin = await comparisons.twin_by_behaviour(candidate, proof.trials, sandbox)
            if twin is not None:
                return DefinitionOutcome.duplicate(draft.name, twin.version, twin.reason)
        outcome = await self._compare_and_store(draft, proof, comparisons, on_event)
        if outcome.ref is not None and draft.analysis.normal is not None:
            await self._store.note_form(
                draft.digest,
                normal=draft.analysis.normal,
                shape=shape_digest(candidate.source_schema),
            )
        return outcome

    async def _compare_and_store(
        self, draft: _Draft, proof: Proof, comparisons: Comparisons, on_event: AdmissionListener
    ) -> DefinitionOutcome:
        """Replay, decision and version; anew where another version became current meanwhile."""
        replays = 0
        while True:
            evidence = await self._evidence(draft, proof, comparisons)
            replays += 1
            decision = self._decide(draft, evidence, on_event)
            if not (decision.allowed or decision.needs_review):
                return DefinitionOutcome.refused(
                    draft.name, evidence.all_findings, decision.reasons, draft.digest, evidence
                )
            try:
                return DefinitionOutcome.stored(await self._store_it(draft, evidence, decision))
            except PredecessorChangedError as error:
                if replays == _MOST_REPLAYS:
                    return _not_stored(draft, evidence, _overtaken(error))
            except TransitionError as error:
                return _not_stored(draft, evidence, _refused_by_store(error))

    async def _evidence(self, draft: _Draft, proof: Proof, comparisons: Comparisons) -> Evidence:
        replay = None
        if proof.holds:
            replay = await comparisons.replay(draft.candidate, await self._sandbox())
        return Evidence(
            subject=draft.digest,
            source_digest=draft.candidate.source.digest,
            image_digest=draft.candidate.image,
            report=draft.analysis.report,
            trials=proof.trials,
            findings=(*proof.findings, *replay_findings(replay)),
            replay=replay,
            produced_by=f"toolkiln {distribution_version('toolkiln')}",
            produced_at=self._clock(),
        )

    def _decide(self, draft: _Draft, evidence: Evidence, on_event: AdmissionListener) -> Decision:
        proposal = draft.proposal
        on_event(StageStarted(tool=draft.name, stage="decision"))
        decision = self._profile.policy.decide(
            AdmissionRequest(
                digest=draft.digest,
                source=draft.candidate.source,
                evidence=evidence,
                author=proposal.provenance.author,
            )
        )
        passed = decision.allowed or decision.needs_review
        on_event(StageFinished(tool=draft.name, stage="decision", seconds=0.0, passed=passed))
        return admitted_by(decision, self._equipment.access, proposal.author, proposal.asked)

    async def _store_it(self, draft: _Draft, evidence: Evidence, decision: Decision) -> ToolVersion:
        profile, provenance = self._profile, draft.proposal.provenance
        await self._store.decisions.keep_policy(
            profile.text, digest=decision.policy_digest, actor=provenance.author
        )
        submission = Submission(
            source=draft.candidate.source,
            source_schema=draft.candidate.source_schema,
            image_digest=draft.candidate.image,
            level=draft.analysis.report.level,
            evidence=evidence,
            decision=decision,
            provenance=provenance,
        )
        return await self._store.admit(submission, actor=provenance.author, terms=terms_of(profile))


def _is_import(draft: _Draft) -> bool:
    return draft.proposal.provenance.origin is Origin.IMPORT


def _as_it_is(version: ToolVersion, words: str) -> DefinitionOutcome:
    """The refusal of what is in the store, in a state that this does not change."""
    return DefinitionOutcome.refused(
        version.name, (), (f"{version.ref} {words}",), version.digest, version.evidence
    )


def _refused_by_store(error: TransitionError) -> Finding:
    return Finding(
        rule="ST101",
        severity=Severity.ERROR,
        stage=Stage.STORE,
        message=str(error),
        suggestion="choose another name, or call the tool that has it",
    )


def _overtaken(error: PredecessorChangedError) -> Finding:
    return Finding(
        rule="ST102",
        severity=Severity.ERROR,
        stage=Stage.STORE,
        message=f"{error} ({_MOST_REPLAYS} times in a row)",
        suggestion="somebody else changes this tool just now: look at what it is by now, and "
        "define it again if yours is still wanted",
    )


def _not_stored(draft: _Draft, evidence: Evidence, finding: Finding) -> DefinitionOutcome:
    return DefinitionOutcome.refused(
        draft.name,
        (*evidence.all_findings, finding),
        (finding.message,),
        draft.digest,
        evidence,
    )

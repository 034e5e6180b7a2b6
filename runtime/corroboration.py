"""A stored version proven once more: by another host for a threshold, or when its evidence is old.

The same pipeline as for a proposed tool, on the version as it stands in the store, and no part of
what is there is changed: what this host finds stands beside it, signed with this host's keys.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version as distribution_version

from policies.access import Action
from policies.evidence import Evidence
from policies.findings import Finding, has_errors
from policies.value import Value
from runtime.authorize import authorize, resource_of
from runtime.equipment import Equipment, image_digest
from runtime.events import AdmissionListener
from runtime.proving import Prover, not_to_be_had
from runtime.redecision import request_of
from runtime.tools import ignore_progress
from sandbox.base import Sandbox
from sandbox.errors import PackagesRefusedError
from toolstore.models import ToolVersion
from toolstore.store import ToolStore


class Corroborated(Value):
    """What came of proving a version once more."""

    ref: str
    digest: str
    proven: bool
    """It holds here too, and that is kept and signed."""

    runs: int = 0
    findings: tuple[Finding, ...] = ()
    reasons: tuple[str, ...] = ()


class Corroboration:
    """Proves versions of one store once more, under this host's policy and with its keys."""

    def __init__(
        self,
        prover: Prover,
        store: ToolStore,
        equipment: Equipment,
        clock: Callable[[], datetime],
    ) -> None:
        self._prover = prover
        self._store = store
        self._equipment = equipment
        self._clock = clock

    async def prove(
        self,
        version: ToolVersion,
        sandbox: Sandbox,
        on_event: AdmissionListener = ignore_progress,
    ) -> Corroborated:
        """Prove `version` here, and vouch for it where it holds.

        Raises:
            AccessRefusedError: The policy does not let this person; nothing ran.
            SandboxError: The sandbox failed; nothing was kept.
            ToolStoreError: The store failed, or the version was taken back; nothing was kept.
        """
        equipment = self._equipment
        authorize(equipment.access, equipment.asking, Action.ADMIT, resource_of(version))
        problem = await self._problem(version, sandbox)
        if problem is not None:
            return problem
        analysis = await self._prover.analyse(version.source, on_event)
        if has_errors(analysis.report.findings):
            return _refused(version, findings=analysis.report.findings)
        if (analysis.source_schema, analysis.report.level) != (
            version.source_schema,
            version.level,
        ):
            return _refused(
                version, reasons=("this program reads another schema or level out of its source",)
            )
        proof = await self._prover.prove(version.source, version.source_schema, on_event)
        evidence = Evidence(
            subject=version.digest,
            source_digest=version.source.digest,
            image_digest=version.image_digest,
            report=analysis.report,
            trials=proof.trials,
            findings=proof.findings,
            produced_by=f"toolkiln {distribution_version('toolkiln')}",
            produced_at=self._clock(),
        )
        return await self._judged(version, evidence)

    async def _problem(self, version: ToolVersion, sandbox: Sandbox) -> Corroborated | None:
        """Why it cannot be proven here at all; None where it can."""
        if ungranted := self._prover.ungranted(version.source):
            return _refused(version, findings=ungranted)
        permissions, wanted = version.source.permissions, version.image_digest
        try:
            image = await image_digest(permissions, sandbox, wanted=wanted)
        except PackagesRefusedError as error:
            return _refused(version, findings=(not_to_be_had(error),))
        if image == wanted:
            return None
        reason = (
            f"it is a version for the guest image {wanted[:19]}…, and this host has "
            f"{image[:19]}…: only a host with the same Python and toolkiln can prove it"
        )
        return _refused(version, reasons=(reason,))

    async def _judged(self, version: ToolVersion, evidence: Evidence) -> Corroborated:
        """Keep the evidence where this host's policy would take the version on it."""
        # How it compares with the version before was seen once; what is judged here is the rest.
        as_judged = evidence.model_copy(update={"replay": version.evidence.replay})
        request = request_of(version.model_copy(update={"evidence": as_judged}), self._clock())
        decision = self._equipment.profile.policy.decide(request)
        runs, findings = len(evidence.trials), evidence.all_findings
        if not (decision.allowed or decision.needs_review):
            return _refused(version, findings=findings, reasons=decision.reasons, runs=runs)
        await self._store.proofs.add(version.digest, evidence, actor=self._equipment.tenant)
        return Corroborated(
            ref=str(version.ref), digest=version.digest, proven=True, runs=runs, findings=findings
        )


def _refused(
    version: ToolVersion,
    *,
    findings: tuple[Finding, ...] = (),
    reasons: tuple[str, ...] = (),
    runs: int = 0,
) -> Corroborated:
    return Corroborated(
        ref=str(version.ref),
        digest=version.digest,
        proven=False,
        runs=runs,
        findings=findings,
        reasons=reasons,
    )

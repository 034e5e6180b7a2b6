"""A changed policy decides again about what was approved under another one, when it is loaded.

The decision is a pure function of the stored evidence and approvals, so no sandbox is needed and
nothing is tried again. Each version is looked at once in a process, and the log has one entry for
each version and policy, however many sessions load it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from policies.access import Action, Circumstances, Principal
from policies.config import PolicyProfile
from policies.decision import AdmissionRequest, Approval, Decision
from policies.waivers import in_force
from runtime.authorize import admitted_by, author_of, resource_of
from runtime.equipment import Equipment
from toolstore.choosing import CALLABLE
from toolstore.errors import ToolNotCallableError
from toolstore.models import Lifecycle, ToolRef, ToolVersion
from toolstore.store import ToolStore


def request_of(
    version: ToolVersion, at: datetime, *, more: tuple[Approval, ...] = ()
) -> AdmissionRequest:
    """What a policy is asked about a stored version; what has expired does not count."""
    return AdmissionRequest(
        digest=version.digest,
        source=version.source,
        evidence=version.evidence,
        author=version.provenance.author,
        approvals=(*(each for each in version.approvals if each.counts(at)), *more),
        waivers=in_force(version.waivers, digest=version.digest, at=at),
    )


def by_the_entitled(version: ToolVersion, equipment: Equipment) -> ToolVersion:
    """`version` with those approvals alone that the policy in force lets their people give.

    They may have been given under another policy, or to another host of the store.
    """
    waiting = resource_of(version).model_copy(update={"state": Lifecycle.QUARANTINED.value})
    counting: list[Approval] = []
    for approval in version.approvals:
        person = Principal.of_person(approval.principal)
        so_far = Circumstances(vote="approve", approvals=len(counting))
        if equipment.access.decide(person, Action.APPROVE, waiting, so_far).allowed:
            counting.append(approval)
    return version.model_copy(update={"approvals": tuple(counting)})


def decide_again(version: ToolVersion, equipment: Equipment, at: datetime) -> Decision:
    """What the policy in force says to a stored version; pure."""
    request = request_of(by_the_entitled(version, equipment), at)
    decision = equipment.profile.policy.decide(request)
    if request.approvals:
        return decision
    return admitted_by(
        decision, equipment.access, author_of(version.provenance), resource_of(version)
    )


def has_lapsed(version: ToolVersion, at: datetime) -> bool:
    """Whether a waiver or a person's yes that once counted for a version no longer does."""
    counting = in_force(version.waivers, digest=version.digest, at=at)
    return len(counting) < len({(waiver.rule, waiver.principal) for waiver in version.waivers}) or (
        not all(approval.counts(at) for approval in version.approvals)
    )


class Redecision:
    """Lets through what passes under the policy in force, and sets aside what does not."""

    def __init__(
        self, store: ToolStore, equipment: Equipment, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._equipment = equipment
        self._clock = clock
        self._digest = equipment.profile.digest
        self._passed: set[str] = set()
        self._whole: set[str] = set()
        """Digests of policies whose kept text is what it was."""

    async def check(self, version: ToolVersion) -> ToolVersion:
        """`version`, which was loaded, if the policy in force allows it as well.

        Raises:
            ToolNotCallableError: It does not; the version is in quarantine now.
            StoreDamagedError: What is kept of the policy that allowed it is not that policy.
            ToolStoreError: The store could not keep what was decided.
        """
        under = version.decision.policy_digest
        if under not in self._whole:
            await self._store.decisions.policy(under)
            self._whole.add(under)
        at = self._clock()
        lapsed = has_lapsed(version, at)
        known = version.decision.policy_digest == self._digest or version.digest in self._passed
        if known and not lapsed:
            return version
        decision = decide_again(version, self._equipment, at)
        if lapsed and decision.allowed:
            return version
        if not decision.allowed and not self._equipment.keeps_refusals:
            reasons = "; ".join(decision.reasons)
            raise ToolNotCallableError(
                str(version.ref),
                f"not allowed by policy {self._equipment.profile.name}, which this folder asks for",
                reasons,
            )
        after = await self._store.decisions.decided_again(
            version.digest,
            decision,
            policy=self._equipment.profile.text,
            actor=self._equipment.tenant,
        )
        if after.state not in CALLABLE:
            raise ToolNotCallableError(str(after.ref), after.state.value, after.state_reason)
        self._passed.add(version.digest)
        return after

    async def set_aside(self, ref: ToolRef) -> None:
        """Send a version whose approval has ended back to review, where people can renew it.

        Nothing happens where the policy in force allows it without that approval.

        Raises:
            ToolStoreError: The store could not keep that.
        """
        at = self._clock()
        version = await self._store.find(ref)
        if version.state not in CALLABLE or not has_lapsed(version, at):
            return
        decision = decide_again(version, self._equipment, at)
        if not decision.allowed:
            await self._store.decisions.decided_again(
                version.digest,
                decision,
                policy=self._equipment.profile.text,
                actor=self._equipment.tenant,
            )


async def stored_policy(store: ToolStore, digest: str) -> PolicyProfile | None:
    """The policy that a decision was taken under, as it was then; None where it was not kept.

    Raises:
        StoreDamagedError: What is kept of it is not what its digest says.
    """
    text = await store.decisions.policy(digest)
    return None if text is None else PolicyProfile.model_validate_json(text)

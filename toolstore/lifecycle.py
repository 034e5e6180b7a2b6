"""The life-cycle beyond admission and review, as everybody else sees it: `ToolStore.lifecycle`."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TypeVar

from policies.decision import Decision
from policies.sequential import CanarySettings, Tally
from policies.waivers import Waiver
from toolstore import moves, proposals, retirement, tallies
from toolstore.commit import Commit
from toolstore.events import EventType
from toolstore.lane import Lane
from toolstore.models import Pin, ToolRef, ToolVersion
from toolstore.pins import OnDamage, pins
from toolstore.proposals import ProposalQuota
from toolstore.terms import NO_TERMS, Terms
from toolstore.writing import Writer

T = TypeVar("T")


class LifecycleMoves:
    """Moves versions between channels and states; each move is one transaction and one event."""

    def __init__(self, reads: Lane, write: Commit) -> None:
        self._reads = reads
        self._write = write

    async def promote(self, ref: ToolRef, *, actor: str, reason: str) -> ToolVersion:
        """Make an approved version the stable one; what was stable is deprecated.

        Raises:
            TransitionError: it is not approved, or stable already.
            ToolNotFoundError: there is no such version.
        """
        return await self._write(actor, partial(moves.promote, ref=ref, reason=reason))

    async def canary(self, ref: ToolRef, *, weight: float, actor: str, reason: str) -> ToolVersion:
        """Give a version to a share of the sessions; counting starts anew.

        Raises:
            TransitionError: it is not approved or deprecated, or there is no stable one beside it.
            ToolNotFoundError: there is no such version.
        """
        work = partial(moves.start_canary, ref=ref, weight=weight, reason=reason)
        return await self._write(actor, work)

    async def deprecate(
        self, ref: ToolRef, *, actor: str, reason: str, successor: ToolRef | None = None
    ) -> ToolVersion:
        """End the approval of a version; it stays callable by its exact reference.

        Raises:
            TransitionError: it is not approved.
            ToolNotFoundError: there is no such version, or no such successor.
        """
        work = partial(moves.deprecate, ref=ref, reason=reason, successor=successor)
        return await self._write(actor, work)

    async def archive(self, ref: ToolRef, *, actor: str, reason: str) -> ToolVersion:
        """Let nobody call a deprecated version until somebody goes back to it.

        Raises:
            TransitionError: it is not deprecated.
            ToolNotFoundError: there is no such version.
        """
        return await self._write(actor, partial(moves.archive, ref=ref, reason=reason))

    async def suspend(
        self, digest: str, decision: Decision, *, actor: str, reason: str
    ) -> ToolVersion:
        """Set an approved or deprecated version aside: `decision` no longer allows it.

        Raises:
            TransitionError: it is neither.
            ToolNotFoundError: no version has this digest.
        """
        work = partial(moves.suspend, digest=digest, decision=decision, reason=reason)
        return await self._write(actor, work)

    async def readmit(
        self, digest: str, decision: Decision, *, actor: str, terms: Terms = NO_TERMS
    ) -> ToolVersion:
        """Take a version out of quarantine that `decision` allows by now.

        One that was approved meanwhile is returned as it is. What the policy said of one that was
        rejected meanwhile is kept in the log.

        Raises:
            TransitionError: it is neither in quarantine nor approved, or the decision does not
                allow it.
            ToolNotFoundError: no version has this digest.
        """
        work = partial(moves.readmit, digest=digest, decision=decision, terms=terms)
        return await self._write(actor, work)

    async def waive(
        self, waiver: Waiver, decision: Decision | None, *, actor: str, terms: Terms = NO_TERMS
    ) -> ToolVersion:
        """Keep a waiver; what waits in quarantine is admitted if `decision` allows it with that.

        Raises:
            TransitionError: the version is archived or revoked.
            ToolNotFoundError: no version has the waiver's digest.
        """
        work = partial(moves.waive, waiver=waiver, decision=decision, terms=terms)
        return await self._write(actor, work)

    async def pin(self, ref: ToolRef, *, session: str, actor: str, reason: str) -> ToolVersion:
        """Have a session stay with a version, whatever else the name comes to mean.

        Raises:
            TransitionError: it is neither approved nor deprecated, or for another session alone.
            ToolNotFoundError: there is no such version.
        """
        work = partial(moves.pin, ref=ref, session=session, reason=reason)
        return await self._write(actor, work)

    async def unpin(self, name: str, *, session: str, actor: str, reason: str) -> ToolVersion:
        """End a session's staying.

        Raises:
            TransitionError: it is not pinned.
            ToolNotFoundError: there is no such tool.
        """
        work = partial(moves.unpin, name=name, session=session, reason=reason)
        return await self._write(actor, work)

    async def pins(
        self, session: str | None = None, *, on_damage: OnDamage | None = None
    ) -> tuple[Pin, ...]:
        """All pins, or those of one session, each held against the log.

        Raises:
            StoreDamagedError: one does not follow from the log, and there is no `on_damage`, which
                gets the pin and the error.
        """
        return await self._reads.run(partial(pins, session=session, on_damage=on_damage))

    async def count_call(
        self, name: str, digest: str, settings: CanarySettings, *, actor: str, succeeded: bool
    ) -> EventType | None:
        """Count a call of the canary of `name` or of the stable version beside it.

        Nothing is counted where no canary runs. What the counts say by then is done at once.

        Returns:
            What happened to the canary (`CANARY_FAILED`, `PROMOTED`), if anything.
        """

        def work(writer: Writer) -> EventType | None:
            return tallies.count_call(writer, name, digest, settings, succeeded=succeeded)

        return await self._write(actor, work)

    async def tallies(self, name: str) -> dict[str, Tally]:
        """Calls counted since the running canary of `name` began, by channel; else nothing."""
        return await self._reads.run(partial(tallies.running_tallies, name=name))

    async def propose(
        self, name: str, *, author: str, session: str | None, quota: ProposalQuota
    ) -> None:
        """Count one more proposal of a tool `name`, before anything is spent on its proof.

        Raises:
            QuotaError: there are as many as the policy allows, on all hosts of the store.
        """
        work = partial(proposals.propose, name=name, author=author, session=session, quota=quota)
        await self._write(author, work)

    async def note_use(self, digest: str, *, actor: str) -> None:
        """Remember that a version was called now."""
        await self._write(actor, partial(moves.note_use, digest=digest))

    async def idle(
        self, *, retire_before: datetime, archive_before: datetime
    ) -> tuple[retirement.Candidate, ...]:
        """What nobody called for long, with what still depends on it.

        Raises:
            StoreDamagedError: an event about one is not what was put in.
        """
        work = partial(
            retirement.candidates, retire_before=retire_before, archive_before=archive_before
        )
        return await self._reads.run(work)

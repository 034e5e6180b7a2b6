"""Votes: each on exactly what was shown, as far as the policy gives somebody one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, assert_never

from policies.access import Action, Circumstances, Principal
from policies.decision import Approval, Channel
from policies.marking import mark_text
from runtime.authorize import authorize, resource_of
from runtime.equipment import Equipment
from runtime.errors import ReviewChangedError, UsageError
from runtime.redecision import by_the_entitled, stored_policy
from runtime.review.deciding import decide_jointly
from runtime.review.item import MAX_REASON, ReviewOutcome, Vote
from runtime.review.shown import Shown
from runtime.review.views import people_of
from runtime.terms import terms_of
from toolstore.errors import VoteOvertakenError
from toolstore.events import EventType
from toolstore.models import Event, Lifecycle, ToolVersion
from toolstore.store import ToolStore

_ATTEMPTS: Final = 5
"""Of one yes, while others vote on the same version."""

_CIRCUMSTANCES: Final[dict[Vote, Literal["approve", "reject", "change"]]] = {
    Vote.APPROVE: "approve",
    Vote.REJECT: "reject",
    Vote.ASK: "change",
}


@dataclass(frozen=True, slots=True)
class Ballot:
    """One person's vote."""

    vote: Vote
    principal: str
    reason: str = ""
    """Goes to the author's session; needed for a no and for a wish."""

    scope: Channel = Channel.STABLE
    """How far a yes goes."""

    expires_at: datetime | None = None
    """From when on a yes no longer counts; None is for good."""


@dataclass(frozen=True, slots=True)
class Voting:
    """Keeps votes in a store."""

    store: ToolStore
    equipment: Equipment
    clock: Callable[[], datetime]

    async def decide(self, shown: str, ballot: Ballot) -> ReviewOutcome:
        """Keep a vote on exactly what was shown; see `ReviewDesk.decide`."""
        seen = Shown.parse(shown)
        reason = _checked_reason(ballot.vote, ballot.reason)
        await self._may(seen, ballot)
        match ballot.vote:
            case Vote.APPROVE:
                after = await self._approve(seen, ballot, reason)
            case Vote.REJECT:
                await self._unchanged(seen)
                after = await self.store.reject(
                    seen.version, actor=ballot.principal, reason=reason, shown=shown
                )
            case Vote.ASK:
                await self._unchanged(seen)
                after = await self.store.ask_change(
                    seen.version, actor=ballot.principal, reason=reason, shown=shown
                )
            case _:
                assert_never(ballot.vote)
        return _outcome(ballot.vote, after)

    async def _may(self, seen: Shown, ballot: Ballot) -> None:
        """Refuse a vote of somebody who has none.

        Raises:
            AccessRefusedError: The policy does not let them decide about this version.
        """
        version = await self.store.version(seen.version)
        people = people_of(version.approvals, self.clock())
        authorize(
            self.equipment.access,
            Principal.of_person(ballot.principal),
            Action.APPROVE,
            resource_of(version),
            Circumstances(vote=_CIRCUMSTANCES[ballot.vote], approvals=len(people)),
        )

    async def _approve(self, seen: Shown, ballot: Ballot, comment: str) -> ToolVersion:
        profile = self.equipment.profile
        for attempt in range(1, _ATTEMPTS + 1):
            version, last = await self._unchanged(seen)
            now = self.clock()
            _check_terms(version, ballot, now)
            approval = Approval(
                principal=ballot.principal,
                digest=seen.version,
                at=now,
                comment=comment,
                scope=ballot.scope,
                expires_at=ballot.expires_at,
                shown=str(seen),
            )
            asked = await stored_policy(self.store, version.decision.policy_digest)
            entitled = by_the_entitled(version, self.equipment)
            decision = decide_jointly(entitled, approval, profile, now, stored=asked)
            try:
                return await self.store.approve(
                    seen.version,
                    approval,
                    decision,
                    actor=ballot.principal,
                    after=last,
                    terms=terms_of(profile),
                )
            except VoteOvertakenError:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError  # the last attempt returns or raises

    async def _unchanged(self, seen: Shown) -> tuple[ToolVersion, int]:
        """The version and its last event, if they are still what was shown.

        Another person's yes in between is no change: it alters nothing that was shown.
        """
        version = await self.store.version(seen.version)
        events = await self.store.events(version.name)
        mine = [event for event in events if event.digest == seen.version]
        version = await self.store.version(seen.version)  # no older than its events
        if changes := self._changes(seen, version, mine):
            raise ReviewChangedError(
                f"{version.ref} is not what was shown: {'; '.join(changes)}. Nothing was done; "
                f"look at it again: toolkiln review show {version.ref}"
            )
        return version, mine[-1].sequence

    def _changes(self, seen: Shown, version: ToolVersion, events: Sequence[Event]) -> list[str]:
        profile, changes = self.equipment.profile, []
        if seen.evidence is not None and seen.evidence != version.evidence.digest:
            changes.append("there is other evidence by now")
        if seen.policy is not None and seen.policy != profile.digest:
            changes.append(f"the policy in force is another one ({profile.name})")
        if seen.event is not None and version.state is Lifecycle.QUARANTINED:
            # A vote on what is decided already goes to the store, which keeps it and refuses it.
            changes += [
                f"{event.actor}: {event.type.replace('_', ' ')} ({event.reason})"
                for event in events
                if event.sequence > seen.event and event.type != EventType.ENDORSED
            ]
        return changes


def _checked_reason(vote: Vote, reason: str) -> str:
    reason = reason.strip()
    if not reason and vote is not Vote.APPROVE:
        raise UsageError(
            "say why: the reason is kept in the log and goes to the session that wrote the tool"
        )
    if len(reason) > MAX_REASON:
        raise UsageError(f"the reason has {len(reason)} characters; {MAX_REASON} are allowed")
    return reason


def _check_terms(version: ToolVersion, ballot: Ballot, now: datetime) -> None:
    """Refuse a yes whose scope or expiry makes no sense."""
    if ballot.expires_at is not None and ballot.expires_at <= now:
        raise UsageError(
            f"the approval would have expired at {ballot.expires_at.isoformat()} already; give "
            "a later time, with its zone"
        )
    if ballot.scope is Channel.SESSION and version.provenance.session is None:
        raise UsageError(
            f"{version.ref} was written by no session, so it cannot be approved for one; "
            "choose canary or stable"
        )


def _outcome(vote: Vote, version: ToolVersion) -> ReviewOutcome:
    match vote:
        case Vote.APPROVE if version.state is Lifecycle.APPROVED:
            words = f"{version.ref} is approved"
        case Vote.APPROVE:
            words = f"your yes is kept; {version.ref} is still {version.state.value}: "
            words += version.state_reason
        case Vote.REJECT:
            words = f"{version.ref} is rejected; its author is told why"
        case Vote.ASK:
            words = f"{version.ref} goes on waiting; its author is told what to change"
        case _:
            assert_never(vote)
    return ReviewOutcome(
        ref=mark_text(str(version.ref)),
        digest=version.digest,
        vote=vote,
        state=version.state,
        words=mark_text(words),
    )

"""The review desk: what waits, everything about one version, and votes on what was shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, assert_never

from policies.access import Action, Circumstances, Principal
from policies.config import PolicyProfile
from policies.decision import Approval, Channel
from policies.marking import mark_text
from runtime.authorize import authorize, resource_of
from runtime.composition import Composition
from runtime.equipment import Equipment
from runtime.errors import ReviewChangedError, UsageError
from runtime.redecision import stored_policy
from runtime.review.capability import capabilities_of
from runtime.review.coverage import measure_coverage
from runtime.review.deciding import decide_jointly
from runtime.review.diff import diff_versions, schema_lines
from runtime.review.item import Coverage, QueueLine, ReviewItem, ReviewOutcome, Vote
from runtime.review.neighbours import nearest, users_of
from runtime.review.shown import Shown
from runtime.review.views import (
    behaviour_view,
    finding_views,
    history_lines,
    oddities,
    people_of,
    source_view,
    trial_views,
    vote_views,
)
from runtime.terms import terms_of
from sandbox.base import Sandbox
from sandbox.errors import SandboxError
from sandbox.packages import list_package_images
from toolstore.errors import StoreDamagedError, ToolNotFoundError, VoteOvertakenError
from toolstore.events import EventType
from toolstore.models import Event, Lifecycle, ToolRef, ToolSummary, ToolVersion
from toolstore.store import ToolStore

MAX_REASON: Final = 2_000
_ATTEMPTS: Final = 5
"""Of one yes, while others vote on the same version."""

_KEPT_COVERAGE: Final = 200
_VOTES: Final[dict[Vote, Literal["approve", "reject", "change"]]] = {
    Vote.APPROVE: "approve",
    Vote.REJECT: "reject",
    Vote.ASK: "change",
}


class ReviewDesk:
    """Reads one store for reviewers and keeps their votes in it."""

    def __init__(  # noqa: PLR0913  each is one part that it brings together
        self,
        *,
        store: ToolStore,
        equipment: Equipment,
        composition: Composition,
        sandbox: Callable[[], Awaitable[Sandbox]] | None,
        package_folder: Path,
        clock: Callable[[], datetime],
    ) -> None:
        """Without a `sandbox` coverage is not measured."""
        self._store = store
        self._equipment = equipment
        self._composition = composition
        self._sandbox = sandbox
        self._package_folder = package_folder
        self._clock = clock
        self._coverage: dict[str, Coverage | str] = {}

    @property
    def profile(self) -> PolicyProfile:
        """The policy in force."""
        return self._equipment.profile

    async def queue(self) -> tuple[QueueLine, ...]:
        """What waits for a person, the longest first; damaged versions are left out."""
        waiting = await self._store.pending(on_damage=_leave_out)
        latest = {version.name: version for version in sorted(waiting, key=_sequence)}
        lines = [await self._line(version, latest[version.name]) for version in waiting]
        return tuple(sorted(lines, key=lambda line: (line.since, line.ref.plain)))

    async def item(
        self, ref: str, *, measured: bool = True, reader: str | None = None
    ) -> ReviewItem:
        """Everything about one version, by reference or whole digest.

        A bare name means the one version of it that waits. With `measured` the coverage is
        measured in the sandbox, where that was not done before. `reader` is the person who asks,
        where that is known.

        Raises:
            AccessRefusedError: The policy does not let `reader` read its source.
            ToolNotFoundError: There is no such version.
            UsageError: Several wait under that name, or it is no reference.
            StoreDamagedError: It is not what was put in.
        """
        version = await self.find(ref)
        if reader is not None:
            person = Principal.of_person(reader)
            authorize(self._equipment.access, person, Action.READ_SOURCE, resource_of(version))
        events = await self._store.events(version.name)
        mine = [event for event in events if event.digest == version.digest]
        version = await self._store.version(version.digest)  # no older than its events
        before = await self._before(version)
        coverage = await self._measure(version) if measured else "not measured yet"
        known = coverage if isinstance(coverage, Coverage) else None
        locked = await self._locked(version)
        parts = diff_versions(
            before, version, () if before is None else await self._locked(before), locked
        )
        now = self._clock()
        provenance = version.provenance
        return ReviewItem(
            shown=str(self._shown(version, mine)),
            digest=version.digest,
            name=mark_text(version.name),
            ref=mark_text(str(version.ref)),
            state=version.state,
            state_reason=mark_text(version.state_reason, characters=MAX_REASON),
            waits=version.state is Lifecycle.QUARANTINED,
            level=version.level,
            description=mark_text(version.source.description, keep_newlines=True),
            author=mark_text(provenance.author),
            origin=provenance.origin,
            model=None if provenance.model is None else mark_text(provenance.model),
            session=None if provenance.session is None else mark_text(provenance.session),
            created_at=provenance.created_at,
            since=_since(version, mine),
            image_digest=version.image_digest,
            evidence_digest=version.evidence.digest,
            policy_digest=self.profile.digest,
            policy_name=self.profile.name,
            why=tuple(map(mark_text, version.decision.reasons)),
            votes=len(people_of(version.approvals, now)),
            needed=self.profile.admission.approvers,
            before=None if before is None else mark_text(str(before.ref)),
            diff=parts,
            capabilities=capabilities_of(version.source.permissions, locked),
            source=source_view(version.source.code, known),
            schema_lines=tuple(map(mark_text, schema_lines(version))),
            findings=finding_views(version, now),
            trials=trial_views(version.evidence),
            coverage=known,
            coverage_missing=coverage if isinstance(coverage, str) else "",
            neighbour=await nearest(self._store, version),
            users=await users_of(self._store, version),
            behaviour=behaviour_view(version.evidence.replay),
            history=history_lines(events, await self._sequences(version.name)),
            earlier_votes=vote_views(mine, now),
            warnings=oddities(version, parts),
        )

    async def decide(  # noqa: PLR0913  a vote has these parts
        self,
        shown: str,
        vote: Vote,
        *,
        principal: str,
        reason: str = "",
        scope: Channel = Channel.STABLE,
        expires_at: datetime | None = None,
    ) -> ReviewOutcome:
        """Keep a vote on exactly what was shown.

        Args:
            shown: `ReviewItem.shown`, or the digest of a version alone.
            vote: Yes, no, or a wish for a change.
            principal: Who votes.
            reason: Goes to the author's session; needed for a no and for a wish.
            scope: How far a yes goes.
            expires_at: From when on a yes no longer counts; None is for good.

        Raises:
            ReviewChangedError: What was shown is not what is there. Nothing was done.
            UsageError: A part of the vote is missing or makes no sense, or the policy says no.
            TransitionError: It does not wait for review.
            ToolNotFoundError: No version has this digest.
        """
        seen = Shown.parse(shown)
        reason = _checked_reason(vote, reason)
        await self._may(seen, vote, principal)
        match vote:
            case Vote.APPROVE:
                after = await self._approve(seen, principal, reason, scope, expires_at)
            case Vote.REJECT:
                await self._unchanged(seen)
                after = await self._store.reject(
                    seen.version, actor=principal, reason=reason, shown=shown
                )
            case Vote.ASK:
                await self._unchanged(seen)
                after = await self._store.ask_change(
                    seen.version, actor=principal, reason=reason, shown=shown
                )
            case _:
                assert_never(vote)
        return _outcome(vote, after)

    async def _may(self, seen: Shown, vote: Vote, principal: str) -> None:
        """Refuse a vote of somebody who has none.

        Raises:
            AccessRefusedError: The policy does not let them decide about this version.
        """
        version = await self._store.version(seen.version)
        people = people_of(version.approvals, self._clock())
        authorize(
            self._equipment.access,
            Principal.of_person(principal),
            Action.APPROVE,
            resource_of(version),
            Circumstances(vote=_VOTES[vote], approvals=len(people)),
        )

    async def _approve(
        self,
        seen: Shown,
        principal: str,
        comment: str,
        scope: Channel,
        expires_at: datetime | None,
    ) -> ToolVersion:
        for attempt in range(1, _ATTEMPTS + 1):
            version, last = await self._unchanged(seen)
            now = self._clock()
            if expires_at is not None and expires_at <= now:
                raise UsageError(
                    f"the approval would have expired at {expires_at.isoformat()} already; give "
                    "a later time, with its zone"
                )
            if scope is Channel.SESSION and version.provenance.session is None:
                raise UsageError(
                    f"{version.ref} was written by no session, so it cannot be approved for one; "
                    "choose canary or stable"
                )
            approval = Approval(
                principal=principal,
                digest=seen.version,
                at=now,
                comment=comment,
                scope=scope,
                expires_at=expires_at,
                shown=str(seen),
            )
            asked = await stored_policy(self._store, version.decision.policy_digest)
            decision = decide_jointly(version, approval, self.profile, now, stored=asked)
            try:
                return await self._store.approve(
                    seen.version,
                    approval,
                    decision,
                    actor=principal,
                    after=last,
                    terms=terms_of(self.profile),
                )
            except VoteOvertakenError:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError  # the last attempt returns or raises

    async def _unchanged(self, seen: Shown) -> tuple[ToolVersion, int]:
        """The version and its last event, if they are still what was shown.

        Another person's yes in between is no change: it alters nothing that was shown.
        """
        version = await self._store.version(seen.version)
        events = await self._store.events(version.name)
        mine = [event for event in events if event.digest == seen.version]
        version = await self._store.version(seen.version)  # no older than its events
        if changes := self._changes(seen, version, mine):
            raise ReviewChangedError(
                f"{version.ref} is not what was shown: {'; '.join(changes)}. Nothing was done; "
                f"look at it again: toolkiln review show {version.ref}"
            )
        return version, mine[-1].sequence

    def _changes(self, seen: Shown, version: ToolVersion, events: Sequence[Event]) -> list[str]:
        changes = []
        if seen.evidence is not None and seen.evidence != version.evidence.digest:
            changes.append("there is other evidence by now")
        if seen.policy is not None and seen.policy != self.profile.digest:
            changes.append(f"the policy in force is another one ({self.profile.name})")
        if seen.event is not None and version.state is Lifecycle.QUARANTINED:
            # A vote on what is decided already goes to the store, which keeps it and refuses it.
            changes += [
                f"{event.actor}: {event.type.replace('_', ' ')} ({event.reason})"
                for event in events
                if event.sequence > seen.event and event.type != EventType.ENDORSED
            ]
        return changes

    def _shown(self, version: ToolVersion, events: Sequence[Event]) -> Shown:
        return Shown(
            version=version.digest,
            evidence=version.evidence.digest,
            policy=self.profile.digest,
            event=events[-1].sequence if events else 0,
        )

    async def _line(self, version: ToolVersion, latest: ToolVersion) -> QueueLine:
        events = await self._store.events(version.name)
        mine = [event for event in events if event.digest == version.digest]
        asked = [event.reason for event in mine if event.type == EventType.CHANGE_ASKED]
        siblings = await self._store.versions_of(version.name)
        before = _replaced(version, siblings)
        return QueueLine(
            ref=mark_text(str(version.ref)),
            digest=version.digest,
            description=mark_text(version.source.description, characters=500),
            level=version.level,
            author=mark_text(version.provenance.author),
            origin=version.provenance.origin,
            since=_since(version, mine),
            why=tuple(map(mark_text, version.decision.reasons)),
            votes=len(people_of(version.approvals, self._clock())),
            needed=self.profile.admission.approvers,
            asked=mark_text(asked[-1], characters=MAX_REASON) if asked else None,
            replaces=None if before is None else mark_text(f"{before.name}@{before.sequence}"),
            newer=None if latest.digest == version.digest else mark_text(str(latest.ref)),
        )

    async def find(self, text: str) -> ToolVersion:
        """The version that a reviewer means: a bare NAME is the one of it that waits.

        Raises:
            ToolNotFoundError: There is no such version.
            UsageError: Several wait under that name, or it is no reference.
            StoreDamagedError: It is not what was put in.
        """
        if text.startswith("sha256:"):
            return await self._store.version(text)
        try:
            ref = ToolRef.parse(text)
        except ValueError as error:
            raise UsageError(str(error)) from None
        if ref.sequence is None and ref.digest is None:
            waiting = [
                each
                for each in await self._store.summaries((Lifecycle.QUARANTINED,))
                if each.name == ref.name
            ]
            if len(waiting) > 1:
                several = ", ".join(f"{each.name}@{each.sequence}" for each in waiting)
                raise UsageError(f"several versions wait for review; say which: {several}")
            if waiting:
                return await self._store.version(waiting[0].digest)
        return await self._store.find(ref)

    async def _before(self, version: ToolVersion) -> ToolVersion | None:
        """The approved version that it would replace, or else the one that it came after."""
        try:
            current = await self._store.find(ToolRef(name=version.name))
            if current.state is Lifecycle.APPROVED and current.digest != version.digest:
                return current
            return None if version.parent is None else await self._store.version(version.parent)
        except (StoreDamagedError, ToolNotFoundError):
            return None

    async def _sequences(self, name: str) -> dict[str, int]:
        return {each.digest: each.sequence for each in await self._store.versions_of(name)}

    async def _locked(self, version: ToolVersion) -> tuple[str, ...]:
        """What the lock of its image has; nothing where the image was not made here."""
        if not version.source.permissions.packages:
            return ()
        for image in await list_package_images(self._package_folder):
            if image.digest == version.image_digest:
                return tuple(image.lock.pins)
        return ()

    async def _measure(self, version: ToolVersion) -> Coverage | str:
        """What the trials reach; kept, for it does not change."""
        if version.digest in self._coverage:
            return self._coverage[version.digest]
        if self._sandbox is None:
            return "not measured: no sandbox here"
        try:
            sandbox = await self._sandbox()
            found = await measure_coverage(version, sandbox, self._equipment, self._composition)
        except SandboxError as error:
            return f"not measured: {str(error).partition('. ')[0]}"
        if len(self._coverage) >= _KEPT_COVERAGE:
            del self._coverage[next(iter(self._coverage))]
        self._coverage[version.digest] = found
        return found


def _checked_reason(vote: Vote, reason: str) -> str:
    reason = reason.strip()
    if not reason and vote is not Vote.APPROVE:
        raise UsageError(
            "say why: the reason is kept in the log and goes to the session that wrote the tool"
        )
    if len(reason) > MAX_REASON:
        raise UsageError(f"the reason has {len(reason)} characters; {MAX_REASON} are allowed")
    return reason


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


def _since(version: ToolVersion, events: Sequence[Event]) -> datetime:
    """When it came to where it is: votes that left it there do not count."""
    since = version.provenance.created_at
    for event in events:
        if event.from_state is not event.to_state:
            since = event.at
    return since


def _replaced(version: ToolVersion, siblings: Sequence[ToolSummary]) -> ToolSummary | None:
    """The approved version that it would replace, or else the one that it came after."""
    others = [each for each in siblings if each.digest != version.digest]
    approved = (each for each in others if each.state is Lifecycle.APPROVED)
    parent = (each for each in others if each.digest == version.parent)
    return next(approved, None) or next(parent, None)


def _sequence(version: ToolVersion) -> int:
    return version.sequence


def _leave_out(_ref: str, _error: StoreDamagedError) -> None:
    """`store verify` says what is damaged."""

"""The life-cycle and its log: which steps there are, and how each entry seals those before it.

All of it is pure: entries go in, entries or findings come out.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from policies.decision import Approval, Decision
from policies.permissions import LintLevel
from policies.value import Value, canonical_json, sha256_digest
from policies.waivers import Waiver
from toolstore.models import STABLE, Damage, Event, Lifecycle, Place, Provenance

GENESIS_HASH: Final = "sha256:" + "0" * 64
"""What the first entry has for the hash before it."""


class EventType(StrEnum):
    """What happened to a version."""

    SUBMITTED = "submitted"
    QUARANTINED = "quarantined"
    """Its evidence was taken in; nobody has said yes yet."""

    ADMITTED = "admitted"
    """The policy allowed it without a person."""

    ENDORSED = "endorsed"
    """A person said yes, and the policy wants to hear more people."""

    APPROVED = "approved"
    """A person said yes, and the policy agreed."""

    SUPERSEDED = "superseded"
    """Another version of the name became the approved one."""

    ROLLED_BACK = "rolled_back"
    """A person went back from it to an earlier version."""

    RESTORED = "restored"
    """It was deprecated and became the approved one again."""

    REJECTED = "rejected"
    """A person said no."""

    CHANGE_ASKED = "change_asked"
    """A person wants to see it changed first; the author is told, and it goes on waiting."""

    REVOKED = "revoked"
    """Taken back."""

    OVERRULED = "overruled"
    """A vote that came when it was decided already: kept, and without effect."""

    SUSPENDED = "suspended"
    """A finding is open again, or the policy no longer allows it: back to quarantine."""

    REDECIDED = "redecided"
    """The policy changed, and under the new one it is allowed too, on the same evidence."""

    IMPORTED = "imported"
    """What others say of it was kept beside it: the file that it came in. It counts for nothing."""

    CANARIED = "canaried"
    """It is tried by a share of the sessions."""

    PROMOTED = "promoted"
    """It became the stable one."""

    CANARY_FAILED = "canary_failed"
    """It failed more often than the stable one, and was taken out by itself."""

    DEPRECATED = "deprecated"
    """Retired, or a person advises against it; a successor may be named."""

    ARCHIVED = "archived"
    """Nobody can call it any more; going back to it is possible."""

    PINNED = "pinned"
    """A session stays with it."""

    UNPINNED = "unpinned"
    """A session no longer stays with it."""

    ATTESTED = "attested"
    """What was kept without signatures was signed, in the word of whoever had it signed."""

    PROVEN = "proven"
    """Another host proved this very version as well, or this one anew: that stands beside the
    evidence that was decided on."""

    WAIVED = "waived"
    """A person took one finding on themselves, for a time."""


_UNDECIDED = frozenset({Lifecycle.QUARANTINED})
_APPROVED = frozenset({Lifecycle.APPROVED})
_CALLABLE = frozenset({Lifecycle.APPROVED, Lifecycle.DEPRECATED})
_RETIRED = frozenset({Lifecycle.DEPRECATED, Lifecycle.ARCHIVED})
_LIVING = frozenset(Lifecycle) - {Lifecycle.REVOKED}
_DECIDED = _CALLABLE | {Lifecycle.ARCHIVED, Lifecycle.REVOKED}

TRANSITIONS: Final[Mapping[EventType, tuple[frozenset[Lifecycle | None], Lifecycle | None]]] = (
    MappingProxyType(
        {
            EventType.SUBMITTED: (frozenset({None}), Lifecycle.DRAFT),
            EventType.QUARANTINED: (frozenset({Lifecycle.DRAFT}), Lifecycle.QUARANTINED),
            EventType.ADMITTED: (_UNDECIDED, Lifecycle.APPROVED),
            EventType.ENDORSED: (_UNDECIDED, None),
            EventType.APPROVED: (_UNDECIDED, Lifecycle.APPROVED),
            EventType.SUPERSEDED: (_APPROVED, Lifecycle.DEPRECATED),
            EventType.ROLLED_BACK: (_APPROVED, Lifecycle.DEPRECATED),
            EventType.RESTORED: (_RETIRED, Lifecycle.APPROVED),
            EventType.REJECTED: (_UNDECIDED, Lifecycle.REVOKED),
            EventType.CHANGE_ASKED: (_UNDECIDED, None),
            EventType.REVOKED: (_LIVING, Lifecycle.REVOKED),
            EventType.OVERRULED: (_DECIDED, None),
            EventType.SUSPENDED: (_CALLABLE, Lifecycle.QUARANTINED),
            EventType.REDECIDED: (_CALLABLE, None),
            EventType.IMPORTED: (_LIVING, None),
            EventType.CANARIED: (_CALLABLE, Lifecycle.APPROVED),
            EventType.PROMOTED: (_APPROVED, Lifecycle.APPROVED),
            EventType.CANARY_FAILED: (_APPROVED, Lifecycle.DEPRECATED),
            EventType.DEPRECATED: (_APPROVED, Lifecycle.DEPRECATED),
            EventType.ARCHIVED: (frozenset({Lifecycle.DEPRECATED}), Lifecycle.ARCHIVED),
            EventType.ATTESTED: (frozenset(Lifecycle), None),
            EventType.PINNED: (_CALLABLE, None),
            EventType.UNPINNED: (_DECIDED | _UNDECIDED, None),
            EventType.PROVEN: (_UNDECIDED | _CALLABLE, None),
            EventType.WAIVED: (_UNDECIDED | _CALLABLE, None),
        }
    )
)
"""The whole life-cycle: from where each type of event may come, and where it leads.

None for the latter: the version stays where it is.
"""

_PLACES: Final = frozenset(
    {
        EventType.ADMITTED,
        EventType.APPROVED,
        EventType.RESTORED,
        EventType.CANARIED,
        EventType.PROMOTED,
    }
)
"""Types of events that say anew for whom a version is callable."""


class Birth(Value):
    """What a version's first event says of it beyond its digest, so that the log covers it."""

    sequence: int
    parent: str | None = None
    level: LintLevel
    provenance: Provenance


class CanaryFigures(Value):
    """Counted calls of a canary and of the stable version beside it, and what follows."""

    canary_succeeded: int = 0
    canary_failed: int = 0
    stable_succeeded: int = 0
    stable_failed: int = 0
    evidence: float = 1.0
    """How much likelier the counts are than under the hypothesis that was rejected, at least."""

    threshold: float = 1.0
    """What the policy wanted; one over the error rate."""


class EventDetail(Value):
    """What an event carries; only what applies is there."""

    birth: Birth | None = None
    evidence: str | None = None
    """Digest of the evidence that the step rests on."""

    proof: str | None = None
    """Digest of evidence that stands beside that which was decided on."""

    attestations: tuple[str, ...] | None = None
    """Digests of the envelopes that were signed with the step; see `toolstore.attest`."""

    bundle: str | None = None
    """Digest of the file from elsewhere that it came in; see `toolstore.exchange`."""

    decision: Decision | None = None
    policy: str | None = None
    """Digest of the policy that decided, where the store has its text: so that a text that was
    taken away is missed, and one that was never kept is not."""

    approval: Approval | None = None
    shown: str | None = None
    """What a person who voted had on the screen: see `runtime.review.shown.Shown`."""

    place: Place | None = None
    """Where the step puts the version; None is stable, where it puts it anywhere."""

    left: Place | None = None
    """Where the version stood that is no longer approved; None is stable."""

    pinned: str | None = None
    """The session that a pin is of."""

    waiver: Waiver | None = None
    successor: str | None = None
    """Which version to use instead (`name@3`)."""

    overruled: Approval | None = None
    """A yes that came too late."""

    figures: CanaryFigures | None = None
    """What a canary was taken out or promoted on."""

    def to_text(self) -> str:
        """Canonical JSON."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True)).decode()


class Link(Value):
    """Where the log stands: the last entry's sequence and hash."""

    sequence: int = 0
    hash: str = GENESIS_HASH


class Step(Value):
    """One step of one version, before it is sealed into the log."""

    type: EventType
    digest: str
    name: str
    from_state: Lifecycle | None
    reason: str
    detail: EventDetail = EventDetail()


def skeleton(name: str) -> str:
    """What names that a reader could confuse have in common."""
    return unicodedata.normalize("NFKC", name).casefold().replace("_", "")


def is_allowed(kind: EventType, from_state: Lifecycle | None) -> bool:
    """Whether the life-cycle has this step from this state."""
    return from_state in TRANSITIONS[kind][0]


def leads_to(kind: EventType, from_state: Lifecycle | None) -> Lifecycle:
    """The state after a step that is allowed from `from_state`."""
    target = TRANSITIONS[kind][1] or from_state
    if target is None:
        raise ValueError(f"there is no step {kind.value!r} before a version is submitted")
    return target


def place_after(
    kind: EventType, detail: EventDetail, to: Lifecycle, before: Place | None
) -> Place | None:
    """For whom a version is callable after a step, from what it was before."""
    if to is not Lifecycle.APPROVED:
        return None
    if kind in _PLACES or before is None:
        return detail.place or STABLE
    return before


def seal(step: Step, after: Link, *, at: datetime, actor: str) -> Event:
    """The entry for `step` that follows `after`.

    Raises:
        ValueError: the life-cycle has no such step.
    """
    if not is_allowed(step.type, step.from_state):
        raise ValueError(f"there is no step {step.type.value!r} from {step.from_state}")
    decision = step.detail.decision
    unsealed = Event(
        sequence=after.sequence + 1,
        previous_hash=after.hash,
        hash="",
        at=at,
        actor=actor,
        type=step.type,
        digest=step.digest,
        name=step.name,
        from_state=step.from_state,
        to_state=leads_to(step.type, step.from_state),
        policy_digest=decision.policy_digest if decision else None,
        reason=step.reason,
        detail=step.detail.to_text(),
    )
    return unsealed.model_copy(update={"hash": entry_hash(unsealed)})


def entry_hash(event: Event) -> str:
    """The hash that `event` must have: over all its other fields, the hash before it included."""
    return sha256_digest(
        canonical_json(
            {
                "sequence": event.sequence,
                "previous_hash": event.previous_hash,
                "at": time_text(event.at),
                "actor": event.actor,
                "type": str(event.type),
                "digest": event.digest,
                "name": event.name,
                "from_state": event.from_state,
                "to_state": event.to_state,
                "policy_digest": event.policy_digest,
                "reason": event.reason,
                "detail": event.detail,
            }
        )
    )


def time_text(at: datetime) -> str:
    """The one spelling of a time in the store: ISO 8601, UTC, microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def entry_problem(event: Event) -> str | None:
    """What is wrong with one entry by itself, or None."""
    if entry_hash(event) != event.hash:
        return "the entry is not what its hash says"
    if event.type not in TRANSITIONS:
        return f"there is no type of event {event.type!r}"
    kind = EventType(event.type)
    allowed = is_allowed(kind, event.from_state)
    if not allowed or leads_to(kind, event.from_state) is not event.to_state:
        return f"the life-cycle has no step {kind.value!r} from {event.from_state}"
    return None


def chain_damage(
    events: Iterable[Event], start: Link | None = None
) -> Iterator[tuple[int, Damage]]:
    """What is wrong with entries that should follow each other, beginning after `start`.

    Each finding comes with the sequence of the entry. Only from the beginning is it known which
    state each version was in.
    """
    before = start or Link()
    states: dict[str, Lifecycle] = {}
    for event in events:
        where = f"event {event.sequence}"
        problem = entry_problem(event)
        if problem is not None:
            yield event.sequence, Damage(where=where, problem=problem)
        if event.sequence != before.sequence + 1:
            gap = f"it follows event {before.sequence}: a gap"
            yield event.sequence, Damage(where=where, problem=gap)
        if event.previous_hash != before.hash:
            unlinked = "it does not link to the entry before it"
            yield event.sequence, Damage(where=where, problem=unlinked)
        if start is None and states.get(event.digest) is not event.from_state:
            state = "the version was in another state before it"
            yield event.sequence, Damage(where=where, problem=state)
        states[event.digest] = event.to_state
        before = Link(sequence=event.sequence, hash=event.hash)


def derive_states(events: Iterable[Event]) -> dict[str, Event]:
    """The last event of each version, by its digest: the state is where it led."""
    return {event.digest: event for event in events}

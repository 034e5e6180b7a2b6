"""What waits for a person, one line a version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from policies.access import Authorizer
from policies.decision import Channel
from policies.marking import mark_text
from runtime.equipment import Equipment
from runtime.review.item import MAX_REASON, QueueLine
from runtime.review.readers import may_read
from runtime.review.views import people_of, waits_since
from toolstore.errors import StoreDamagedError
from toolstore.events import EventType
from toolstore.models import ToolSummary, ToolVersion
from toolstore.store import ToolStore


def _leave_out(_ref: str, _error: StoreDamagedError) -> None:
    """`store verify` says what is damaged."""


async def waiting_for(
    store: ToolStore,
    access: Authorizer,
    reader: str,
    on_damage: Callable[[str, StoreDamagedError], None] = _leave_out,
) -> tuple[ToolVersion, ...]:
    """The versions that wait and that the policy lets `reader` read; damaged ones are left out."""
    waiting = await store.pending(on_damage=on_damage)
    return tuple(each for each in waiting if may_read(access, reader, each))


async def read_queue(
    store: ToolStore, equipment: Equipment, reader: str, at: datetime
) -> tuple[QueueLine, ...]:
    """A line for each of them, the longest waiting first."""
    waiting = await waiting_for(store, equipment.access, reader)
    latest = {version.name: version for version in sorted(waiting, key=_sequence)}
    needed = equipment.profile.admission.approvers
    lines = [await _line(store, each, latest[each.name], needed, at) for each in waiting]
    return tuple(sorted(lines, key=lambda line: (line.since, line.ref.plain)))


async def _line(
    store: ToolStore, version: ToolVersion, latest: ToolVersion, needed: int, at: datetime
) -> QueueLine:
    events = await store.events(version.name)
    mine = [event for event in events if event.digest == version.digest]
    asked = [event.reason for event in mine if event.type == EventType.CHANGE_ASKED]
    before = _replaced(version, await store.versions_of(version.name))
    return QueueLine(
        ref=mark_text(str(version.ref)),
        digest=version.digest,
        description=mark_text(version.source.description, characters=500),
        level=version.level,
        author=mark_text(version.provenance.author),
        origin=version.provenance.origin,
        since=waits_since(version, mine),
        why=tuple(map(mark_text, version.decision.reasons)),
        votes=len(people_of(version.approvals, at)),
        needed=needed,
        asked=mark_text(asked[-1], characters=MAX_REASON) if asked else None,
        replaces=None if before is None else mark_text(f"{before.name}@{before.sequence}"),
        newer=None if latest.digest == version.digest else mark_text(str(latest.ref)),
    )


def _replaced(version: ToolVersion, siblings: Sequence[ToolSummary]) -> ToolSummary | None:
    """What the name means now, the stable version or else a canary; or what it came after."""
    others = [each for each in siblings if each.digest != version.digest]
    for channel in (Channel.STABLE, Channel.CANARY):
        for each in others:
            if each.place is not None and each.place.channel is channel:
                return each
    return next((each for each in others if each.digest == version.parent), None)


def _sequence(version: ToolVersion) -> int:
    return version.sequence

"""Puts versions into channels: what gives way there does so in the same transaction."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from policies.decision import Channel
from toolstore import logbook, reading, tables
from toolstore.assemble import VersionRow, details_of
from toolstore.events import TRANSITIONS, EventDetail, EventType
from toolstore.journal import Journal
from toolstore.models import STABLE, Event, Place

STAYING = frozenset(kind for kind, (_, target) in TRANSITIONS.items() if target is None)
"""Types of events that move nothing."""


class Placing:
    """Moves versions of one transaction between channels."""

    def __init__(self, connection: Connection, journal: Journal) -> None:
        self._connection = connection
        self._journal = journal

    def put(
        self,
        row: VersionRow,
        kind: EventType,
        reason: str,
        detail: EventDetail | None = None,
        *,
        place: Place = STABLE,
    ) -> VersionRow:
        """Approve `row` for those whom `place` names; whoever stands there gives way first.

        A new stable version ends a canary as well: what it was tried against is gone.
        """
        detail = detail or EventDetail()
        siblings = reading.rows_of_name(self._connection, row.name)
        for other in siblings:
            if other.digest != row.digest and _gives_way(other, place):
                leaving = _leaving(other, row, kind, detail)
                self.take_out(other, leaving, f"{row.ref} is {place} now: {reason}")
        detail = detail.model_copy(update={"place": None if place == STABLE else place})
        return self._journal.record(row, kind, reason, detail)

    def take_out(
        self,
        row: VersionRow,
        kind: EventType,
        reason: str,
        detail: EventDetail | None = None,
    ) -> VersionRow:
        """End the approval of `row`, and keep where it stood."""
        place = row.place
        left = None if place == STABLE else place
        detail = (detail or EventDetail()).model_copy(update={"left": left})
        return self._journal.record(row, kind, reason, detail)


def _gives_way(row: VersionRow, place: Place) -> bool:
    if row.channel == Channel.SESSION:
        return place.session is not None and row.place_session == place.session
    if row.channel == Channel.CANARY:
        return place.channel in {Channel.CANARY, Channel.STABLE}
    return row.channel == Channel.STABLE and place.channel is Channel.STABLE


def _leaving(
    current: VersionRow, row: VersionRow, kind: EventType, detail: EventDetail
) -> EventType:
    """A person who goes back goes back from something; everything else is progress."""
    back = kind is EventType.RESTORED and detail.decision is None
    backwards = back and row.sequence < current.sequence
    return EventType.ROLLED_BACK if backwards else EventType.SUPERSEDED


def last_event(connection: Connection, row: VersionRow) -> Event:
    """The last entry of the log about `row`.

    Raises:
        StoreDamagedError: there is none, or one is not what its hash says.
    """
    return _entries(connection, row)[-1]


def last_move(connection: Connection, row: VersionRow) -> tuple[Event, EventDetail]:
    """The last entry that moved `row`, and what it carries.

    Raises:
        StoreDamagedError: there is none, or one is not what its hash says.
    """
    entries = _entries(connection, row)
    details = details_of(row, entries)
    moves = [pair for pair in zip(entries, details, strict=True) if pair[0].type not in STAYING]
    return moves[-1]


def _entries(connection: Connection, row: VersionRow) -> tuple[Event, ...]:
    entries = tuple(logbook.events(connection, tables.event.c.version == row.digest))
    details_of(row, entries)
    return entries


def stable_of(rows: Iterable[VersionRow]) -> VersionRow | None:
    """Of the versions of a name the one that is for everybody."""
    return next((row for row in rows if row.channel == Channel.STABLE), None)

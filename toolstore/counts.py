"""Counts, which no log covers: how often a canary failed, when a version was last called.

Nothing says whether a count is right. What is looked at is whether it is one that this program
could have written, so that a count is never more than a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from sqlalchemy import Connection, select

from policies.decision import Channel
from toolstore import tables
from toolstore.derived import Told
from toolstore.events import place_after, time_text
from toolstore.models import Place


def problems(connection: Connection, log: Iterable[Told]) -> Iterator[str]:
    """Rows that nobody can have counted."""
    starts = _canaries(log)
    for row in connection.execute(select(tables.canary_count)):
        counted = row.channel in {Channel.CANARY, Channel.STABLE}
        numbers = all(isinstance(each, int) and each >= 0 for each in (row.succeeded, row.failed))
        if row.start not in starts or not counted or not numbers:
            yield f"calls are counted that cannot be: {tuple(row)} of a canary"
    for table in (tables.version_use.c.last_at, tables.proposal.c.at):
        for value in connection.scalars(select(table)):
            if not _is_time(value):
                yield f"{table.table.name} has the time {value!r}, which is none"


def _canaries(log: Iterable[Told]) -> set[int]:
    """The events that made a version the canary, or changed its share."""
    places: dict[str, Place | None] = {}
    found = set()
    for told in log:
        event = told.event
        place = place_after(told.kind, told.detail, event.to_state, places.get(event.digest))
        places[event.digest] = place
        if place is not None and place.channel is Channel.CANARY:
            found.add(event.sequence)
    return found


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and time_text(datetime.fromisoformat(value)) == value
    except ValueError:
        return False

"""The tables that follow from the log: written along with it, and rebuilt to be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import Connection, Table, and_, delete, insert, select

from toolstore import tables
from toolstore.assemble import VersionRow
from toolstore.events import EventDetail, EventType, place_after, time_text
from toolstore.models import Event, Place

Row: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """What one sealed event says about one version."""

    sequence: int
    tool: int
    digest: str
    type: EventType
    detail: EventDetail


def write_rows(connection: Connection, rows: Collection[VersionRow]) -> None:
    """Bring state and channel of versions to what `rows` say.

    All old ones go before the new ones come: at no moment are two versions of a name stable.
    """
    digests = [row.digest for row in rows]
    for table in (tables.version_state, tables.channel):
        connection.execute(delete(table).where(table.c.version.in_(digests)))
    states = [
        {"version": row.digest, "tool": row.tool, "state": row.state, "event": row.state_event}
        for row in rows
    ]
    connection.execute(insert(tables.version_state), states)
    channels = [
        {
            "version": row.digest,
            "tool": row.tool,
            "channel": row.channel,
            "weight": row.weight,
            "session": row.place_session,
        }
        for row in rows
        if row.channel is not None
    ]
    if channels:
        connection.execute(insert(tables.channel), channels)


def write_facts(connection: Connection, facts: Iterable[Fact]) -> None:
    """Bring pins, waivers and makers along with events that were just written."""
    for fact in facts:
        detail = fact.detail
        if detail.birth is not None and detail.birth.provenance.session is not None:
            row = {"version": fact.digest, "session": detail.birth.provenance.session}
            connection.execute(insert(tables.made_in).values(row))
        if detail.pinned is not None:
            _write_pin(connection, fact, detail.pinned)
        if detail.waiver is not None:
            _write_waiver(connection, fact)


def _write_pin(connection: Connection, fact: Fact, session: str) -> None:
    pin = tables.pin
    mine = and_(pin.c.session == session, pin.c.tool == fact.tool)
    connection.execute(delete(pin).where(mine))
    if fact.type is EventType.PINNED:
        row = {
            "session": session,
            "tool": fact.tool,
            "version": fact.digest,
            "event": fact.sequence,
        }
        connection.execute(insert(pin).values(row))


def _write_waiver(connection: Connection, fact: Fact) -> None:
    given, waiver = fact.detail.waiver, tables.waiver.c
    if given is None:
        return
    same = and_(
        waiver.version == fact.digest,
        waiver.rule == given.rule,
        waiver.principal == given.principal,
    )
    connection.execute(delete(tables.waiver).where(same))
    row = {
        "version": fact.digest,
        "rule": given.rule,
        "principal": given.principal,
        "expires_at": time_text(given.expires_at),
        "event": fact.sequence,
    }
    connection.execute(insert(tables.waiver).values(row))


@dataclass(frozen=True, slots=True)
class Told:
    """One entry of the log, as read."""

    event: Event
    kind: EventType
    detail: EventDetail


def told(events: Iterable[Event]) -> list[Told]:
    """What the log tells; unreadable entries are passed over: the chain's own check names them."""
    found = []
    for event in events:
        with suppress(ValueError):
            detail = EventDetail.model_validate_json(event.detail)
            found.append(Told(event, EventType(event.type), detail))
    return found


def problems(connection: Connection, log: Sequence[Told]) -> Iterator[str]:
    """Where the derived tables are not what the whole log gives."""
    tools = {row.name: row.id for row in connection.execute(select(tables.tool))}
    for table, wanted in _rebuild(log, tools).items():
        columns = [table.c[name] for name in _COMPARED[table.name]]
        kept = Counter(tuple(row) for row in connection.execute(select(*columns)))
        for row in sorted(map(str, kept - wanted)):
            yield f"the table {table.name} has {row}, which does not follow from the log"
        for row in sorted(map(str, wanted - kept)):
            yield f"the table {table.name} lacks {row}, which follows from the log"


_COMPARED: Mapping[str, tuple[str, ...]] = {
    "version_state": ("version", "tool", "state", "event"),
    "channel": ("version", "tool", "channel", "weight", "session"),
    "pin": ("session", "tool", "version", "event"),
    "waiver": ("version", "rule", "principal", "expires_at", "event"),
    "made_in": ("version", "session"),
}


def _rebuild(log: Iterable[Told], tools: Mapping[str, int]) -> dict[Table, Counter[Row]]:
    """What the derived tables must hold after `log`."""
    states: dict[str, Row] = {}
    places: dict[str, tuple[int | None, Place | None]] = {}
    pins: dict[Row, Row] = {}
    waivers: dict[Row, Row] = {}
    made: dict[str, Row] = {}
    for event, kind, detail in ((each.event, each.kind, each.detail) for each in log):
        digest, tool = event.digest, tools.get(event.name)
        states[digest] = (digest, tool, event.to_state.value, event.sequence)
        before = places.get(digest, (tool, None))[1]
        places[digest] = (tool, place_after(kind, detail, event.to_state, before))
        if detail.birth is not None and detail.birth.provenance.session is not None:
            made[digest] = (digest, detail.birth.provenance.session)
        if detail.pinned is not None:
            pins.pop((detail.pinned, tool), None)
            if kind is EventType.PINNED:
                pins[detail.pinned, tool] = (detail.pinned, tool, digest, event.sequence)
        if (given := detail.waiver) is not None:
            key = (digest, given.rule, given.principal)
            waivers[key] = (*key, time_text(given.expires_at), event.sequence)
    channels = (
        (digest, tool, place.channel.value, place.weight, place.session)
        for digest, (tool, place) in places.items()
        if place is not None
    )
    return {
        tables.version_state: Counter(states.values()),
        tables.channel: Counter(channels),
        tables.pin: Counter(pins.values()),
        tables.waiver: Counter(waivers.values()),
        tables.made_in: Counter(made.values()),
    }

"""The tables that follow from the log: written along with it, and rebuilt to be compared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import ValidationError
from sqlalchemy import Connection, Table, and_, delete, insert, select

from toolstore import tables
from toolstore.assemble import VersionRow
from toolstore.events import EventDetail, EventType, place_after, time_text
from toolstore.models import Event, Place

Row: TypeAlias = tuple[object, ...]
Rows: TypeAlias = frozenset[Row]


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


def problems(connection: Connection, events: Iterable[Event]) -> Iterator[str]:
    """Where the derived tables are not what the whole log gives."""
    tools = {row.name: row.id for row in connection.execute(select(tables.tool))}
    rebuilt = _rebuild(events, tools)
    for table, wanted in rebuilt.items():
        columns = [column for column in table.columns if column.name in _COMPARED[table.name]]
        kept = frozenset(tuple(row) for row in connection.execute(select(*columns)))
        for row in sorted(map(str, kept - wanted)):
            yield f"the table {table.name} has {row}, which does not follow from the log"
        for row in sorted(map(str, wanted - kept)):
            yield f"the table {table.name} lacks {row}, which follows from the log"


_COMPARED: Mapping[str, tuple[str, ...]] = {
    "channel": ("version", "tool", "channel", "weight", "session"),
    "pin": ("session", "tool", "version", "event"),
    "waiver": ("version", "rule", "principal", "expires_at", "event"),
    "made_in": ("version", "session"),
}


def _rebuild(events: Iterable[Event], tools: Mapping[str, int]) -> dict[Table, Rows]:
    """What the derived tables must hold after `events`; unreadable ones are passed over."""
    places: dict[str, tuple[int | None, Place | None]] = {}
    pins: dict[Row, Row] = {}
    waivers: dict[Row, Row] = {}
    made: set[Row] = set()
    for event in events:
        try:
            detail = EventDetail.model_validate_json(event.detail)
            kind = EventType(event.type)
        except (ValidationError, ValueError):
            continue  # the chain's own check says so
        tool = tools.get(event.name)
        before = places.get(event.digest, (tool, None))[1]
        places[event.digest] = (tool, place_after(kind, detail, event.to_state, before))
        if detail.birth is not None and detail.birth.provenance.session is not None:
            made.add((event.digest, detail.birth.provenance.session))
        if detail.pinned is not None:
            pins.pop((detail.pinned, tool), None)
            if kind is EventType.PINNED:
                pins[detail.pinned, tool] = (detail.pinned, tool, event.digest, event.sequence)
        if (given := detail.waiver) is not None:
            key = (event.digest, given.rule, given.principal)
            waivers[key] = (*key, time_text(given.expires_at), event.sequence)
    return {
        tables.channel: frozenset(
            (digest, tool, place.channel.value, place.weight, place.session)
            for digest, (tool, place) in places.items()
            if place is not None
        ),
        tables.pin: frozenset(pins.values()),
        tables.waiver: frozenset(waivers.values()),
        tables.made_in: frozenset(made),
    }

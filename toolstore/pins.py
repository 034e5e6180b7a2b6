"""Pins out of the table, each held against the log."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError
from sqlalchemy import Connection, select

from toolstore import logbook, tables
from toolstore.errors import StoreDamagedError
from toolstore.events import EventDetail, EventType, entry_problem
from toolstore.models import Event, Pin

_STEPS = (EventType.PINNED.value, EventType.UNPINNED.value)


OnDamage = Callable[[Pin, StoreDamagedError], None]


def pins(
    connection: Connection, session: str | None = None, on_damage: OnDamage | None = None
) -> tuple[Pin, ...]:
    """All pins, or those of one session.

    Raises:
        StoreDamagedError: one does not follow from the log, and there is no `on_damage` to hear
            of it.
    """
    table = tables.pin.c
    query = select(table.session, table.version, table.event, tables.tool.c.name).select_from(
        tables.pin.join(tables.tool)
    )
    if session is not None:
        query = query.where(table.session == session)
    sound: list[Pin] = []
    for row in connection.execute(query.order_by(table.event)):
        pin = _pin(row)
        try:
            _check(connection, row.event, pin)
        except StoreDamagedError as error:
            if on_damage is None:
                raise
            on_damage(pin, error)
        else:
            sound.append(pin)
    return tuple(sound)


def _pin(row: object) -> Pin:
    return Pin(
        session=str(getattr(row, "session", "")),
        name=str(getattr(row, "name", "")),
        digest=str(getattr(row, "version", "")),
    )


def _check(connection: Connection, sequence: int, pin: Pin) -> None:
    """The event that a pin names made it, and no later one ended or moved it."""
    event = tables.event.c
    steps = [
        entry
        for entry in logbook.events(
            connection,
            event.name == pin.name,
            event.type.in_(_STEPS),
            event.sequence >= sequence,
        )
        if _session_of(entry) == pin.session
    ]
    made = steps[0] if steps else None
    sound = (
        len(steps) == 1
        and made is not None
        and (made.sequence, made.digest) == (sequence, pin.digest)
        and made.type == EventType.PINNED
        and entry_problem(made) is None
    )
    if not sound:
        raise StoreDamagedError(
            f"the log does not say that the session {pin.session} is pinned to {pin.digest} "
            f"of {pin.name}"
        )


def _session_of(entry: Event) -> str | None:
    try:
        return EventDetail.model_validate_json(entry.detail).pinned
    except ValidationError as error:
        raise StoreDamagedError(f"event {entry.sequence} cannot be read") from error

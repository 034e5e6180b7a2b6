"""The log as it is kept: entries and links out of the table.

What the entries mean, and whether they form a chain, is said in `events`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Connection, Integer, RowMapping, bindparam, func, select

from toolstore import tables
from toolstore.errors import StoreDamagedError
from toolstore.events import Link, chain_damage, time_text
from toolstore.models import Event

_event = tables.event.c

ENTRIES: Final = select(
    _event.sequence,
    _event.previous_hash,
    _event.hash,
    _event.at,
    _event.actor,
    _event.type,
    _event.version.label("digest"),
    _event.name,
    _event.from_state,
    _event.to_state,
    _event.policy_digest,
    _event.reason,
    _event.detail,
).order_by(_event.sequence)
"""All entries, in order."""

ABOUT: Final = ENTRIES.where(_event.version.in_(bindparam("versions", expanding=True)))
"""Those about some versions."""

_LAST: Final = select(func.max(_event.sequence)).scalar_subquery()
_KEPT: Final = select(tables.log_head.c.sequence, tables.log_head.c.hash)
_HEADS: Final = select(
    select(tables.log_head.c.sequence).scalar_subquery().label("kept_sequence"),
    select(tables.log_head.c.hash).scalar_subquery().label("kept_hash"),
    _LAST.label("sequence"),
    select(_event.hash).where(_event.sequence == _LAST).scalar_subquery().label("hash"),
)
"""The end of the log as it is kept apart, and as it is."""

_HERE: Final = bindparam("sequence", type_=Integer)
_BEFORE: Final = _event.sequence < _HERE
_NEIGHBOURS: Final = select(
    select(func.max(_event.sequence)).where(_BEFORE).scalar_subquery().label("sequence"),
    select(_event.hash)
    .where(_BEFORE)
    .order_by(_event.sequence.desc())
    .limit(1)
    .scalar_subquery()
    .label("hash"),
    select(_event.previous_hash)
    .where(_event.sequence > _HERE)
    .order_by(_event.sequence)
    .limit(1)
    .scalar_subquery()
    .label("after"),
)
"""The nearest entries on both sides of one, gaps included."""


def events(connection: Connection, *conditions: ColumnElement[bool]) -> Iterator[Event]:
    """Entries of the log that meet `conditions`, in order.

    Raises:
        StoreDamagedError: an entry cannot be read at all.
    """
    for row in connection.execute(ENTRIES.where(*conditions)).mappings():
        yield read_event(row)


def raw_events(connection: Connection) -> Iterator[RowMapping]:
    """The whole log, unread: for a reader that goes on past what is damaged."""
    yield from connection.execute(ENTRIES).mappings()


def read_event(row: RowMapping) -> Event:
    """One entry from its row.

    Raises:
        StoreDamagedError: it cannot be read at all.
    """
    kept = dict(row)
    try:
        event = Event.model_validate(kept)
    except ValidationError as error:
        raise StoreDamagedError(f"event {row['sequence']} cannot be read") from error
    # The hash is over what is read; one thing has many spellings, and queries know one of them.
    if kept["at"] != time_text(event.at) or bytes in map(type, kept.values()):
        raise StoreDamagedError(f"event {row['sequence']} is not spelt as it was put in")
    return event


def log(connection: Connection, name: str | None = None) -> tuple[Event, ...]:
    """The log, or what of it is about one name."""
    return tuple(events(connection, *(() if name is None else (_event.name == name,))))


def events_since(connection: Connection, sequence: int) -> tuple[Event, ...]:
    """The entries after `sequence`, each link verified.

    Raises:
        StoreDamagedError: the chain is broken there.
    """
    start = link_at(connection, sequence)
    found = tuple(events(connection, _event.sequence > sequence))
    for _, damage in chain_damage(found, start):
        raise StoreDamagedError(f"{damage.where}: {damage.problem}")
    return found


def link_at(connection: Connection, sequence: int) -> Link:
    """The link that the entry `sequence` is.

    Raises:
        StoreDamagedError: there is none.
    """
    if sequence == 0:
        return Link()
    found = connection.scalar(select(_event.hash).where(_event.sequence == sequence))
    if found is None:
        raise StoreDamagedError(f"event {sequence} is missing from the log")
    return _link(sequence, found)


def kept_head(connection: Connection) -> Link:
    """The last link, as kept apart from the log.

    Raises:
        StoreDamagedError: it cannot be read.
    """
    row = connection.execute(_KEPT).first()
    return Link() if row is None else _link(row.sequence, row.hash)


def checked_head(connection: Connection) -> Link:
    """The last link of the log.

    Raises:
        StoreDamagedError: the log does not end where it must.
    """
    row = connection.execute(_HEADS).one()
    kept = _link(row.kept_sequence, row.kept_hash)
    if kept != _link(row.sequence, row.hash):
        raise StoreDamagedError(
            f"the log ends at event {row.sequence or 0}, and must at {kept.sequence}"
        )
    return kept


def check_links(connection: Connection, event: Event) -> None:
    """Refuse an entry that does not hang on its neighbours: the nearest there are, gaps included.

    Raises:
        StoreDamagedError: it does not.
    """
    row = connection.execute(_NEIGHBOURS, {"sequence": event.sequence}).one()
    before = _link(row.sequence, row.hash)
    linked = before == Link(sequence=event.sequence - 1, hash=event.previous_hash)
    if not linked or row.after not in {None, event.hash}:
        raise StoreDamagedError(f"event {event.sequence} ({event.name}) is not linked to the log")


def _link(sequence: object, found: object) -> Link:
    """The link that these make; with neither, that before the first entry."""
    if sequence is None and found is None:
        return Link()
    try:
        return Link.model_validate({"sequence": sequence, "hash": found})
    except ValidationError as error:
        raise StoreDamagedError(f"{sequence!r:.80} is kept as a place in the log") from error

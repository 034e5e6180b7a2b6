"""Which version a call of a name means, and whether it may be called."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from toolstore import reading
from toolstore.assemble import VersionRow
from toolstore.channels import Offer
from toolstore.errors import ToolNotCallableError
from toolstore.models import Lifecycle, ToolRef, ToolVersion
from toolstore.pins import pins

CALLABLE: Final = frozenset({Lifecycle.APPROVED, Lifecycle.DEPRECATED})
"""States in which an exact reference may be called."""


def callable_version(connection: Connection, ref: ToolRef, session: str | None) -> ToolVersion:
    """See `ToolStore.get`."""
    rows = reading.require_name(connection, ref.name)
    if ref.sequence is not None or ref.digest is not None:
        row = reading.only_match(rows, ref)
    else:
        row = _chosen(connection, ref.name, rows, session)
    version = reading.load(connection, row, to_call=True)
    if version.state not in CALLABLE:
        raise ToolNotCallableError(str(version.ref), version.state.value, version.state_reason)
    owner = version.place.session if version.place else None
    if owner not in {None, session}:
        raise ToolNotCallableError(
            str(version.ref),
            f"approved for the session {owner} alone",
            f"`toolkiln tools promote {version.ref}` is how a person gives it to everybody",
        )
    return version


def _chosen(
    connection: Connection, name: str, rows: list[VersionRow], session: str | None
) -> VersionRow:
    held = {} if session is None else {p.name: p.digest for p in pins(connection, session)}
    offer = Offer()
    for row in rows:
        offer.add(row.digest, row.channel, row.weight, row.place_session)
    digest = offer.choose(name, session, held.get(name))
    found = next((row for row in rows if row.digest == digest), None)
    if found is None:
        # What is wrong with the bytes is told before what is wrong with the state.
        reading.load(connection, reading.find_row(connection, ToolRef(name=name)))
        states = ", ".join(f"@{row.sequence} {row.channel or row.state}" for row in rows)
        raise ToolNotCallableError(
            name, "without an approved version", f"its versions are {states}"
        )
    return found

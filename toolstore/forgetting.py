"""Recorded calls that go: by their number and age, and because somebody asks for it.

The log does not cover calls, so deleting them leaves no gap. What the evidence of a version shows
of a few inputs that differ stays: it is signed, and for good.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from pydantic import AwareDatetime
from sqlalchemy import ColumnElement, Connection, and_, delete, func, select, true, update

from policies.value import Value
from toolstore import tables
from toolstore.blobs import BATCH
from toolstore.events import time_text

_call = tables.call.c
_body = tables.call_body.c
_version = tables.tool_version.c
_tool = tables.tool.c


class Which(Value):
    """Which recorded calls are meant: those that all of this is true of."""

    name: str | None = None
    """Of the tool."""

    version: str | None = None
    """Digest."""

    session: str | None = None
    tenant: str | None = None
    before: AwareDatetime | None = None
    """They came before that."""

    def condition(self) -> ColumnElement[bool]:
        """The same for the database."""
        named = select(_version.digest).join(tables.tool, tables.tool.c.id == _version.tool)
        wanted = [
            None if self.name is None else _call.version.in_(named.where(_tool.name == self.name)),
            None if self.version is None else _call.version == self.version,
            None if self.session is None else _call.session == self.session,
            None if self.tenant is None else _call.tenant == self.tenant,
            None if self.before is None else _call.at < time_text(self.before),
        ]
        return and_(true(), *(each for each in wanted if each is not None))


class CallsKept(Value):
    """What is kept of the calls of one version."""

    name: str
    sequence: int
    version: str
    """Digest."""

    calls: int
    bodies: int
    """Of so many, arguments and results themselves."""

    first_at: AwareDatetime
    last_at: AwareDatetime


def kept(connection: Connection, which: Which) -> tuple[CallsKept, ...]:
    """What is kept of such calls, a line a version, by name and number."""
    query = (
        select(
            _tool.name,
            _version.sequence,
            _version.digest,
            func.count(),
            func.count(_call.body),
            func.min(_call.at),
            func.max(_call.at),
        )
        .select_from(
            tables.call.join(tables.tool_version, _version.digest == _call.version).join(
                tables.tool, _tool.id == _version.tool
            )
        )
        .where(which.condition())
        .group_by(_tool.name, _version.sequence, _version.digest)
        .order_by(_tool.name, _version.sequence)
    )
    return tuple(
        CallsKept(
            name=name,
            sequence=sequence,
            version=digest,
            calls=calls,
            bodies=bodies,
            first_at=datetime.fromisoformat(first),
            last_at=datetime.fromisoformat(last),
        )
        for name, sequence, digest, calls, bodies, first, last in connection.execute(query)
    )


def forget(connection: Connection, which: Which, *, bodies_alone: bool = False) -> int:
    """Delete such calls, or only what went in and came out of them.

    Returns:
        Of how many calls something was deleted.
    """
    if not bodies_alone:
        return _forget(connection, which.condition())
    having = which.condition() & _call.body.is_not(None)
    bodies = set(connection.scalars(select(_call.body).where(having).distinct()))
    emptied = connection.execute(update(tables.call).where(having).values(body=None)).rowcount
    _drop_unused(connection, bodies)
    return emptied


def prune(connection: Connection, versions: Iterable[str], *, keep: int, before: datetime) -> int:
    """Forget calls from before a time, and of `versions` all but the latest `keep`.

    Returns:
        How many calls were forgotten; bodies that no call has any more go with them.
    """
    gone: list[ColumnElement[bool]] = [_call.at < time_text(before)]
    for version in sorted(set(versions)):
        oldest_kept = connection.scalar(
            select(_call.id)
            .where(_call.version == version)
            .order_by(_call.id.desc())
            .limit(1)
            .offset(keep - 1)
        )
        if oldest_kept is not None:
            gone.append((_call.version == version) & (_call.id < oldest_kept))
    return sum(_forget(connection, condition) for condition in gone)


def _forget(connection: Connection, condition: ColumnElement[bool]) -> int:
    having = condition & _call.body.is_not(None)
    bodies = set(connection.scalars(select(_call.body).where(having).distinct()))
    forgotten = connection.execute(delete(tables.call).where(condition)).rowcount
    _drop_unused(connection, bodies)
    return forgotten


def _drop_unused(connection: Connection, bodies: Collection[str | None]) -> None:
    """Delete those of `bodies` that no call has any more."""
    still_used = select(_call.body).where(_call.body == _body.digest).exists()
    wanted = sorted(body for body in bodies if body is not None)
    for start in range(0, len(wanted), BATCH):
        chunk = wanted[start : start + BATCH]
        connection.execute(delete(tables.call_body).where(_body.digest.in_(chunk), ~still_used))

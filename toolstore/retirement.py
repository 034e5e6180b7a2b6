"""What nobody uses: found by the log and by the last calls, with who still depends on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import datetime

from pydantic import AwareDatetime, ValidationError
from sqlalchemy import Connection, func, select

from policies.source import ToolSource
from policies.value import Value
from toolstore import reading, tables
from toolstore.assemble import VersionRow
from toolstore.blobs import BATCH, read_raw_blobs
from toolstore.events import EventType, time_text
from toolstore.models import Lifecycle, Origin

_LIVE = (Lifecycle.APPROVED, Lifecycle.DEPRECATED)


class Candidate(Value):
    """A version that could be retired by one step."""

    ref: str
    digest: str
    step: EventType
    """`deprecated` or `archived`."""

    idle_since: AwareDatetime
    """Its last call or its last event, whichever is later."""

    dependants: tuple[str, ...] = ()
    """Live versions that are pinned to it; while there are any, it stays."""


def candidates(
    connection: Connection, *, retire_before: datetime, archive_before: datetime
) -> tuple[Candidate, ...]:
    """Approved versions idle since before the one time, deprecated ones since before the other.

    Never what people made.
    """
    found: list[tuple[VersionRow, EventType, str]] = []
    seen = _last_seen(connection)
    for row in reading.rows_in_state(connection, _LIVE):
        approved = row.state == Lifecycle.APPROVED
        limit = time_text(retire_before if approved else archive_before)
        since = seen.get(row.digest, row.created_at)
        if row.origin != Origin.HUMAN and since < limit:
            step = EventType.DEPRECATED if approved else EventType.ARCHIVED
            found.append((row, step, since))
    users = dependants(connection, {row.digest for row, _, _ in found})
    return tuple(
        Candidate(
            ref=row.ref,
            digest=row.digest,
            step=step,
            idle_since=datetime.fromisoformat(since),
            dependants=users.get(row.digest, ()),
        )
        for row, step, since in found
    )


def dependants(connection: Connection, digests: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Which approved or deprecated versions are pinned to each of `digests`."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    if digests:
        for row, source in _live_sources(connection):
            for declared in source.permissions.tools:
                digest = declared.partition("@")[2]
                if digest in digests:
                    found[digest].append(row.ref)
    return {digest: tuple(refs) for digest, refs in found.items()}


def _live_sources(connection: Connection) -> Iterator[tuple[VersionRow, ToolSource]]:
    """Sources that can be read; what cannot be read cannot be called, and so depends on nothing."""
    rows = reading.rows_in_state(connection, _LIVE)
    for start in range(0, len(rows), BATCH):
        chunk = rows[start : start + BATCH]
        blobs = read_raw_blobs(connection, [row.source for row in chunk])
        for row in chunk:
            try:
                yield row, ToolSource.model_validate_json(blobs.get(row.source, b""))
            except ValidationError:
                continue


def _last_seen(connection: Connection) -> dict[str, str]:
    """The last call or event of each version, in the spelling of the store."""
    event, use = tables.event.c, tables.version_use.c
    seen = {
        row.version: str(row.at)
        for row in connection.execute(
            select(event.version, func.max(event.at).label("at")).group_by(event.version)
        )
    }
    for row in connection.execute(select(use.version, use.last_at)):
        seen[row.version] = max(seen.get(row.version, ""), str(row.last_at))
    return seen

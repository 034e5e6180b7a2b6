"""Recorded calls: what came of them, and where the policy says so what went in and out.

They are observations for replays, quotas and people. The log does not cover them: nothing is
allowed because of a recorded call alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from pydantic import AwareDatetime, JsonValue, ValidationError
from sqlalchemy import Connection, RowMapping, insert, select

from policies.outcomes import Outcome
from policies.value import JsonObject, Value, canonical_json, sha256_digest
from toolstore import tables
from toolstore.blobs import BATCH, as_bytes
from toolstore.events import time_text

_call = tables.call.c
_body = tables.call_body.c

MOST_LOOKED_AT: Final = 2_000
"""Of the latest calls of a version, for a replay to choose from."""


class CallBody(Value):
    """What went into a call and came out of it, redacted."""

    arguments: JsonObject
    value: JsonValue = None
    """Of a call that returned."""

    redacted: bool = False
    """Something was struck out, so that it is not quite what was sent and answered."""


class CallRecord(Value):
    """One call of a version that reached the sandbox."""

    version: str
    """Digest."""

    session: str | None = None
    tenant: str
    arguments_digest: str
    """Over canonical JSON of the arguments as they were sent."""

    result_digest: str | None = None
    """Over canonical JSON of the value; None where it did not return."""

    outcome: Outcome
    error_type: str | None = None
    """The exception's class; None also where the tool made up its name."""

    execute_seconds: float
    """From the arguments sent to the answer received."""

    total_seconds: float
    """With the wait for a place and a container."""

    memory_bytes: int | None = None
    at: AwareDatetime
    body: CallBody | None = None
    """None where the policy keeps none, where it would be too large, and where it alone would not
    be enough to run the call again (files, network)."""


def add(connection: Connection, records: Sequence[CallRecord]) -> None:
    """Keep `records`; bodies once under their digest."""
    bodies: dict[str, bytes] = {}
    rows = []
    for record in records:
        digest = None
        if record.body is not None:
            content = canonical_json(record.body.model_dump(mode="json"))
            digest = sha256_digest(content)
            bodies[digest] = content
        rows.append(_row(record, digest))
    missing = set(bodies) - _present(connection, bodies)
    if missing:
        content_rows = [{"digest": digest, "bytes": bodies[digest]} for digest in sorted(missing)]
        connection.execute(insert(tables.call_body), content_rows)
    if rows:
        connection.execute(insert(tables.call), rows)


def _row(record: CallRecord, body: str | None) -> dict[str, object]:
    return {
        "version": record.version,
        "session": record.session,
        "tenant": record.tenant,
        "arguments": record.arguments_digest,
        "result": record.result_digest,
        "outcome": record.outcome.value,
        "error_type": record.error_type,
        "execute_seconds": record.execute_seconds,
        "total_seconds": record.total_seconds,
        "memory_bytes": record.memory_bytes,
        "at": time_text(record.at),
        "body": body,
    }


def _present(connection: Connection, digests: Iterable[str]) -> set[str]:
    found: set[str] = set()
    wanted = sorted(digests)
    for start in range(0, len(wanted), BATCH):
        chunk = wanted[start : start + BATCH]
        found.update(connection.scalars(select(_body.digest).where(_body.digest.in_(chunk))))
    return found


def latest(
    connection: Connection, version: str, *, limit: int, with_body: bool = False
) -> tuple[CallRecord, ...]:
    """The latest calls of a version, latest first; `with_body` leaves out those without.

    A row or body that is not what was put in is left out: nothing rests on it.
    """
    query = (
        select(tables.call, _body.bytes)
        .select_from(tables.call.outerjoin(tables.call_body, _call.body == _body.digest))
        .where(_call.version == version)
        .order_by(_call.id.desc())
        .limit(limit)
    )
    if with_body:
        query = query.where(_call.body.is_not(None))
    records = (_read(row) for row in connection.execute(query).mappings())
    return tuple(
        record
        for record in records
        if record is not None and (record.body is not None or not with_body)
    )


def _read(row: RowMapping) -> CallRecord | None:
    body = None
    try:
        if row["body"] is not None:
            content = as_bytes(row["bytes"])
            if sha256_digest(content) != row["body"]:
                return None
            body = CallBody.model_validate_json(content)
        return CallRecord(
            version=row["version"],
            session=row["session"],
            tenant=row["tenant"],
            arguments_digest=row["arguments"],
            result_digest=row["result"],
            outcome=Outcome(row["outcome"]),
            error_type=row["error_type"],
            execute_seconds=row["execute_seconds"],
            total_seconds=row["total_seconds"],
            memory_bytes=row["memory_bytes"],
            at=datetime.fromisoformat(row["at"]),
            body=body,
        )
    except (ValidationError, ValueError, TypeError):
        return None


def problems(connection: Connection) -> Iterator[str]:
    """Rows that no call can have left, and bodies that are not what their digests say."""
    query = (
        select(tables.call, _body.bytes)
        .select_from(tables.call.outerjoin(tables.call_body, _call.body == _body.digest))
        .execution_options(yield_per=100)
    )
    for row in connection.execute(query).mappings():
        record = _read(row)
        if record is None or time_text(record.at) != row["at"] or not _fits(record):
            yield f"call {row['id']}: what is kept of it is not what was recorded"
    used = select(_call.body).where(_call.body == _body.digest).exists()
    for digest in connection.scalars(select(_body.digest).where(~used)):
        yield f"no call has the body {digest}"


def _fits(record: CallRecord) -> bool:
    """Whether the body of a call, if it is kept, has the digests that the call has."""
    body = record.body
    if body is None or body.redacted:
        return True
    return sha256_digest(canonical_json(body.arguments)) == record.arguments_digest and (
        record.result_digest is None
        or sha256_digest(canonical_json(body.value)) == record.result_digest
    )

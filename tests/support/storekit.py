"""Help for tests of the store: many tools quickly, and a hand that goes past its triggers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from factories import make_submission
from sqlalchemy import Connection, insert

from policies.value import canonical_json, sha256_digest
from toolstore import index, searching, tables
from toolstore.blobs import read_raw_blobs
from toolstore.events import (
    Birth,
    EventDetail,
    EventType,
    Link,
    Step,
    seal,
    skeleton,
    time_text,
)
from toolstore.files import DATABASE_NAME
from toolstore.models import Event, Submission

VERBS: Final = [
    "parse",
    "count",
    "format",
    "merge",
    "split",
    "rank",
    "filter",
    "sort",
    "hash",
    "trim",
]
NOUNS: Final = [
    "date",
    "line",
    "table",
    "tree",
    "price",
    "word",
    "matrix",
    "graph",
    "label",
    "range",
]
WAYS: Final = ["fast", "safe", "plain", "short", "long", "deep", "flat", "strict", "loose", "exact"]


_AT_A_TIME: Final = 2_000


def bulk_submission(number: int) -> Submission:
    """One of many different small tools."""
    verb, noun, way = VERBS[number % 10], NOUNS[number // 10 % 10], WAYS[number // 100 % 10]
    return make_submission(
        name=f"{verb}_{noun}_{way}_{number}",
        description=f"{verb.capitalize()} a {noun} in a {way} way, as number {number} does.",
    )


def fill(location: Path | str, count: int) -> None:
    """Put `count` approved tools into a new store in one transaction."""
    database = index.database_at(location)
    database.prepare()
    link = Link()
    with database.connect(writes=True) as connection, connection.begin():
        for start in range(0, count, _AT_A_TIME):
            link = _fill_some(connection, range(start, min(start + _AT_A_TIME, count)), link)
        head = {"id": 1, "sequence": link.sequence, "hash": link.hash}
        connection.execute(insert(tables.log_head), [head])
        searching.rebuild(connection)


def _fill_some(connection: Connection, numbers: range, link: Link) -> Link:
    rows: dict[str, list[dict[str, object]]] = {table: [] for table in tables.metadata.tables}
    blobs = dict[str, bytes]()
    for number in numbers:
        link = _add(bulk_submission(number), number + 1, link, rows, blobs)
    rows["blob"] = [
        {"digest": digest, "bytes": blobs[digest]}
        for digest in blobs.keys() - read_raw_blobs(connection, blobs).keys()
    ]
    for table in tables.metadata.sorted_tables:
        if rows[table.name]:
            connection.execute(insert(table), rows[table.name])
    return link


def _add(
    submission: Submission,
    tool: int,
    link: Link,
    rows: dict[str, list[dict[str, object]]],
    blobs: dict[str, bytes],
) -> Link:
    source, evidence, came = submission.source, submission.evidence, submission.provenance
    digest, schema = submission.digest, submission.source_schema
    schema_bytes = canonical_json(schema.model_dump(mode="json"))
    schema_digest = sha256_digest(schema_bytes)
    blobs[source.digest] = canonical_json(source.to_json())
    blobs[schema_digest] = schema_bytes
    blobs[evidence.digest] = canonical_json(evidence.model_dump(mode="json"))
    rows["tool"].append({"id": tool, "name": source.name, "skeleton": skeleton(source.name)})
    rows["tool_version"].append(
        {
            "digest": digest,
            "tool": tool,
            "sequence": 1,
            "source": source.digest,
            "source_schema": schema_digest,
            "image_digest": submission.image_digest,
            "level": submission.level.value,
            "description": source.description,
            "author": came.author,
            "origin": came.origin.value,
            "created_at": time_text(came.created_at),
        }
    )
    rows["evidence"].append({"digest": evidence.digest, "version": digest})
    proof = EventDetail(evidence=evidence.digest, decision=submission.decision)
    birth = Birth(sequence=1, parent=None, level=submission.level, provenance=came)
    before = None
    for kind, detail in (
        (EventType.SUBMITTED, EventDetail(birth=birth)),
        (EventType.QUARANTINED, proof),
        (EventType.ADMITTED, proof),
    ):
        step = Step(
            type=kind,
            digest=digest,
            name=source.name,
            from_state=before,
            reason="made in bulk",
            detail=detail,
        )
        event = seal(step, link, at=came.created_at, actor="tests")
        rows["event"].append(event_row(event))
        link, before = Link(sequence=event.sequence, hash=event.hash), event.to_state
    rows["version_state"].append(
        {"version": digest, "tool": tool, "state": "approved", "event": link.sequence}
    )
    rows["channel"].append({"version": digest, "tool": tool, "channel": "stable"})
    rows["made_in"].append({"version": digest, "session": came.session})
    return link


def event_row(event: Event) -> dict[str, object]:
    """The row of an event."""
    row: dict[str, object] = event.model_dump(mode="python")
    row["version"] = row.pop("digest")
    return {**row, "at": time_text(event.at)}


@contextmanager
def tampering(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection that no trigger and no reference holds back; the triggers come back after."""
    with closing(sqlite3.connect(folder / DATABASE_NAME, isolation_level=None)) as connection:
        triggers = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, sql in triggers:
            connection.execute(sql)

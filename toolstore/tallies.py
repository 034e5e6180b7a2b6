"""Calls of canaries and of the stable versions beside them, and what follows from their counts."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from policies.decision import Channel
from policies.sequential import CanarySettings, CanaryVerdict, Tally, judge_canary
from toolstore import reading, tables
from toolstore.events import CanaryFigures, EventDetail, EventType
from toolstore.models import Origin
from toolstore.placing import last_move
from toolstore.writing import Writer


def count_call(
    writer: Writer, name: str, digest: str, settings: CanarySettings, *, succeeded: bool
) -> EventType | None:
    """Count a call beside a running canary, and do at once what the counts say by then.

    Returns:
        What happened to the canary, if anything.
    """
    rows = {
        row.channel: row
        for row in reading.rows_of_name(writer.connection, name)
        if row.channel in {Channel.CANARY, Channel.STABLE}
    }
    canary = rows.get(Channel.CANARY)
    counted = next((row for row in rows.values() if row.digest == digest), None)
    if canary is None or counted is None or counted.channel is None:
        return None
    start = last_move(writer.connection, canary)[0].sequence
    _add(writer, start, counted.channel, succeeded=succeeded)
    tallies = _tallies(writer.connection, start)
    mine = tallies.get(Channel.CANARY, Tally())
    other = tallies.get(Channel.STABLE, Tally())
    judged = judge_canary(mine, other, settings)
    figures = CanaryFigures(
        canary_succeeded=mine.succeeded,
        canary_failed=mine.failed,
        stable_succeeded=other.succeeded,
        stable_failed=other.failed,
        evidence=judged.evidence,
        threshold=judged.threshold,
    )
    detail = EventDetail(figures=figures)
    match judged.verdict:
        case CanaryVerdict.TAKE_OUT:
            kind = EventType.CANARY_FAILED
            writer.placing.take_out(canary, kind, judged.reason, detail)
        case CanaryVerdict.PROMOTE if canary.origin != Origin.HUMAN:
            kind = EventType.PROMOTED
            writer.placing.put(canary, kind, judged.reason, detail)
        case _:
            return None
    writer.finish(canary.digest)
    return kind


def running_tallies(connection: Connection, name: str) -> dict[str, Tally]:
    """What was counted since the running canary of `name` began, by channel."""
    rows = reading.require_name(connection, name)
    canary = next((row for row in rows if row.channel == Channel.CANARY), None)
    return {} if canary is None else _tallies(connection, last_move(connection, canary)[0].sequence)


def _tallies(connection: Connection, start: int) -> dict[str, Tally]:
    count = tables.canary_count.c
    query = select(count.channel, count.succeeded, count.failed).where(count.start == start)
    return {
        row.channel: Tally(succeeded=row.succeeded, failed=row.failed)
        for row in connection.execute(query)
    }


def _add(writer: Writer, start: int, channel: str, *, succeeded: bool) -> None:
    table = tables.canary_count
    column = table.c.succeeded if succeeded else table.c.failed
    mine = (table.c.start == start, table.c.channel == channel)
    changed = writer.connection.execute(update(table).where(*mine).values({column: column + 1}))
    if changed.rowcount == 0:
        row = {
            "start": start,
            "channel": channel,
            "succeeded": int(succeeded),
            "failed": int(not succeeded),
        }
        writer.connection.execute(insert(table).values(row))

"""Steps of the life-cycle beyond admission and review, each inside the writer's transaction."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from policies.decision import Channel, Decision
from policies.sequential import CanarySettings, CanaryVerdict, Tally, judge_canary
from policies.waivers import Waiver
from toolstore import reading, tables
from toolstore.assemble import VersionRow
from toolstore.errors import TransitionError
from toolstore.events import CanaryFigures, EventDetail, EventType, time_text
from toolstore.models import Lifecycle, Origin, Place, ToolRef, ToolVersion
from toolstore.placing import last_move
from toolstore.terms import Terms
from toolstore.writing import Writer, words


def promote(writer: Writer, ref: ToolRef, reason: str) -> ToolVersion:
    """Make an approved version the stable one."""
    row = _sound(writer, ref, EventType.PROMOTED)
    _check_callees(writer, row)
    if row.channel == Channel.STABLE:
        raise TransitionError(row.ref, "it is the stable one already")
    writer.placing.put(row, EventType.PROMOTED, reason)
    return writer.finish(row.digest)


def start_canary(writer: Writer, ref: ToolRef, weight: float, reason: str) -> ToolVersion:
    """Give a version to a share of the sessions, beside the stable one; or change the share."""
    row = _sound(writer, ref, EventType.CANARIED)
    if row.channel == Channel.STABLE:
        raise TransitionError(
            row.ref,
            "it is the stable one, so everybody has it; a canary is another version beside it",
        )
    if not any(each.channel == Channel.STABLE for each in _siblings(writer, row)):
        raise TransitionError(
            row.ref,
            "there is no stable version to try it against; "
            f"`toolkiln tools promote {row.ref}` makes it the stable one",
        )
    _check_callees(writer, row)
    place = Place(channel=Channel.CANARY, weight=weight)
    writer.placing.put(row, EventType.CANARIED, reason, place=place)
    return writer.finish(row.digest)


def deprecate(writer: Writer, ref: ToolRef, reason: str, successor: ToolRef | None) -> ToolVersion:
    """End the approval of a version; it stays callable by its exact reference."""
    row = reading.find_row(writer.connection, ref)
    writer.require(row, EventType.DEPRECATED)
    named = None
    if successor is not None:
        found = reading.find_row(writer.connection, successor)
        if found.digest == row.digest:
            raise TransitionError(row.ref, "a version cannot be its own successor")
        named = found.ref
        reason = f"{reason}; use {named} instead"
    writer.placing.take_out(row, EventType.DEPRECATED, reason, EventDetail(successor=named))
    return writer.finish(row.digest)


def archive(writer: Writer, ref: ToolRef, reason: str) -> ToolVersion:
    """Let nobody call a deprecated version any more, until somebody goes back to it."""
    row = reading.find_row(writer.connection, ref)
    writer.require(row, EventType.ARCHIVED)
    writer.journal.record(row, EventType.ARCHIVED, reason)
    return writer.finish(row.digest)


def suspend(writer: Writer, digest: str, decision: Decision, reason: str) -> ToolVersion:
    """Back to quarantine: `decision` no longer allows it."""
    row = reading.require_digest(writer.connection, digest)
    writer.require(row, EventType.SUSPENDED)
    writer.placing.take_out(row, EventType.SUSPENDED, reason, EventDetail(decision=decision))
    return writer.finish(row.digest)


def readmit(writer: Writer, digest: str, decision: Decision, terms: Terms) -> ToolVersion:
    """Out of quarantine without a person, where `decision` allows it by now.

    One that somebody approved meanwhile is returned as it is; one that somebody rejected stays
    rejected, and the log has what the policy said too late.
    """
    row = reading.require_digest(writer.connection, digest)
    version = reading.load(writer.connection, row)
    if not decision.allowed:
        raise TransitionError(row.ref, f"the policy does not allow it: {words(decision)}")
    if version.state is Lifecycle.APPROVED:
        return version
    if version.state is Lifecycle.REVOKED:
        writer.overrule(row, "the policy's decision", EventDetail(decision=decision))
        return writer.finish(digest)
    writer.require(row, EventType.ADMITTED)
    _admit(writer, row, version, decision, terms)
    return writer.finish(digest)


def _admit(
    writer: Writer, row: VersionRow, version: ToolVersion, decision: Decision, terms: Terms
) -> None:
    # What people said yes to within a narrow scope does not widen by itself.
    scopes = (terms.channel, *(approval.scope for approval in version.approvals))
    place = terms.narrowed(scopes).place(row.name, version.provenance, writer.connection)
    detail = EventDetail(evidence=version.evidence.digest, decision=decision)
    writer.placing.put(row, EventType.ADMITTED, words(decision), detail, place=place)


def waive(writer: Writer, waiver: Waiver, decision: Decision | None, terms: Terms) -> ToolVersion:
    """Keep a waiver; a version in quarantine comes out if `decision`, which knew of it, allows."""
    row = reading.require_digest(writer.connection, waiver.digest)
    version = reading.load(writer.connection, row)
    writer.require(row, EventType.WAIVED)
    until = f"{waiver.expires_at:%Y-%m-%d %H:%M}"
    reason = f"{waiver.principal} takes {waiver.rule} until {until}: {waiver.reason}"
    row = writer.journal.record(row, EventType.WAIVED, reason, EventDetail(waiver=waiver))
    if decision is not None and decision.allowed and version.state == "quarantined":
        _admit(writer, row, version, decision, terms)
    return writer.finish(row.digest)


def pin(writer: Writer, ref: ToolRef, session: str, reason: str) -> ToolVersion:
    """Have a session stay with a version."""
    row = _sound(writer, ref, EventType.PINNED)
    if row.channel == Channel.SESSION and row.place_session != session:
        raise TransitionError(
            row.ref,
            f"it is for the session {row.place_session} alone; promote it, or make it the canary",
        )
    writer.journal.record(row, EventType.PINNED, reason, EventDetail(pinned=session))
    return writer.finish(row.digest)


def unpin(writer: Writer, name: str, session: str, reason: str) -> ToolVersion:
    """End a session's staying."""
    rows = reading.require_name(writer.connection, name)
    held = tables.pin.c
    digest = writer.connection.scalar(
        select(held.version).where(held.session == session, held.tool == rows[0].tool)
    )
    row = next((row for row in rows if row.digest == digest), None)
    if row is None:
        raise TransitionError(name, f"the session {session} is not pinned to a version of it")
    writer.journal.record(row, EventType.UNPINNED, reason, EventDetail(pinned=session))
    return writer.finish(row.digest)


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


def note_use(writer: Writer, digest: str) -> None:
    """Remember that a version was called now."""
    use, at = tables.version_use, time_text(writer.at)
    mine = use.c.version == digest
    changed = writer.connection.execute(update(use).where(mine).values(last_at=at))
    if changed.rowcount == 0:
        writer.connection.execute(insert(use).values(version=digest, last_at=at))


def _sound(writer: Writer, ref: ToolRef, kind: EventType) -> VersionRow:
    """The version that `ref` means, verified, and where it stands the step is allowed."""
    row = reading.find_row(writer.connection, ref)
    reading.load(writer.connection, row)
    writer.require(row, kind)
    return row


def _check_callees(writer: Writer, row: VersionRow) -> None:
    """Refuse to share a version that calls one which is for a session alone."""
    for declared in reading.load(writer.connection, row).source.permissions.tools:
        callee = reading.row_of_digest(writer.connection, declared.partition("@")[2])
        if callee is not None and callee.channel == Channel.SESSION:
            raise TransitionError(
                row.ref,
                f"it calls {callee.ref}, which is for the session {callee.place_session} alone; "
                f"`toolkiln tools promote {callee.ref}` first",
            )


def _siblings(writer: Writer, row: VersionRow) -> list[VersionRow]:
    rows = reading.rows_of_name(writer.connection, row.name)
    return [each for each in rows if each.digest != row.digest]

"""Steps of the life-cycle beyond admission and review, each inside the writer's transaction."""

from __future__ import annotations

from operator import itemgetter

from sqlalchemy import insert, select, update

from policies.decision import Channel, Decision
from policies.waivers import Waiver
from toolstore import reading, tables
from toolstore.assemble import VersionRow
from toolstore.errors import ToolNotFoundError, TransitionError
from toolstore.events import EventDetail, EventType, time_text
from toolstore.models import Lifecycle, Place, ToolRef, ToolVersion
from toolstore.placing import last_move, stable_of
from toolstore.terms import Terms
from toolstore.writing import Writer, words


def rollback(writer: Writer, name: str, reason: str, to: ToolRef | None) -> ToolVersion:
    """Go back to an earlier version; see `ToolStore.rollback`."""
    rows = reading.require_name(writer.connection, name)
    canary = next((row for row in rows if row.channel == Channel.CANARY), None)
    if to is None and canary is not None:
        writer.placing.take_out(canary, EventType.ROLLED_BACK, reason)
        return writer.finish((stable_of(rows) or canary).digest)
    if to is None:
        target = _predecessor(writer, name, rows)
    elif to.name == name:
        target = reading.only_match(rows, to)
    else:
        raise ToolNotFoundError(str(to), known=[row.ref for row in rows])
    writer.require(target, EventType.RESTORED)
    reading.load(writer.connection, target)
    writer.placing.put(target, EventType.RESTORED, reason)
    return writer.finish(target.digest)


def _predecessor(writer: Writer, name: str, rows: list[VersionRow]) -> VersionRow:
    """What was replaced last and not gone back from since."""
    replaced = []
    for row in rows:
        if row.state == Lifecycle.DEPRECATED:
            last, detail = last_move(writer.connection, row)
            if last.type == EventType.SUPERSEDED and detail.left is None:
                replaced.append((last.sequence, row))
    if not replaced:
        raise TransitionError(
            name,
            "there is no earlier version to go back to; "
            f"`toolkiln tools history {name}` shows what there is, `--to` names one",
        )
    return max(replaced, key=itemgetter(0))[1]


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
    rejected, and the log has what the policy said too late. Where callers get another version by
    now, nothing is turned back.
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
    current = stable_of(reading.rows_of_name(writer.connection, row.name))
    if current is not None:
        raise TransitionError(
            row.ref,
            f"{current.ref} is current by now, and no policy turns a tool back; a person may, in "
            "review",
        )
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

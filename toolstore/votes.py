"""Votes on versions, and versions taken back, inside the transaction of a writer."""

from __future__ import annotations

from dataclasses import replace

from policies.decision import Approval, Decision
from toolstore import reading
from toolstore.assemble import VersionRow
from toolstore.errors import TransitionError, VoteOvertakenError
from toolstore.events import EventDetail, EventType, is_allowed
from toolstore.models import Lifecycle, ToolVersion
from toolstore.placing import last_event
from toolstore.terms import Terms
from toolstore.writing import Writer, words


def approve(  # noqa: PLR0913 - what a yes rests on, each by its name
    writer: Writer,
    row: VersionRow,
    approval: Approval,
    decision: Decision,
    *,
    after: int | None,
    terms: Terms,
) -> ToolVersion:
    """Make a quarantined version the approved one; see `ToolStore.approve`."""
    version = reading.load(writer.connection, row)
    if approval.digest != version.digest:
        raise TransitionError(
            row.ref,
            f"the approval is of {approval.digest}, and this is {version.digest}; "
            "look at it again and approve what is shown",
        )
    if not approval.counts(writer.at):
        raise TransitionError(
            row.ref,
            f"the approval of {approval.principal} ended on {approval.expires_at}; it must be "
            "given again",
        )
    if is_allowed(EventType.OVERRULED, version.state):
        writer.overrule(row, "the approval", EventDetail(overruled=approval))
        return writer.finish(row.digest)
    _unchanged_since(row, after)
    writer.require(row, EventType.APPROVED)
    detail = EventDetail(approval=approval, decision=decision, shown=approval.shown or None)
    if decision.allowed:
        scopes = (terms.channel, *(each.scope for each in (*version.approvals, approval)))
        place = terms.narrowed(scopes).place(row.name, version.provenance, writer.connection)
        reason = f"approved by {approval.principal}"
        writer.placing.put(row, EventType.APPROVED, reason, detail, place=place)
    elif decision.needs_review:
        reason = f"approved by {approval.principal}; {words(decision)}"
        writer.journal.record(row, EventType.ENDORSED, reason, detail)
    else:
        raise TransitionError(row.ref, f"the policy does not allow it: {words(decision)}")
    return writer.finish(row.digest)


def take_back(
    writer: Writer, row: VersionRow, kind: EventType, reason: str, *, shown: str | None = None
) -> ToolVersion:
    """Reject or revoke; see `ToolStore.reject` and `ToolStore.revoke`."""
    # The log's word, not the table's: taking back also mends a derived state that was changed.
    row = replace(row, state=last_event(writer.connection, row).to_state.value)
    state = Lifecycle(row.state or "")
    if kind is EventType.REJECTED and is_allowed(EventType.OVERRULED, state):
        writer.overrule(row, f"the no ({reason})", EventDetail(shown=shown))
        return writer.finish(row.digest)
    writer.require(row, kind)
    writer.journal.record(row, kind, reason, EventDetail(shown=shown))
    return writer.finish(row.digest)


def ask_change(writer: Writer, row: VersionRow, reason: str, shown: str | None) -> ToolVersion:
    """Ask the author for a change; see `ToolStore.ask_change`."""
    reading.load(writer.connection, row)
    writer.require(row, EventType.CHANGE_ASKED)
    writer.journal.record(row, EventType.CHANGE_ASKED, reason, EventDetail(shown=shown))
    return writer.finish(row.digest)


def _unchanged_since(row: VersionRow, after: int | None) -> None:
    """Refuse a vote whose decision rests on less than what the log has by now."""
    if after is not None and row.state_event != after:
        raise VoteOvertakenError(row.ref, after, row.state_event or 0)

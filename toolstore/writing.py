"""The steps of the life-cycle, each inside one transaction that the caller holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from operator import itemgetter
from typing import Final

from sqlalchemy import Connection, func, insert, select

from policies.decision import Approval, Channel, Decision
from policies.value import canonical_json, sha256_digest
from toolstore import reading, tables
from toolstore.assemble import VersionRow
from toolstore.blobs import put_blobs
from toolstore.errors import ToolNotFoundError, TransitionError, VoteOvertakenError
from toolstore.events import Birth, EventDetail, EventType, is_allowed, skeleton, time_text
from toolstore.journal import Journal
from toolstore.models import Lifecycle, Submission, ToolRef, ToolVersion
from toolstore.placing import Placing, last_event, last_move
from toolstore.terms import Terms, check_beside_current, check_not_revoked, check_quota


class Writer:
    """Writes as one actor at one time: one change, then it is done with."""

    def __init__(self, connection: Connection, *, at: datetime, actor: str) -> None:
        self.connection = connection
        self.at = at
        self.journal = Journal(connection, at=at, actor=actor)
        self.placing = Placing(connection, self.journal)
        self.refusal: TransitionError | None = None
        """What to tell the caller although something was written: a vote that came too late."""

    def admit(self, submission: Submission, terms: Terms) -> ToolVersion:
        """Take in a proven version; see `ToolStore.admit`."""
        _check_submission(submission)
        if terms.beside_current:
            check_beside_current(self.connection, submission)
        row = reading.row_of_digest(self.connection, submission.digest)
        if row is None:
            check_not_revoked(self.connection, submission)
            if terms.quota is not None:
                check_quota(self.connection, submission, terms.quota)
            self._let_in(self._take_in(submission), submission, terms)
        else:
            reading.load(self.connection, row)
            self._admit_again(row, submission, terms)
        return self.finish(submission.digest)

    def approve(
        self,
        row: VersionRow,
        approval: Approval,
        decision: Decision,
        after: int | None,
        terms: Terms,
    ) -> ToolVersion:
        """Make a quarantined version the approved one; see `ToolStore.approve`."""
        version = reading.load(self.connection, row)
        if approval.digest != version.digest:
            raise TransitionError(
                row.ref,
                f"the approval is of {approval.digest}, and this is {version.digest}; "
                "look at it again and approve what is shown",
            )
        if not approval.counts(self.at):
            raise TransitionError(
                row.ref,
                f"the approval of {approval.principal} ended on {approval.expires_at}; it must be "
                "given again",
            )
        if is_allowed(EventType.OVERRULED, version.state):
            self.overrule(row, "the approval", EventDetail(overruled=approval))
            return self.finish(row.digest)
        self._unchanged_since(row, after)
        self.require(row, EventType.APPROVED)
        detail = EventDetail(approval=approval, decision=decision, shown=approval.shown or None)
        if decision.allowed:
            scopes = (terms.channel, *(each.scope for each in (*version.approvals, approval)))
            place = terms.narrowed(scopes).place(row.name, version.provenance, self.connection)
            reason = f"approved by {approval.principal}"
            self.placing.put(row, EventType.APPROVED, reason, detail, place=place)
        elif decision.needs_review:
            reason = f"approved by {approval.principal}; {words(decision)}"
            self.journal.record(row, EventType.ENDORSED, reason, detail)
        else:
            raise TransitionError(row.ref, f"the policy does not allow it: {words(decision)}")
        return self.finish(row.digest)

    def take_back(
        self, row: VersionRow, kind: EventType, reason: str, *, shown: str | None = None
    ) -> ToolVersion:
        """Reject or revoke; see `ToolStore.reject` and `ToolStore.revoke`."""
        # The log's word, not the table's: taking back also mends a derived state that was changed.
        row = replace(row, state=last_event(self.connection, row).to_state.value)
        state = Lifecycle(row.state or "")
        if kind is EventType.REJECTED and is_allowed(EventType.OVERRULED, state):
            self.overrule(row, f"the no ({reason})", EventDetail(shown=shown))
            return self.finish(row.digest)
        self.require(row, kind)
        self.journal.record(row, kind, reason, EventDetail(shown=shown))
        return self.finish(row.digest)

    def overrule(self, row: VersionRow, vote: str, detail: EventDetail) -> None:
        """Keep a vote that came after the decision: everybody who decided is in the log."""
        self.refusal = TransitionError(
            row.ref, f"it is {row.state} by now; {vote} came too late, and is kept in the log"
        )
        self.journal.record(row, EventType.OVERRULED, f"{vote} came too late", detail)

    def ask_change(self, row: VersionRow, reason: str, shown: str | None) -> ToolVersion:
        """Ask the author for a change; see `ToolStore.ask_change`."""
        reading.load(self.connection, row)
        self.require(row, EventType.CHANGE_ASKED)
        self.journal.record(row, EventType.CHANGE_ASKED, reason, EventDetail(shown=shown))
        return self.finish(row.digest)

    def _unchanged_since(self, row: VersionRow, after: int | None) -> None:
        """Refuse a vote whose decision rests on less than what the log has by now."""
        if after is not None and row.state_event != after:
            raise VoteOvertakenError(row.ref, after, row.state_event or 0)

    def rollback(self, name: str, reason: str, to: ToolRef | None) -> ToolVersion:
        """Go back to an earlier version; see `ToolStore.rollback`."""
        rows = reading.require_name(self.connection, name)
        canary = next((row for row in rows if row.channel == Channel.CANARY), None)
        if to is None and canary is not None:
            self.placing.take_out(canary, EventType.ROLLED_BACK, reason)
            return self.finish((_stable(rows) or canary).digest)
        if to is None:
            target = self._predecessor(name, rows)
        elif to.name == name:
            target = reading.only_match(rows, to)
        else:
            raise ToolNotFoundError(str(to), known=[row.ref for row in rows])
        self.require(target, EventType.RESTORED)
        reading.load(self.connection, target)
        self.placing.put(target, EventType.RESTORED, reason)
        return self.finish(target.digest)

    def _take_in(self, submission: Submission) -> VersionRow:
        """Keep the bytes and the row; the version is then quarantined."""
        source, provenance = submission.source, submission.provenance
        schema_bytes = canonical_json(submission.source_schema.model_dump(mode="json"))
        put_blobs(self.connection, [canonical_json(source.to_json()), schema_bytes])
        tool = self._tool_id(source.name)
        siblings = reading.rows_of_name(self.connection, source.name)
        current = _stable(siblings)
        row = VersionRow(
            digest=submission.digest,
            name=source.name,
            tool=tool,
            sequence=max((sibling.sequence for sibling in siblings), default=0) + 1,
            parent=current.digest if current else None,
            source=source.digest,
            source_schema=sha256_digest(schema_bytes),
            image_digest=submission.image_digest,
            level=submission.level.value,
            description=source.description,
            author=provenance.author,
            origin=provenance.origin.value,
            created_at=time_text(provenance.created_at),
            state=None,
            state_event=None,
        )
        self._insert_version(row)
        self._insert_evidence(row, submission)
        birth = Birth(
            sequence=row.sequence,
            parent=row.parent,
            level=submission.level,
            provenance=provenance,
        )
        row = self.journal.record(row, EventType.SUBMITTED, "submitted", EventDetail(birth=birth))
        return self.journal.record(
            row,
            EventType.QUARANTINED,
            words(submission.decision),
            EventDetail(evidence=submission.evidence.digest, decision=submission.decision),
        )

    def _let_in(self, row: VersionRow, submission: Submission, terms: Terms) -> None:
        """From quarantine to approved, where the policy allows it without a person."""
        decision = submission.decision
        if decision.allowed:
            detail = EventDetail(evidence=submission.evidence.digest, decision=decision)
            place = terms.place(row.name, submission.provenance, self.connection)
            self.placing.put(row, EventType.ADMITTED, words(decision), detail, place=place)

    def _admit_again(self, row: VersionRow, submission: Submission, terms: Terms) -> None:
        """The same bytes came before: what they are now decides."""
        if row.state == Lifecycle.QUARANTINED and submission.decision.allowed:
            self._insert_evidence(row, submission)
            self._let_in(row, submission, terms)
        elif row.state == Lifecycle.REVOKED:
            reason = last_move(self.connection, row)[0].reason
            self.overrule(row, "the policy's decision", EventDetail(decision=submission.decision))
            self.refusal = TransitionError(
                row.ref,
                f"these very bytes were revoked ({reason}); "
                "revoked is an end, so change the tool and submit it as a new version",
            )
        elif row.state in {Lifecycle.DEPRECATED, Lifecycle.ARCHIVED}:
            self._restore(row, submission, terms)

    def _restore(self, row: VersionRow, submission: Submission, terms: Terms) -> None:
        """A replaced version came again; it is current again, unless it was taken out."""
        way = f"`toolkiln tools rollback {row.name} --to {row.ref}` makes it current again"
        last, _ = last_move(self.connection, row)
        if last.type != EventType.SUPERSEDED:
            raise TransitionError(row.ref, f"it was {_TAKEN_OUT[EventType(last.type)]}; {way}")
        if not submission.decision.allowed:
            raise TransitionError(
                row.ref, f"it was replaced, and the policy asks for a person; {way}"
            )
        self._insert_evidence(row, submission)
        detail = EventDetail(evidence=submission.evidence.digest, decision=submission.decision)
        place = terms.place(row.name, submission.provenance, self.connection)
        self.placing.put(row, EventType.RESTORED, "submitted again", detail, place=place)

    def _predecessor(self, name: str, rows: list[VersionRow]) -> VersionRow:
        """What was replaced last and not gone back from since."""
        replaced = []
        for row in rows:
            if row.state == Lifecycle.DEPRECATED:
                last, detail = last_move(self.connection, row)
                if last.type == EventType.SUPERSEDED and detail.left is None:
                    replaced.append((last.sequence, row))
        if not replaced:
            raise TransitionError(
                name,
                "there is no earlier version to go back to; "
                f"`toolkiln tools history {name}` shows what there is, `--to` names one",
            )
        return max(replaced, key=itemgetter(0))[1]

    def require(self, row: VersionRow, kind: EventType) -> None:
        """Refuse a step that the life-cycle does not have from where `row` is.

        Raises:
            TransitionError: it has none.
        """
        state = None if row.state is None else Lifecycle(row.state)
        if not is_allowed(kind, state):
            raise TransitionError(row.ref, f"it is {row.state}, so it cannot be {PASSIVE[kind]}")

    def _tool_id(self, name: str) -> int:
        """The tool of that name, made where it is missing.

        Raises:
            TransitionError: another tool's name looks the same.
        """
        tool = tables.tool.c
        form = skeleton(name)
        found = self.connection.execute(
            select(tool.id, tool.name).where(tool.skeleton == form)
        ).first()
        if found is None:
            number = (self.connection.scalar(select(func.max(tool.id))) or 0) + 1
            row = {"id": number, "name": name, "skeleton": form}
            self.connection.execute(insert(tables.tool).values(row))
            return number
        if found.name != name:
            raise TransitionError(
                name,
                f"its name reads like that of the tool {found.name!r}, which is there already; "
                "choose another name, or submit a new version of that one under its exact name",
            )
        return int(found.id)

    def _insert_version(self, row: VersionRow) -> None:
        columns = {column.name for column in tables.tool_version.columns}
        values = {name: getattr(row, name) for name in columns}
        self.connection.execute(insert(tables.tool_version).values(values))

    def _insert_evidence(self, row: VersionRow, submission: Submission) -> None:
        evidence = tables.evidence
        digest = submission.evidence.digest
        put_blobs(self.connection, [canonical_json(submission.evidence.model_dump(mode="json"))])
        known = select(evidence.c.digest).where(evidence.c.digest == digest)
        if self.connection.scalar(known) is None:
            values = {"digest": digest, "version": row.digest}
            self.connection.execute(insert(evidence).values(values))

    def finish(self, digest: str) -> ToolVersion:
        """Put down what was done, and read it back as any reader would."""
        self.journal.write()
        row = reading.row_of_digest(self.connection, digest)
        if row is None:
            raise ToolNotFoundError(digest)
        return reading.load(self.connection, row)


PASSIVE: Final = {
    EventType.APPROVED: "approved; only a quarantined version can",
    EventType.REJECTED: "rejected; only a quarantined version can, and `revoke` takes others back",
    EventType.CHANGE_ASKED: "sent back for a change; only a quarantined version can",
    EventType.REVOKED: "revoked again",
    EventType.RESTORED: "gone back to; only a deprecated or archived version can",
    EventType.SUSPENDED: "set aside; only an approved or deprecated version can",
    EventType.CANARIED: "tried as a canary; only an approved or deprecated version can",
    EventType.PROMOTED: "promoted; only an approved version can, and `rollback` restores others",
    EventType.CANARY_FAILED: "taken out; only a canary can",
    EventType.DEPRECATED: "deprecated; only an approved version can",
    EventType.ARCHIVED: "archived; only a deprecated version can, so deprecate it first",
    EventType.PINNED: "pinned; only an approved or deprecated version can",
    EventType.PROVEN: "proven again; it was taken back or put away",
    EventType.WAIVED: "given a waiver; it is decided for good, or nobody can call it",
}
"""What cannot be done, and from where it could be."""

_TAKEN_OUT: Final = {
    EventType.ROLLED_BACK: "rolled back from",
    EventType.CANARY_FAILED: "taken out as a canary that failed",
    EventType.DEPRECATED: "deprecated by a person, or because nobody used it",
    EventType.ARCHIVED: "archived",
}


def _check_submission(submission: Submission) -> None:
    """Refuse what contradicts itself, before anything is written."""
    evidence, decision = submission.evidence, submission.decision
    name = submission.source.name
    if not decision.allowed and not decision.needs_review:
        raise TransitionError(name, f"the policy refused it: {words(decision)}")
    about = (evidence.subject, evidence.source_digest, evidence.image_digest)
    if about != (submission.digest, submission.source.digest, submission.image_digest):
        raise TransitionError(
            name,
            f"its evidence is about {evidence.subject} on {evidence.image_digest}, "
            f"and the version is {submission.digest} on {submission.image_digest}",
        )
    if evidence.report.level is not submission.level:
        raise TransitionError(
            name,
            f"it passed the lint level {evidence.report.level.value}, "
            f"and was submitted as {submission.level.value}",
        )


def _stable(rows: list[VersionRow]) -> VersionRow | None:
    return next((row for row in rows if row.channel == Channel.STABLE), None)


def words(decision: Decision) -> str:
    """The reasons of a decision, for the log."""
    return "; ".join(decision.reasons) or "no reason was given"

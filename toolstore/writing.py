"""The steps of the life-cycle, each inside one transaction that the caller holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, func, insert, select

from policies.decision import Approval, Decision
from policies.value import canonical_json, sha256_digest
from toolstore import logbook, reading, tables
from toolstore.assemble import VersionRow, details_of
from toolstore.blobs import put_blobs
from toolstore.errors import ToolNotFoundError, TransitionError, VoteOvertakenError
from toolstore.events import Birth, EventDetail, EventType, is_allowed, skeleton, time_text
from toolstore.journal import Journal
from toolstore.models import Event, Lifecycle, Submission, ToolRef, ToolVersion


class Writer:
    """Writes as one actor at one time: one change, then it is done with."""

    def __init__(self, connection: Connection, *, at: datetime, actor: str) -> None:
        self.connection = connection
        self._journal = Journal(connection, at=at, actor=actor)

    def admit(self, submission: Submission) -> ToolVersion:
        """Take in a proven version; see `ToolStore.admit`."""
        _check_submission(submission)
        row = reading.row_of_digest(self.connection, submission.digest)
        if row is None:
            self._let_in(self._take_in(submission), submission)
        else:
            reading.load(self.connection, row)
            self._admit_again(row, submission)
        return self._finish(submission.digest)

    def approve(
        self, row: VersionRow, approval: Approval, decision: Decision, after: int | None
    ) -> ToolVersion:
        """Make a quarantined version the approved one; see `ToolStore.approve`."""
        version = reading.load(self.connection, row)
        self._unchanged_since(row, after)
        if approval.digest != version.digest:
            raise TransitionError(
                row.ref,
                f"the approval is of {approval.digest}, and this is {version.digest}; "
                "look at it again and approve what is shown",
            )
        self._require(row, EventType.APPROVED)
        detail = EventDetail(approval=approval, decision=decision, shown=approval.shown or None)
        if decision.allowed:
            self._make_current(row, EventType.APPROVED, f"approved by {approval.principal}", detail)
        elif decision.needs_review:
            reason = f"approved by {approval.principal}; {_words(decision)}"
            self._journal.record(row, EventType.ENDORSED, reason, detail)
        else:
            raise TransitionError(row.ref, f"the policy does not allow it: {_words(decision)}")
        return self._finish(row.digest)

    def take_back(
        self, row: VersionRow, kind: EventType, reason: str, *, shown: str | None = None
    ) -> ToolVersion:
        """Reject or revoke; see `ToolStore.reject` and `ToolStore.revoke`."""
        # The log's word, not the table's: taking back also mends a derived state that was changed.
        row = replace(row, state=self._last_event(row).to_state.value)
        self._require(row, kind)
        self._journal.record(row, kind, reason, EventDetail(shown=shown))
        return self._finish(row.digest)

    def ask_change(self, row: VersionRow, reason: str, shown: str | None) -> ToolVersion:
        """Ask the author for a change; see `ToolStore.ask_change`."""
        reading.load(self.connection, row)
        self._require(row, EventType.CHANGE_ASKED)
        self._journal.record(row, EventType.CHANGE_ASKED, reason, EventDetail(shown=shown))
        return self._finish(row.digest)

    def _unchanged_since(self, row: VersionRow, after: int | None) -> None:
        """Refuse a vote whose decision rests on less than what the log has by now."""
        if after is not None and row.state_event != after:
            raise VoteOvertakenError(row.ref, after, row.state_event or 0)

    def rollback(self, name: str, reason: str, to: ToolRef | None) -> ToolVersion:
        """Go back to an earlier version; see `ToolStore.rollback`."""
        rows = reading.rows_of_name(self.connection, name)
        if not rows:
            raise ToolNotFoundError(name, known=reading.names(self.connection))
        if to is None:
            target = self._predecessor(name, rows)
        elif to.name == name:
            target = reading.only_match(rows, to)
        else:
            raise ToolNotFoundError(str(to), known=[row.ref for row in rows])
        self._require(target, EventType.RESTORED)
        reading.load(self.connection, target)
        self._make_current(target, EventType.RESTORED, reason, EventDetail())
        return self._finish(target.digest)

    def _take_in(self, submission: Submission) -> VersionRow:
        """Keep the bytes and the row; the version is then quarantined."""
        source, provenance = submission.source, submission.provenance
        schema_bytes = canonical_json(submission.source_schema.model_dump(mode="json"))
        put_blobs(self.connection, [canonical_json(source.to_json()), schema_bytes])
        tool = self._tool_id(source.name)
        siblings = reading.rows_of_name(self.connection, source.name)
        current = _approved(siblings)
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
        row = self._journal.record(row, EventType.SUBMITTED, "submitted", EventDetail(birth=birth))
        return self._journal.record(
            row,
            EventType.QUARANTINED,
            _words(submission.decision),
            EventDetail(evidence=submission.evidence.digest, decision=submission.decision),
        )

    def _let_in(self, row: VersionRow, submission: Submission) -> None:
        """From quarantine to approved, where the policy allows it without a person."""
        decision = submission.decision
        if decision.allowed:
            detail = EventDetail(evidence=submission.evidence.digest, decision=decision)
            self._make_current(row, EventType.ADMITTED, _words(decision), detail)

    def _admit_again(self, row: VersionRow, submission: Submission) -> None:
        """The same bytes came before: what they are now decides."""
        if row.state == Lifecycle.QUARANTINED and submission.decision.allowed:
            self._insert_evidence(row, submission)
            self._let_in(row, submission)
        elif row.state == Lifecycle.REVOKED:
            raise TransitionError(
                row.ref,
                f"these very bytes were revoked ({self._last_event(row).reason}); "
                "revoked is an end, so change the tool and submit it as a new version",
            )
        elif row.state == Lifecycle.DEPRECATED:
            self._restore(row, submission)

    def _restore(self, row: VersionRow, submission: Submission) -> None:
        """A replaced version came again; it is current again, unless a person went back from it."""
        way = f"`toolkiln tools rollback {row.name} --to {row.ref}` makes it current again"
        if self._last_event(row).type == EventType.ROLLED_BACK:
            raise TransitionError(row.ref, f"it was rolled back from; {way}")
        if not submission.decision.allowed:
            raise TransitionError(
                row.ref, f"it was replaced, and the policy asks for a person; {way}"
            )
        self._insert_evidence(row, submission)
        detail = EventDetail(evidence=submission.evidence.digest, decision=submission.decision)
        self._make_current(row, EventType.RESTORED, "submitted again", detail)

    def _make_current(
        self, row: VersionRow, kind: EventType, reason: str, detail: EventDetail
    ) -> None:
        """Approve `row`; whatever was approved of the name gives way first."""
        current = _approved(reading.rows_of_name(self.connection, row.name))
        if current is not None:
            back = kind is EventType.RESTORED and detail.decision is None
            backwards = back and row.sequence < current.sequence
            leaving = EventType.ROLLED_BACK if backwards else EventType.SUPERSEDED
            self._journal.record(current, leaving, f"{row.ref} is current now: {reason}")
        self._journal.record(row, kind, reason, detail)

    def _predecessor(self, name: str, rows: list[VersionRow]) -> VersionRow:
        """What was replaced last and not gone back from since."""
        replaced = [
            row
            for row in rows
            if row.state == Lifecycle.DEPRECATED
            and self._last_event(row).type == EventType.SUPERSEDED
        ]
        if not replaced:
            raise TransitionError(
                name,
                "there is no earlier version to go back to; "
                f"`toolkiln tools history {name}` shows what there is, `--to` names one",
            )
        return max(replaced, key=lambda row: row.state_event or 0)

    def _require(self, row: VersionRow, kind: EventType) -> None:
        state = None if row.state is None else Lifecycle(row.state)
        if not is_allowed(kind, state):
            raise TransitionError(row.ref, f"it is {row.state}, so it cannot be {_PASSIVE[kind]}")

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

    def _last_event(self, row: VersionRow) -> Event:
        """The last entry of the log about `row`.

        Raises:
            StoreDamagedError: there is none, or it is not what its hash says.
        """
        entries = tuple(logbook.events(self.connection, tables.event.c.version == row.digest))
        details_of(row, entries)
        return entries[-1]

    def _finish(self, digest: str) -> ToolVersion:
        """Put down what was done, and read it back as any reader would."""
        self._journal.write()
        row = reading.row_of_digest(self.connection, digest)
        if row is None:
            raise ToolNotFoundError(digest)
        return reading.load(self.connection, row)


_PASSIVE = {
    EventType.APPROVED: "approved; only a quarantined version can",
    EventType.REJECTED: "rejected; only a quarantined version can, and `revoke` takes others back",
    EventType.CHANGE_ASKED: "sent back for a change; only a quarantined version can",
    EventType.REVOKED: "revoked again",
    EventType.RESTORED: "gone back to; only a deprecated version can",
}


def _check_submission(submission: Submission) -> None:
    """Refuse what contradicts itself, before anything is written."""
    evidence, decision = submission.evidence, submission.decision
    name = submission.source.name
    if not decision.allowed and not decision.needs_review:
        raise TransitionError(name, f"the policy refused it: {_words(decision)}")
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


def _approved(rows: list[VersionRow]) -> VersionRow | None:
    return next((row for row in rows if row.state == Lifecycle.APPROVED), None)


def _words(decision: Decision) -> str:
    return "; ".join(decision.reasons) or "no reason was given"

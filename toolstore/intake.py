"""Proven versions on their way in, inside the transaction of a writer."""

from __future__ import annotations

from typing import Final

from sqlalchemy import func, insert, select

from policies.value import canonical_json, sha256_digest
from toolstore import reading, tables
from toolstore.assemble import VersionRow
from toolstore.blobs import put_blobs
from toolstore.errors import TransitionError
from toolstore.events import Birth, EventDetail, EventType, skeleton, time_text
from toolstore.models import Lifecycle, Submission, ToolVersion
from toolstore.placing import last_move, stable_of
from toolstore.terms import Terms, check_beside_current, check_not_revoked, check_quota
from toolstore.writing import Writer, words

_TAKEN_OUT: Final = {
    EventType.ROLLED_BACK: "rolled back from",
    EventType.CANARY_FAILED: "taken out as a canary that failed",
    EventType.DEPRECATED: "deprecated by a person, or because nobody used it",
    EventType.ARCHIVED: "archived",
}


def admit(writer: Writer, submission: Submission, terms: Terms) -> ToolVersion:
    """Take in a proven version; see `ToolStore.admit`."""
    _check_submission(submission)
    if terms.beside_current:
        check_beside_current(writer.connection, submission)
    row = reading.row_of_digest(writer.connection, submission.digest)
    if row is None:
        check_not_revoked(writer.connection, submission)
        if terms.quota is not None:
            check_quota(writer.connection, submission, terms.quota)
        _let_in(writer, _take_in(writer, submission), submission, terms)
    else:
        reading.load(writer.connection, row)
        _admit_again(writer, row, submission, terms)
    return writer.finish(submission.digest)


def _take_in(writer: Writer, submission: Submission) -> VersionRow:
    """Keep the bytes and the row; the version is then quarantined."""
    source, provenance = submission.source, submission.provenance
    schema_bytes = canonical_json(submission.source_schema.model_dump(mode="json"))
    put_blobs(writer.connection, [canonical_json(source.to_json()), schema_bytes])
    tool = _tool_id(writer, source.name)
    siblings = reading.rows_of_name(writer.connection, source.name)
    current = stable_of(siblings)
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
    _insert_version(writer, row)
    _insert_evidence(writer, row, submission)
    birth = Birth(
        sequence=row.sequence,
        parent=row.parent,
        level=submission.level,
        provenance=provenance,
    )
    row = writer.journal.record(row, EventType.SUBMITTED, "submitted", EventDetail(birth=birth))
    return writer.journal.record(
        row,
        EventType.QUARANTINED,
        words(submission.decision),
        EventDetail(evidence=submission.evidence.digest, decision=submission.decision),
    )


def _let_in(writer: Writer, row: VersionRow, submission: Submission, terms: Terms) -> None:
    """From quarantine to approved, where the policy allows it without a person."""
    decision = submission.decision
    if decision.allowed:
        detail = EventDetail(evidence=submission.evidence.digest, decision=decision)
        place = terms.place(row.name, submission.provenance, writer.connection)
        writer.placing.put(row, EventType.ADMITTED, words(decision), detail, place=place)


def _admit_again(writer: Writer, row: VersionRow, submission: Submission, terms: Terms) -> None:
    """The same bytes came before: what they are now decides."""
    if row.state == Lifecycle.QUARANTINED and submission.decision.allowed:
        _insert_evidence(writer, row, submission)
        _let_in(writer, row, submission, terms)
    elif row.state == Lifecycle.REVOKED:
        reason = last_move(writer.connection, row)[0].reason
        writer.overrule(row, "the policy's decision", EventDetail(decision=submission.decision))
        writer.refusal = TransitionError(
            row.ref,
            f"these very bytes were revoked ({reason}); "
            "revoked is an end, so change the tool and submit it as a new version",
        )
    elif row.state in {Lifecycle.DEPRECATED, Lifecycle.ARCHIVED}:
        _restore(writer, row, submission, terms)


def _restore(writer: Writer, row: VersionRow, submission: Submission, terms: Terms) -> None:
    """A replaced version came again; it is current again, unless it was taken out."""
    way = f"`toolkiln tools rollback {row.name} --to {row.ref}` makes it current again"
    last, _ = last_move(writer.connection, row)
    if last.type != EventType.SUPERSEDED:
        raise TransitionError(row.ref, f"it was {_TAKEN_OUT[EventType(last.type)]}; {way}")
    if not submission.decision.allowed:
        raise TransitionError(row.ref, f"it was replaced, and the policy asks for a person; {way}")
    _insert_evidence(writer, row, submission)
    detail = EventDetail(evidence=submission.evidence.digest, decision=submission.decision)
    place = terms.place(row.name, submission.provenance, writer.connection)
    writer.placing.put(row, EventType.RESTORED, "submitted again", detail, place=place)


def _tool_id(writer: Writer, name: str) -> int:
    """The tool of that name, made where it is missing.

    Raises:
        TransitionError: another tool's name looks the same.
    """
    tool = tables.tool.c
    form = skeleton(name)
    found = writer.connection.execute(
        select(tool.id, tool.name).where(tool.skeleton == form)
    ).first()
    if found is None:
        number = (writer.connection.scalar(select(func.max(tool.id))) or 0) + 1
        row = {"id": number, "name": name, "skeleton": form}
        writer.connection.execute(insert(tables.tool).values(row))
        return number
    if found.name != name:
        raise TransitionError(
            name,
            f"its name reads like that of the tool {found.name!r}, which is there already; "
            "choose another name, or submit a new version of that one under its exact name",
        )
    return int(found.id)


def _insert_version(writer: Writer, row: VersionRow) -> None:
    columns = {column.name for column in tables.tool_version.columns}
    values = {name: getattr(row, name) for name in columns}
    writer.connection.execute(insert(tables.tool_version).values(values))


def _insert_evidence(writer: Writer, row: VersionRow, submission: Submission) -> None:
    evidence = tables.evidence
    digest = submission.evidence.digest
    put_blobs(writer.connection, [canonical_json(submission.evidence.model_dump(mode="json"))])
    known = select(evidence.c.digest).where(evidence.c.digest == digest)
    if writer.connection.scalar(known) is None:
        values = {"digest": digest, "version": row.digest}
        writer.connection.execute(insert(evidence).values(values))


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

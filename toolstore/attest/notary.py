"""Signs what the journal writes: statements with each step, a checkpoint with each transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, insert, select

from policies.evidence import Evidence
from policies.people import reads_as
from policies.statements import PARTS_OF, Kind, ReviewPredicate, Statement, value_digest
from policies.value import Value, sha256_digest
from policies.vouching import (
    admission_statement,
    evidence_statements,
    rejection_statement,
    review_statement,
)
from toolstore import logbook, tables
from toolstore.attest import seals
from toolstore.attest.checkpoints import sign_checkpoint
from toolstore.attest.envelopes import open_envelope
from toolstore.attest.errors import AttestationError
from toolstore.attest.guard import Guard, guard_of
from toolstore.blobs import as_bytes, read_blobs
from toolstore.errors import StoreDamagedError
from toolstore.events import EventDetail, EventType, Link
from toolstore.models import Event

ValueT = TypeVar("ValueT", bound=Value)


@dataclass(frozen=True, slots=True)
class _Signed:
    """One statement that there is about a version."""

    kind: Kind
    about: str
    """Digest of the evidence, the approval or the decision."""

    digest: str
    """Of the envelope."""

    review: ReviewPredicate | None


class Notary:
    """Vouches for one transaction of a store with keys."""

    def __init__(self, connection: Connection, guard: Guard, *, at: datetime, actor: str) -> None:
        self._connection = connection
        self._guard = guard
        self._at = at
        self._actor = actor
        self._root = guard.head(connection).states
        """Nothing is written on top of a log that is not the signed one."""

        self._rows: list[dict[str, object]] = []
        self._signed: dict[str, list[_Signed]] = {}
        self._evidence: dict[str, str] = {}

    def attest(
        self, digest: str, name: str, kind: EventType, reason: str, detail: EventDetail
    ) -> EventDetail:
        """Sign what a step says; the step's detail with the digests of the envelopes."""
        before = len(self._rows)
        if detail.evidence is not None:
            self._evidence[digest] = detail.evidence
            self._sign_evidence(digest, name, detail.evidence)
        if detail.proof is not None:
            self._sign_evidence(digest, name, detail.proof)
        if detail.approval is not None:
            statement = review_statement(detail.approval, name)
            about = value_digest(detail.approval)
            self._sign(digest, Kind.REVIEW, about, statement, person=detail.approval.principal)
        elif kind is EventType.REJECTED:
            self._sign_rejection(digest, name, reason, detail)
        if detail.decision is not None:
            statement = admission_statement(
                detail.decision, name=name, digest=digest, inputs=self._inputs(digest), at=self._at
            )
            self._sign(digest, Kind.ADMISSION, value_digest(detail.decision), statement)
        made = tuple(str(row["digest"]) for row in self._rows[before:])
        taken = detail.attestations or ()
        return detail.model_copy(update={"attestations": (*taken, *made)}) if made else detail

    def take_over(self, digest: str, about: str, contents: Iterable[bytes]) -> tuple[str, ...]:
        """Keep what counts here of what other hosts signed; the digests of that.

        That is what keys that are trusted here say of the version and the evidence `about` it.
        """
        taken = []
        for content in contents:
            try:
                found = open_envelope(content, self._guard.ring.find)
            except AttestationError:
                continue
            if (found.statement.digest, found.about) != (digest, about):
                continue
            known = any(each.digest == found.digest for each in self._of(digest))
            if found.kind in PARTS_OF and not known:
                self._keep(digest, _Signed(found.kind, found.about, found.digest, None), content)
                taken.append(found.digest)
        return tuple(taken)

    def complete(self, digest: str, name: str, details: Sequence[EventDetail]) -> tuple[str, ...]:
        """Sign what nobody signed of the steps of a version; digests of what was made."""
        before = len(self._rows)
        for detail in details:
            said = {each.about for each in self._of(digest)}
            if detail.evidence is not None:
                self._evidence[digest] = detail.evidence
            lacking = EventDetail(
                evidence=detail.evidence,
                approval=_unless(detail.approval, said),
                decision=_unless(detail.decision, said),
            )
            self.attest(digest, name, EventType.ATTESTED, "", lacking)
        return tuple(str(row["digest"]) for row in self._rows[before:])

    def keep(self) -> None:
        """Put down what was signed, for steps that somebody else writes."""
        if self._rows:
            self._connection.execute(insert(tables.attestation), self._rows)
            self._rows = []

    def finish(self, events: Sequence[Event]) -> None:
        """Keep what was signed, bring the map along, and sign where the log stands now."""
        self.keep()
        added: dict[str, list[str]] = defaultdict(list)
        for event in events:
            added[event.digest].append(event.hash)
        root = seals.write(self._connection, added, self._root)
        last = Link(sequence=events[-1].sequence, hash=events[-1].hash)
        self._guard.written = self._guard.known = sign_checkpoint(
            self._connection, self._guard.ring, last, root, self._at
        )

    def _sign_evidence(self, digest: str, name: str, evidence_digest: str) -> None:
        if any(each.about == evidence_digest for each in self._of(digest)):
            return
        content = read_blobs(self._connection, [evidence_digest]).get(evidence_digest)
        if content is None:
            raise StoreDamagedError(f"the bytes of {evidence_digest} are missing")
        evidence = Evidence.model_validate_json(content)
        said = evidence_statements(evidence, evidence_digest, name, at=self._at)
        for kind, statement in said:
            self._sign(digest, kind, evidence_digest, statement)

    def _sign_rejection(self, digest: str, name: str, reason: str, detail: EventDetail) -> None:
        statement = rejection_statement(
            name=name,
            digest=digest,
            principal=self._actor,
            reason=reason,
            at=self._at,
            shown=detail.shown or "",
        )
        about = sha256_digest(reason.encode())
        self._sign(digest, Kind.REVIEW, about, statement, person=self._actor)

    def _sign(
        self,
        digest: str,
        kind: Kind,
        about: str,
        statement: Statement,
        *,
        person: str | None = None,
    ) -> None:
        content = self._guard.ring.sign(statement, kind, person=person)
        envelope = sha256_digest(content)
        if any(each.digest == envelope for each in self._of(digest)):
            return  # word for word the same at the same time
        review = None
        if kind is Kind.REVIEW:
            review = ReviewPredicate.model_validate(statement.predicate)
        self._keep(digest, _Signed(kind, about, envelope, review), content)

    def _keep(self, digest: str, signed: _Signed, content: bytes) -> None:
        self._of(digest).append(signed)
        self._rows.append(
            {
                "digest": signed.digest,
                "version": digest,
                "kind": signed.kind.value,
                "about": signed.about,
                "envelope": content,
            }
        )

    def _inputs(self, digest: str) -> list[tuple[Kind, str]]:
        """What a decision rests on.

        That is what was said of the present evidence, and each person's last yes while it counts.
        """
        evidence = self._evidence_of(digest)
        checks = [
            (each.kind, each.digest)
            for each in self._of(digest)
            if each.kind not in {Kind.REVIEW, Kind.ADMISSION} and each.about == evidence
        ]
        last: dict[str, _Signed] = {}
        for each in self._of(digest):
            if each.review is not None:
                held = last.get(reads_as(each.review.principal))
                before = held.review.reviewed_at if held and held.review else None
                if before is None or before <= each.review.reviewed_at:
                    last[reads_as(each.review.principal)] = each
        reviews = [
            (each.kind, each.digest)
            for each in last.values()
            if each.review is not None
            and each.review.vote == "approve"
            and (each.review.expires_at is None or each.review.expires_at > self._at)
        ]
        return [*checks, *reviews]

    def _of(self, digest: str) -> list[_Signed]:
        """What is signed about a version so far; what the store has is verified."""
        found = self._signed.get(digest)
        if found is None:
            table = tables.attestation.c
            query = select(table.envelope).where(table.version == digest)
            opened = map(self._opened, map(as_bytes, self._connection.scalars(query)))
            found = self._signed[digest] = [each for each in opened if each is not None]
        return found

    def _opened(self, content: bytes) -> _Signed | None:
        """What an envelope says; None for one that does not count, which the next load refuses."""
        try:
            found = open_envelope(content, self._guard.ring.find)
        except AttestationError:
            return None
        said = found.predicate
        review = said if isinstance(said, ReviewPredicate) else None
        return _Signed(found.kind, found.about, found.digest, review)

    def _evidence_of(self, digest: str) -> str | None:
        """The evidence that a version stands on, after what is being written."""
        if digest not in self._evidence:
            for event in logbook.events(self._connection, tables.event.c.version == digest):
                found = EventDetail.model_validate_json(event.detail).evidence
                if found is not None:
                    self._evidence[digest] = found
        return self._evidence.get(digest)


def _unless(value: ValueT | None, said: set[str]) -> ValueT | None:
    """`value`, unless somebody signed it."""
    return None if value is None or value_digest(value) in said else value


def notary_of(connection: Connection, *, at: datetime, actor: str) -> Notary | None:
    """Who vouches for what is written in this transaction; None in a store without keys.

    Raises:
        AttestationError: the log is not the one that was signed.
    """
    guard = guard_of(connection)
    return None if guard is None else Notary(connection, guard, at=at, actor=actor)

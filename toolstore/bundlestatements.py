"""What the signed statements of a bundle say, and what of it counts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from policies.statements import (
    Admission,
    Check,
    EvidencePredicate,
    Kind,
    ReviewPredicate,
    checks_of,
    value_digest,
)
from policies.value import JsonObject
from toolstore.attest.envelopes import Envelope
from toolstore.bundle import document_digest
from toolstore.bundlereader import BundleReading
from toolstore.bundlereport import Line, Standing

Said = tuple[Standing, str]


def statement_lines(reading: BundleReading) -> Iterator[Line]:
    """A line a statement, and one for each part of the evidence that nobody signed."""
    opened: list[Envelope] = []
    for number, sealed in enumerate(reading.bundle.envelopes, 1):
        found = reading.open(sealed, f"statement {number}")
        if isinstance(found, Line):
            yield found
        else:
            opened.append(found)
    yield from _opened_lines(reading, opened)


def _opened_lines(reading: BundleReading, opened: Sequence[Envelope]) -> Iterator[Line]:
    decisions = [value_digest(d.decision) for d in reading.details if d.decision is not None]
    approvals = {value_digest(d.approval) for d in reading.details if d.approval is not None}
    proofs = {each.proof for each in reading.details if each.proof is not None}
    vouched: set[Check] = set()
    for envelope in opened:
        standing, detail = Standing.BROKEN, "it is about another version"
        if envelope.statement.digest == reading.bundle.digest:
            match envelope.predicate:
                case EvidencePredicate() as predicate:
                    about = reading.bundle.evidence_digest
                    standing, detail = _about_evidence(predicate, about, proofs)
                    if predicate.evidence.sha256 == about:
                        vouched.update(predicate.parts)
                case ReviewPredicate() as predicate:
                    standing, detail = _about_review(predicate, approvals)
                case Admission() as predicate:
                    standing, detail = _about_admission(predicate, decisions)
                case _:
                    detail = "it is not about a version"
        yield reading.line(envelope.kind.value, envelope, standing, detail)
    for check in sorted(checks_of(reading.evidence) - vouched):
        missing = "nobody signed this part of the evidence"
        yield Line(part=check.value, standing=Standing.MISSING, detail=missing)


def seal_line(reading: BundleReading, document: JsonObject) -> Line:
    """The exporter's word on every byte of the file."""
    sealed = reading.bundle.seal
    if sealed is None:
        missing = "nobody signed the file as a whole"
        return Line(part="seal", standing=Standing.MISSING, detail=missing)
    envelope = reading.open(sealed, "seal")
    if isinstance(envelope, Line):
        return envelope
    standing, detail = Standing.HOLDS, "every byte of the file is as it was exported"
    if envelope.kind is not Kind.BUNDLE:
        standing, detail = Standing.BROKEN, "what stands in its place is no seal"
    elif envelope.statement.digest != document_digest(document):
        standing, detail = Standing.BROKEN, "the file is not the one that was sealed"
    return reading.line("seal", envelope, standing, detail)


def _about_evidence(
    predicate: EvidencePredicate, evidence_digest: str, proofs: Collection[str]
) -> Said:
    """What the linter or the sandbox said."""
    parts = (f"{check.value} {part.result.value}" for check, part in predicate.parts.items())
    words = f"{', '.join(parts).lower()}, by {predicate.producer}"
    if predicate.evidence.sha256 in proofs:
        return (
            Standing.HOLDS,
            f"{words}; a further proof; its evidence is not in this file",
        )
    if predicate.evidence.sha256 != evidence_digest:
        return Standing.ASIDE, f"{words}; on earlier evidence that is not in this file"
    return Standing.HOLDS, words


def _about_review(predicate: ReviewPredicate, approvals: Collection[str]) -> Said:
    """What a person said."""
    words = f"{predicate.principal}: {predicate.vote}"
    if predicate.scope:
        words += f" for {predicate.scope}"
    if predicate.vote != "approve" or predicate.said.sha256 not in approvals:
        return Standing.ASIDE, words
    if predicate.expires_at is not None:
        words += f", until {predicate.expires_at:%Y-%m-%d %H:%M}"
    return Standing.HOLDS, words


def _about_admission(predicate: Admission, decisions: Sequence[str]) -> Said:
    """What the policy said."""
    words = (
        f"{'admitted' if predicate.result == 'PASSED' else 'not admitted'} under "
        f"{predicate.policy.sha256[:19]}…, on {len(predicate.inputs)} statement(s)"
    )
    if predicate.decision.sha256 not in decisions:
        return Standing.BROKEN, f"{words}; the log has no such decision"
    if predicate.decision.sha256 not in decisions[-1:]:
        return Standing.ASIDE, f"{words}; decided again later"
    return (Standing.HOLDS if predicate.result == "PASSED" else Standing.REFUSED), words

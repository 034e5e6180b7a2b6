"""The chain of one version: digest, evidence, decision, policy, each link signed. Pure.

The log says which envelopes there are (`EventDetail.attestations`), and is sealed by the signed
checkpoint; the envelopes say who vouches for the evidence, the approvals and the decisions that
the log holds. Anything missing, added, altered or put beside another version breaks it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from policies.evidence import Evidence
from policies.signatures import SignatureSettings
from policies.statements import (
    Admission,
    Check,
    EvidencePredicate,
    Kind,
    Result,
    ReviewPredicate,
    checks_of,
    value_digest,
)
from policies.value import sha256_digest
from toolstore.attest.envelopes import Envelope, KeyFinder, open_envelope
from toolstore.attest.errors import AttestationError, Flaw, NotInForceError, UnsignedError
from toolstore.events import EventDetail
from toolstore.models import Event, Lifecycle

RUNNABLE: Final = frozenset({Lifecycle.APPROVED, Lifecycle.DEPRECATED})
"""States in which a version can be called, so that a signed yes must stand behind it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the store has about one version; the log's part of it is verified already."""

    ref: str
    digest: str
    events: Sequence[Event]
    details: Sequence[EventDetail]
    evidence: Evidence
    """What it stands on now."""

    evidence_digest: str
    envelopes: Mapping[str, bytes]
    """As the table has them, by the digest they are kept under."""

    @property
    def listed(self) -> tuple[str, ...]:
        """The envelopes that the log says there are, in order."""
        return tuple(found for detail in self.details for found in detail.attestations or ())


@dataclass(frozen=True, slots=True)
class Chain:
    """The verified statements about one version."""

    kept: Kept
    envelopes: tuple[Envelope, ...]
    """In the order of the log."""

    def of(self, kind: Kind) -> tuple[Envelope, ...]:
        """Those of one kind."""
        return tuple(each for each in self.envelopes if each.kind is kind)


def read_chain(kept: Kept, find_key: KeyFinder) -> Chain:
    """Verify every statement about a version, and that they belong together.

    Raises:
        UnsignedError: the version was kept without signatures.
        AttestationError: a statement is missing, altered, of another version, by the wrong role
            or by an unknown key, or the links do not hold.
    """
    chain = Chain(kept, _opened(kept, find_key))
    _check_evidence(chain)
    _check_reviews(chain)
    _check_decisions(chain)
    return chain


def check_in_force(chain: Chain, wanted: SignatureSettings, at: datetime) -> None:
    """Refuse a version whose statements no longer count, or are fewer than the policy wants.

    Raises:
        NotInForceError: an approval or the evidence is too old, or keys are missing.
    """
    summary = _last_admission(chain)
    inputs = {each.sha256 for each in _admission(summary).inputs} if summary else set()
    people: set[str] = set()
    signed: dict[Check, set[str]] = {}
    for envelope in chain.envelopes:
        if envelope.digest not in inputs:
            continue
        if isinstance(envelope.predicate, ReviewPredicate):
            signed.setdefault(Check.REVIEW, set()).add(envelope.key.keyid)
            _check_not_expired(chain.kept.ref, envelope.predicate, at)
            if envelope.key.person == envelope.predicate.principal:
                people.add(envelope.predicate.principal)
        elif isinstance(envelope.predicate, EvidencePredicate):
            for check in envelope.predicate.parts:
                signed.setdefault(check, set()).add(envelope.key.keyid)
            age = at - envelope.predicate.produced_at
            if wanted.evidence_days and age > timedelta(days=wanted.evidence_days):
                raise NotInForceError(
                    chain.kept.ref,
                    f"its evidence is {age.days} days old, and the policy lets it count for "
                    f"{wanted.evidence_days}; define the tool again to prove it anew",
                    Flaw.EXPIRED,
                )
    missing = wanted.shortfall(signed, people)
    if missing:
        raise NotInForceError(chain.kept.ref, "; ".join(missing), Flaw.MISSING)


def _opened(kept: Kept, find_key: KeyFinder) -> tuple[Envelope, ...]:
    listed = kept.listed
    if not listed and not kept.envelopes:
        raise UnsignedError(f"{kept.ref} has no signed evidence")
    stray = kept.envelopes.keys() - set(listed)
    if stray:
        raise AttestationError(
            f"{kept.ref}: a statement ({min(stray)[:19]}…) is kept beside it that the log does "
            "not know",
            Flaw.CHAIN,
        )
    return tuple(_open(kept, digest, find_key) for digest in dict.fromkeys(listed))


def _open(kept: Kept, digest: str, find_key: KeyFinder) -> Envelope:
    content = kept.envelopes.get(digest)
    if content is None:
        raise AttestationError(f"{kept.ref}: the statement {digest[:19]}… is missing", Flaw.MISSING)
    if sha256_digest(content) != digest:
        raise AttestationError(
            f"{kept.ref}: the statement {digest[:19]}… was altered", Flaw.ALTERED
        )
    try:
        envelope = open_envelope(content, find_key)
    except AttestationError as error:
        raise AttestationError(f"{kept.ref}: {error.what}", error.flaw) from error
    about = envelope.statement.digest
    if about != kept.digest:
        raise AttestationError(
            f"{kept.ref}: a statement about {envelope.kind.value} is about {about[:19]}…, and "
            f"this is {kept.digest[:19]}…",
            Flaw.WRONG_SUBJECT,
        )
    return envelope


def _check_evidence(chain: Chain) -> None:
    """Each kind of check that the evidence holds is vouched for, on these very bytes."""
    missing = checks_of(chain.kept.evidence) - _vouched(chain, chain.envelopes)
    if missing:
        names = ", ".join(sorted(check.value for check in missing))
        raise AttestationError(
            f"{chain.kept.ref}: nobody vouches for {names} of its evidence", Flaw.MISSING
        )


def _vouched(chain: Chain, envelopes: Iterable[Envelope]) -> set[Check]:
    """What `envelopes` say was done and went well, of the present evidence."""
    vouched: set[Check] = set()
    for envelope in envelopes:
        predicate = envelope.predicate
        if not isinstance(predicate, EvidencePredicate):
            continue
        if predicate.evidence.sha256 != chain.kept.evidence_digest:
            continue
        for check, part in predicate.parts.items():
            if part.result is Result.FAILED:
                raise AttestationError(
                    f"{chain.kept.ref}: {check.value} is signed as failed", Flaw.CHAIN
                )
            vouched.add(check)
    return vouched


def _check_reviews(chain: Chain) -> None:
    """Each yes that the log holds was signed as it stands there, by the one whom it names."""
    kept = chain.kept
    said: set[str] = set()
    for envelope in chain.of(Kind.REVIEW):
        predicate = envelope.predicate
        if not isinstance(predicate, ReviewPredicate):
            continue
        if envelope.key.person not in {None, predicate.principal}:
            raise AttestationError(
                f"{kept.ref}: what {predicate.principal} is said to have decided is signed with "
                f"the key of {envelope.key.person}",
                Flaw.WRONG_ROLE,
            )
        said.add(predicate.said.sha256)
    for detail in kept.details:
        approval = detail.approval
        if approval is not None and value_digest(approval) not in said:
            raise AttestationError(
                f"{kept.ref}: nobody signed the approval of {approval.principal}", Flaw.MISSING
            )


def _check_decisions(chain: Chain) -> None:
    """Each decision that the log holds was signed, under its policy, on statements that are here.

    A version that can be called needs a yes as the last one, resting on all that is vouched for.
    """
    kept = chain.kept
    by_decision = {_admission(each).decision.sha256: each for each in chain.of(Kind.ADMISSION)}
    here = {each.digest for each in chain.envelopes}
    last: Admission | None = None
    for event, detail in zip(kept.events, kept.details, strict=True):
        decision = detail.decision
        if decision is None:
            continue
        summary = by_decision.get(value_digest(decision))
        if summary is None:
            raise AttestationError(
                f"{kept.ref}: nobody signed the decision of event {event.sequence}", Flaw.MISSING
            )
        last = _admission(summary)
        under = {last.policy.sha256, decision.policy_digest, event.policy_digest}
        if len(under) > 1:
            raise AttestationError(
                f"{kept.ref}: the decision of event {event.sequence} names another policy than "
                "its signature",
                Flaw.CHAIN,
            )
        if not {each.sha256 for each in last.inputs} <= here:
            raise AttestationError(
                f"{kept.ref}: the decision of event {event.sequence} rests on a statement that is "
                "missing",
                Flaw.MISSING,
            )
        if (last.result == "PASSED") is not decision.allowed:
            raise AttestationError(
                f"{kept.ref}: the decision of event {event.sequence} says another thing than its "
                "signature",
                Flaw.CHAIN,
            )
    if kept.events[-1].to_state not in RUNNABLE:
        return
    if last is None or last.result != "PASSED":
        raise AttestationError(f"{kept.ref}: no signed decision admits it", Flaw.CHAIN)
    resting = {each.sha256 for each in last.inputs}
    rests_on = (each for each in chain.envelopes if each.digest in resting)
    if not checks_of(kept.evidence) <= _vouched(chain, rests_on):
        raise AttestationError(
            f"{kept.ref}: the decision that admits it does not rest on its evidence", Flaw.CHAIN
        )


def _check_not_expired(ref: str, review: ReviewPredicate, at: datetime) -> None:
    if review.expires_at is not None and at >= review.expires_at:
        raise NotInForceError(
            ref,
            f"the approval of {review.principal} ended on {review.expires_at.isoformat()}; "
            "it must be approved again",
            Flaw.EXPIRED,
        )


def _last_admission(chain: Chain) -> Envelope | None:
    """The summary of the decision that the log has last."""
    decisions = [detail.decision for detail in chain.kept.details if detail.decision is not None]
    if not decisions:
        return None
    wanted = value_digest(decisions[-1])
    matching = (
        each for each in chain.of(Kind.ADMISSION) if _admission(each).decision.sha256 == wanted
    )
    return next(matching, None)


def _admission(envelope: Envelope) -> Admission:
    predicate = envelope.predicate
    if not isinstance(predicate, Admission):
        raise AttestationError("a verification summary does not say what it must", Flaw.ALTERED)
    return predicate

"""The chain of one version: digest, evidence, decision, policy, each link signed. Pure.

The log says which envelopes there are (`EventDetail.attestations`), and is sealed by the signed
checkpoint; the envelopes say who vouches for the evidence, the approvals and the decisions that
the log holds. Anything missing, added, altered or put beside another version breaks it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from policies.decision import Decision
from policies.evidence import Evidence
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
from toolstore.attest.errors import AttestationError, Flaw, UnsignedError
from toolstore.events import EventDetail
from toolstore.models import Event, Lifecycle

_LAPSED: Final = frozenset({Flaw.UNKNOWN_KEY, Flaw.EXPIRED})
"""What a statement is that was believed once. A version that rests on it is refused; where it only
stood beside what the version rests on, it counts no more."""

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
    """In the order of the log; without those of further proofs that do not count any more."""

    admission: Admission | None = None
    """The summary of the decision that the log has last."""

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
    return replace(chain, admission=_check_decisions(chain))


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
    beside = {
        digest
        for detail in kept.details
        if detail.proof is not None
        for digest in detail.attestations or ()
    }
    opened = []
    for digest in dict.fromkeys(listed):
        try:
            opened.append(_open(kept, digest, find_key))
        except AttestationError as error:
            if digest not in beside or error.flaw not in _LAPSED:
                raise
    return tuple(opened)


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


def _check_decisions(chain: Chain) -> Admission | None:
    """Each decision that the log holds was signed, under its policy, on statements that are here.

    A version that can be called needs a yes as the last one, resting on all that is vouched for.
    Returns the signed summary of the last one: where the same was decided again, on more, the
    newest.
    """
    kept = chain.kept
    by_decision = {_admission(each).decision.sha256: each for each in chain.of(Kind.ADMISSION)}
    here = {each.digest for each in chain.envelopes}
    decided: Decision | None = None
    last: Admission | None = None
    for event, detail in zip(kept.events, kept.details, strict=True):
        decision = detail.decision
        if decision is None:
            continue
        if last is None or decision != decided:
            summary = by_decision.get(value_digest(decision))
            if summary is None:
                raise AttestationError(
                    f"{kept.ref}: nobody signed the decision of event {event.sequence}",
                    Flaw.MISSING,
                )
            last, decided = _admission(summary), decision
        _check_decision(kept, event, decision, last, here)
    if kept.events[-1].to_state in RUNNABLE:
        _check_admitted(chain, last)
    return last


def _check_decision(
    kept: Kept, event: Event, decision: Decision, signed: Admission, here: set[str]
) -> None:
    """One decision, as the log has it and as it was signed, is the same."""
    if {signed.policy.sha256, event.policy_digest} != {decision.policy_digest}:
        raise AttestationError(
            f"{kept.ref}: the decision of event {event.sequence} names another policy than "
            "its signature",
            Flaw.CHAIN,
        )
    if not {each.sha256 for each in signed.inputs} <= here:
        raise AttestationError(
            f"{kept.ref}: the decision of event {event.sequence} rests on a statement that is "
            "missing",
            Flaw.MISSING,
        )
    if (signed.result == "PASSED") is not decision.allowed:
        raise AttestationError(
            f"{kept.ref}: the decision of event {event.sequence} says another thing than its "
            "signature",
            Flaw.CHAIN,
        )


def _check_admitted(chain: Chain, last: Admission | None) -> None:
    """What can be called was admitted, on evidence that is vouched for."""
    kept = chain.kept
    if last is None or last.result != "PASSED":
        raise AttestationError(f"{kept.ref}: no signed decision admits it", Flaw.CHAIN)
    resting = {each.sha256 for each in last.inputs}
    rests_on = (each for each in chain.envelopes if each.digest in resting)
    if not checks_of(kept.evidence) <= _vouched(chain, rests_on):
        raise AttestationError(
            f"{kept.ref}: the decision that admits it does not rest on its evidence", Flaw.CHAIN
        )


def _admission(envelope: Envelope) -> Admission:
    predicate = envelope.predicate
    if not isinstance(predicate, Admission):
        raise AttestationError("a verification summary does not say what it must", Flaw.ALTERED)
    return predicate

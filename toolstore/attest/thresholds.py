"""Whether what vouches for a version counts now, and is enough for the policy. Pure.

Every statement is about the one digest. Those count that the last decision rests on, and those of
other hosts that proved the same version (`toolkiln tools prove`): each by the key of a host that
this store trusts, and a host that has given a role a new key is one host still.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from policies.evidence import TrialKind
from policies.people import reads_as
from policies.signatures import SignatureSettings
from policies.statements import (
    Check,
    EvidencePredicate,
    Result,
    ReviewPredicate,
    checks_of,
)
from toolstore.attest.chain import Chain
from toolstore.attest.envelopes import Envelope
from toolstore.attest.errors import Flaw, NotInForceError

_SKEW: Final = timedelta(minutes=10)
"""How far the clocks of two hosts may be apart."""

_ONCE: Final = frozenset({Check.REPLAY})
"""What is checked when a version is decided on and never again, so that it has no age."""


@dataclass(frozen=True, slots=True)
class _Said:
    """One check that somebody vouches for."""

    check: Check
    line: str
    """Of the key: see `TrustedKey.line`."""

    produced_at: datetime


def check_in_force(chain: Chain, wanted: SignatureSettings, at: datetime) -> None:
    """Refuse a version whose statements no longer count, or are fewer than the policy wants.

    Raises:
        NotInForceError: an approval or the evidence is too old, or keys are missing.
    """
    ref = chain.kept.ref
    reviews, evidence = _counting(chain)
    people: set[str] = set()
    signed: dict[Check, set[str]] = {}
    for envelope, review in reviews:
        _check_not_expired(ref, review, at)
        signed.setdefault(Check.REVIEW, set()).add(envelope.key.lineage)
        if envelope.key.person == review.principal:
            people.add(reads_as(review.principal))
    said = list(_said(evidence))
    fresh = [each for each in said if _is_fresh(each, wanted, at)]
    for each in fresh:
        signed.setdefault(each.check, set()).add(each.line)
    if len(fresh) < len(said):
        _check_renewed(chain, {each.check for each in fresh}, said, wanted, at)
    missing = wanted.shortfall(signed, people, without=_not_to_be_made(chain))
    if missing:
        raise NotInForceError(ref, "; ".join(missing), Flaw.MISSING)


_Reviews = list[tuple[Envelope, ReviewPredicate]]
_Evidence = list[tuple[Envelope, EvidencePredicate]]


def _counting(chain: Chain) -> tuple[_Reviews, _Evidence]:
    """The votes and the findings that the last decision rests on, and those that stand beside."""
    summary = chain.admission
    resting = {each.sha256 for each in summary.inputs} if summary else set[str]()
    beside = {detail.proof for detail in chain.kept.details if detail.proof is not None}
    reviews: _Reviews = []
    evidence: _Evidence = []
    for envelope in chain.envelopes:
        match envelope.predicate:
            case ReviewPredicate() as review if envelope.digest in resting:
                reviews.append((envelope, review))
            case EvidencePredicate() as found if (
                envelope.digest in resting or found.evidence.sha256 in beside
            ):
                evidence.append((envelope, found))
            case _:
                pass
    return reviews, evidence


def _said(evidence: Iterable[tuple[Envelope, EvidencePredicate]]) -> Iterator[_Said]:
    for envelope, predicate in evidence:
        for check, part in predicate.parts.items():
            if part.result is not Result.FAILED:
                yield _Said(check, envelope.key.lineage, predicate.produced_at)


def _is_fresh(said: _Said, wanted: SignatureSettings, at: datetime) -> bool:
    """Whether it is young enough; what is of tomorrow would stay so for ever."""
    if not wanted.evidence_days or said.check in _ONCE:
        return True
    return -_SKEW <= at - said.produced_at <= timedelta(days=wanted.evidence_days)


def _check_renewed(
    chain: Chain, fresh: set[Check], said: Iterable[_Said], wanted: SignatureSettings, at: datetime
) -> None:
    """Where some evidence does not count any more, other evidence must stand for all of it."""
    if checks_of(chain.kept.evidence) - _ONCE <= fresh:
        return
    latest = max(each.produced_at for each in said)
    if latest - at > _SKEW:
        problem = (
            f"its evidence is of {latest.isoformat()}, which is yet to come: see to the clocks"
        )
    else:
        problem = (
            f"its evidence is {(at - latest).days} days old, and the policy lets it count for "
            f"{wanted.evidence_days}"
        )
    again = f"`toolkiln tools prove {chain.kept.ref}` proves it anew"
    raise NotInForceError(chain.kept.ref, f"{problem}; {again}", Flaw.EXPIRED)


def _not_to_be_made(chain: Chain) -> frozenset[Check]:
    """What cannot be checked of this version: no arguments to generate, nothing to compare with."""
    kept = chain.kept
    without = set()
    birth = kept.details[0].birth if kept.details else None
    if birth is not None and birth.parent is None:
        without.add(Check.REPLAY)
    examples = kept.evidence.trials_of(TrialKind.EXAMPLE)
    if examples and not any(trial.arguments for trial in examples):
        without.add(Check.PROPERTIES)
    return frozenset(without)


def _check_not_expired(ref: str, review: ReviewPredicate, at: datetime) -> None:
    if review.expires_at is not None and at >= review.expires_at:
        raise NotInForceError(
            ref,
            f"the approval of {review.principal} ended on {review.expires_at.isoformat()}; "
            "it must be approved again",
            Flaw.EXPIRED,
        )

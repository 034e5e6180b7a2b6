"""DSSE envelopes around statements: the one adapter to securesystemslib's signatures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import ValidationError

from policies.statements import (
    PAYLOAD_TYPE,
    ROLE_OF,
    Admission,
    BundlePredicate,
    CheckpointPredicate,
    EvidencePredicate,
    Kind,
    ReviewPredicate,
    Statement,
    Wire,
)
from policies.value import canonical_json, sha256_digest
from toolstore.attest.errors import AttestationError, Flaw
from toolstore.attest.trust import TrustedKey

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope as Dsse
    from securesystemslib.signer import Key, Signature, Signer

_KEPT = 1024
"""Envelopes of about 300 versions, a few kilobytes each."""

KeyFinder = Callable[[str], TrustedKey | None]


@dataclass(frozen=True, slots=True)
class Envelope:
    """A statement that was signed by a trusted key, in its role, while the key was in use."""

    digest: str
    """Of the bytes as kept."""

    kind: Kind
    statement: Statement
    key: TrustedKey
    predicate: Wire


def sign_statement(statement: Statement, signer: Signer) -> bytes:
    """The envelope of `statement`, with one signature, as bytes to keep."""
    from securesystemslib.dsse import Envelope as Dsse  # noqa: PLC0415 - takes time to import

    envelope = Dsse(statement.to_bytes(), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return canonical_json(envelope.to_dict())


def open_envelope(content: bytes, find_key: KeyFinder) -> Envelope:
    """The statement in an envelope, verified: signature, key, role and time.

    The same bytes and the same trusted key give the same answer, so it is worked out once.

    Raises:
        AttestationError: it is no envelope, or its signature does not count.
    """
    _, signature = _parsed(content)
    key = find_key(signature.keyid)
    if key is None:
        raise AttestationError(
            f"a statement is signed with the key {signature.keyid[:16]}…, which nobody here "
            "trusts (`toolkiln store keys list` shows those that are)",
            Flaw.UNKNOWN_KEY,
        )
    return _verified(content, key)


@lru_cache(maxsize=_KEPT)
def _parsed(content: bytes) -> tuple[Dsse, Signature]:
    from securesystemslib.dsse import Envelope as Dsse  # noqa: PLC0415 - takes time to import
    from securesystemslib.exceptions import FormatError  # noqa: PLC0415 - same

    try:
        dsse = Dsse.from_dict(json.loads(content))
        (signature,) = dsse.signatures.values()
    except (FormatError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AttestationError("an envelope cannot be read", Flaw.ALTERED) from error
    return dsse, signature


@lru_cache(maxsize=_KEPT)
def _verified(content: bytes, key: TrustedKey) -> Envelope:
    from securesystemslib.exceptions import UnverifiedSignatureError  # noqa: PLC0415 - same

    dsse, signature = _parsed(content)
    if dsse.payload_type != PAYLOAD_TYPE:
        raise AttestationError(
            f"an envelope holds {dsse.payload_type!r:.60}, and not a statement", Flaw.ALTERED
        )
    try:
        _public_key(key).verify_signature(signature, dsse.pae())
    except UnverifiedSignatureError as error:
        raise AttestationError(
            f"a statement is not what the key {key.keyid[:16]}… ({key.role.value}) signed",
            Flaw.ALTERED,
        ) from error
    return _read(content, dsse.payload, key)


def _read(content: bytes, payload: bytes, key: TrustedKey) -> Envelope:
    try:
        statement = Statement.model_validate_json(payload)
    except ValidationError as error:
        raise AttestationError("what was signed is no statement", Flaw.ALTERED) from error
    kind = statement.kind
    if kind is None:
        raise AttestationError(
            f"a statement is of the unknown type {statement.predicate_type!r:.80}", Flaw.ALTERED
        )
    if ROLE_OF[kind] is not key.role:
        raise AttestationError(
            f"a statement about {kind.value} is signed by the {key.role.value}, "
            f"and only the {ROLE_OF[kind].value} may say that",
            Flaw.WRONG_ROLE,
        )
    predicate, at = _predicate(kind, statement)
    if not key.in_use(at):
        raise AttestationError(
            f"a statement about {kind.value} is of {at.isoformat()}, when the key "
            f"{key.keyid[:16]}… was not in use",
            Flaw.EXPIRED,
        )
    return Envelope(
        digest=sha256_digest(content),
        kind=kind,
        statement=statement,
        key=key,
        predicate=predicate,
    )


def _predicate(kind: Kind, statement: Statement) -> tuple[Wire, datetime]:
    """What is said, and when."""
    try:
        match kind:
            case Kind.REVIEW:
                review = ReviewPredicate.model_validate(statement.predicate)
                return review, review.reviewed_at
            case Kind.ADMISSION:
                admission = Admission.model_validate(statement.predicate)
                return admission, admission.verified_at
            case Kind.CHECKPOINT:
                checkpoint = CheckpointPredicate.model_validate(statement.predicate)
                return checkpoint, checkpoint.at
            case Kind.BUNDLE:
                bundle = BundlePredicate.model_validate(statement.predicate)
                return bundle, bundle.sealed_at
            case _:
                found = EvidencePredicate.model_validate(statement.predicate)
                return found, found.signed_at
    except ValidationError as error:
        raise AttestationError(
            f"a statement about {kind.value} does not say what it must", Flaw.ALTERED
        ) from error


def _public_key(key: TrustedKey) -> Key:
    return _parsed_key(key.keyid, canonical_json(key.public))


@lru_cache(maxsize=256)
def _parsed_key(keyid: str, public: bytes) -> Key:
    from securesystemslib.signer import Key  # noqa: PLC0415 - takes time to import

    return Key.from_dict(keyid, json.loads(public))

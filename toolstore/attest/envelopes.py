"""DSSE envelopes around statements: written in one byte form, and opened in no other.

A statement in another spelling (fields in another order or twice, other Base64) has the same
signature and another digest; here one statement is one row of bytes.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from pydantic import JsonValue, ValidationError
from pydantic_core import from_json, to_json

from policies.statements import (
    PARTS_OF,
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
from policies.value import JsonObject, sha256_digest
from toolstore.attest.errors import AttestationError, Flaw
from toolstore.attest.publickeys import is_signed_by
from toolstore.attest.trust import TrustedKey

MAX_ENVELOPE_BYTES: Final = 1 << 15
"""Ten times what a statement has with the longest names that there are."""

_KEPT = 1024
"""Envelopes of about 300 versions, a few kilobytes each."""

_TEMPLATE: Final = b'{"payload":"%b","payloadType":"%b","signatures":[{"keyid":"%b","sig":"%b"}]}'
"""Canonical JSON of an envelope with one signature."""

_AROUND: Final = tuple((_TEMPLATE % (b"", b"", b"", b"")).split(b'"'))
_PLACES: Final = (3, 7, 13, 17)
"""Where, among what stands between quotation marks, the four values of an envelope are."""

_PLAIN: Final = re.compile(rb"[ !#-\[\]-~]{1,100}")
_KEYID: Final = re.compile(rb"[0-9a-f]{64}")

KeyFinder = Callable[[str], TrustedKey | None]
Sign = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Envelope:
    """A statement that was signed by a trusted key, in its role, while the key was in use."""

    digest: str
    """Of the bytes as kept."""

    kind: Kind
    statement: Statement
    key: TrustedKey
    predicate: Wire

    @property
    def about(self) -> str:
        """Digest of what it speaks of beside its subject: evidence, a vote, a decision."""
        match self.predicate:
            case EvidencePredicate(evidence=spoken_of):
                return spoken_of.sha256
            case ReviewPredicate(said=spoken_of):
                return spoken_of.sha256
            case Admission(decision=spoken_of):
                return spoken_of.sha256
            case _:
                return ""


def seal_statement(statement: Statement, keyid: str, sign: Sign) -> bytes:
    """The envelope of `statement`, with one signature, as bytes to keep.

    Raises:
        ValueError: it is larger than what is ever opened.
    """
    payload = statement.to_bytes()
    signature = sign(_signed_bytes(PAYLOAD_TYPE.encode(), payload))
    content = _TEMPLATE % (
        b64encode(payload),
        PAYLOAD_TYPE.encode(),
        keyid.encode(),
        b64encode(signature),
    )
    if len(content) > MAX_ENVELOPE_BYTES:
        raise ValueError(f"a statement may have {MAX_ENVELOPE_BYTES} bytes, not {len(content)}")
    return content


def open_envelope(content: bytes, find_key: KeyFinder) -> Envelope:
    """The statement in an envelope, verified: signature, key, role and time.

    The same bytes and the same trusted key give the same answer, so it is worked out once.

    Raises:
        AttestationError: it is no envelope, or its signature does not count.
    """
    keyid = _taken_apart(content).keyid
    key = find_key(keyid)
    if key is None:
        raise AttestationError(
            f"a statement is signed with the key {keyid[:16]}…, which nobody here "
            "trusts (`toolkiln store keys list` shows those that are)",
            Flaw.UNKNOWN_KEY,
        )
    return _verified(content, key)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What an envelope is made of."""

    payload: bytes
    payload_type: bytes
    keyid: str
    signature: bytes


@lru_cache(maxsize=_KEPT)
def _taken_apart(content: bytes) -> _Parts:
    if len(content) > MAX_ENVELOPE_BYTES:
        raise AttestationError(
            f"an envelope has {len(content)} bytes, and none has more than {MAX_ENVELOPE_BYTES}",
            Flaw.ALTERED,
        )
    pieces = content.split(b'"')
    values = [pieces[place] for place in _PLACES] if len(pieces) == len(_AROUND) else []
    for place in _PLACES if values else ():
        pieces[place] = b""
    if not values or tuple(pieces) != _AROUND:
        raise _unreadable("it is not DSSE with one signature, in canonical JSON")
    payload, payload_type, keyid, signature = values
    if not _PLAIN.fullmatch(payload_type) or not _KEYID.fullmatch(keyid):
        raise _unreadable("its type or the identity of its key is none")
    return _Parts(_decoded(payload), payload_type, keyid.decode(), _decoded(signature))


def _unreadable(problem: str) -> AttestationError:
    return AttestationError(f"an envelope cannot be read: {problem}", Flaw.ALTERED)


def _decoded(text: bytes) -> bytes:
    """The bytes that stand in Base64; in its one spelling, for the last letter has idle bits."""
    try:
        decoded = b64decode(text, validate=True)
    except ValueError as error:
        raise _unreadable("it holds what is no Base64") from error
    if b64encode(decoded) != text:
        raise _unreadable("its Base64 is in another spelling")
    return decoded


def _signed_bytes(payload_type: bytes, payload: bytes) -> bytes:
    """What the signature is over: DSSE's encoding of type and payload."""
    return b"DSSEv1 %d %b %d %b" % (len(payload_type), payload_type, len(payload), payload)


@lru_cache(maxsize=_KEPT)
def _verified(content: bytes, key: TrustedKey) -> Envelope:
    parts = _taken_apart(content)
    if parts.payload_type != PAYLOAD_TYPE.encode():
        raise AttestationError(
            f"an envelope holds {parts.payload_type.decode()!r:.60}, and not a statement",
            Flaw.ALTERED,
        )
    if not is_signed_by(key, parts.signature, _signed_bytes(parts.payload_type, parts.payload)):
        raise AttestationError(
            f"a statement is not what the key {key.keyid[:16]}… ({key.role.value}) signed",
            Flaw.ALTERED,
        )
    return _read(content, parts.payload, key)


def _read(content: bytes, payload: bytes, key: TrustedKey) -> Envelope:
    try:
        statement = Statement.model_validate(_document(payload))
    except (ValueError, RecursionError) as error:
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


def _document(payload: bytes) -> JsonValue:
    """The JSON in `payload`, of which no reader takes another value than we do.

    Raises:
        ValueError: it is none, or a field is there twice.
    """
    document: JsonValue = from_json(payload)
    if to_json(document) == payload:  # nothing was left out; this is ten times as fast
        return document
    found: JsonValue = json.loads(payload, object_pairs_hook=_each_once)
    return found


def _each_once(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    """An object with these fields.

    Raises:
        ValueError: a field is there twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is there twice")
    return found


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
                return _evidence(kind, statement)
    except ValidationError as error:
        raise AttestationError(
            f"a statement about {kind.value} does not say what it must", Flaw.ALTERED
        ) from error


def _evidence(kind: Kind, statement: Statement) -> tuple[EvidencePredicate, datetime]:
    found = EvidencePredicate.model_validate(statement.predicate)
    strange = found.parts.keys() - PARTS_OF[kind]
    if strange:
        raise AttestationError(
            f"the {ROLE_OF[kind].value} speaks of {min(strange).value}, which is not its to say",
            Flaw.WRONG_ROLE,
        )
    return found, found.signed_at

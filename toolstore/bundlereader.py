"""Who reads a bundle: the keys that they go by, and what they have verified so far.

A key that the reader trusts counts before what the file says of it. One that the reader was told
not to trust counts for nothing, whoever brings it. Any other that the file brings makes its
signatures checkable, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from policies.evidence import Evidence
from policies.statements import (
    Admission,
    BundlePredicate,
    EvidencePredicate,
    ReviewPredicate,
)
from toolstore.attest.envelopes import Envelope, open_envelope
from toolstore.attest.errors import AttestationError
from toolstore.attest.trust import TrustedKey
from toolstore.bundle import SealedStatement, SignedBundle
from toolstore.bundlereport import Line, Standing
from toolstore.events import EventDetail

_PLAIN_KEYS: Final = frozenset({"ed25519", "ecdsa", "rsa", "ml-dsa"})
"""Types of keys that a bundle may bring: those that are checked without a program or a network."""

_MAX_PUBLIC_CHARACTERS: Final = 8_192


@dataclass(frozen=True, slots=True)
class Trust:
    """The keys that a reader has an opinion about."""

    keys: Mapping[str, TrustedKey]
    """Those that they trust, by their identity."""

    refused: frozenset[str] = frozenset()
    """Identities of those that they were told not to trust."""


@dataclass(frozen=True, slots=True)
class BundleReading:
    """A bundle of which the content is verified, read by somebody at some time."""

    bundle: SignedBundle
    evidence: Evidence
    details: tuple[EventDetail, ...]
    trust: Trust
    at: datetime

    def key(self, keyid: str) -> TrustedKey | None:
        """The key that is meant, if it may be used at all."""
        if keyid in self.trust.refused:
            return None
        found = self.trust.keys.get(keyid)
        if found is not None:
            return found
        mine = (key for key in self.bundle.keys if key.keyid == keyid and _is_plain(key))
        return next(mine, None)

    def open(self, sealed: SealedStatement, part: str) -> Envelope | Line:
        """The statement in an envelope, or a line that says why it does not hold."""
        keyid = sealed.signatures[0].keyid
        key = self.key(keyid)
        standing, problem = Standing.BROKEN, ""
        if not sealed.is_canonical:
            problem = "its Base64 is not in the form that was written"
        elif keyid in self.trust.refused:
            problem = f"it is signed with the key {keyid[:16]}…, which is not to be trusted here"
        elif key is None:
            standing = Standing.MISSING
            problem = f"it is signed with the key {keyid[:16]}…, which the file does not have"
        else:
            try:
                return open_envelope(sealed.content, self.key)
            except AttestationError as error:
                problem = error.what
            except Exception as error:  # noqa: BLE001 - a key of others may break any library
                problem = f"its key or signature cannot be read ({type(error).__name__})"
        return Line(
            part=part,
            standing=standing,
            detail=problem,
            role=None if key is None else key.role,
            keyid=keyid,
            trusted=keyid in self.trust.keys,
        )

    def line(self, part: str, envelope: Envelope, standing: Standing, detail: str) -> Line:
        """The line of a statement whose signature holds."""
        key = envelope.key
        trusted = key.keyid in self.trust.keys
        if standing is Standing.HOLDS and not trusted:
            standing = Standing.UNTRUSTED
        return Line(
            part=part,
            standing=standing,
            detail=detail,
            role=key.role,
            keyid=key.keyid,
            person=key.person,
            trusted=trusted,
            at=_said_at(envelope),
        )


def _is_plain(key: TrustedKey) -> bool:
    """Whether the key can be used without starting a program or asking a server."""
    scheme, value = key.public.get("scheme"), key.public.get("keyval")
    public = value.get("public") if isinstance(value, dict) else None
    return (
        key.public.get("keytype") in _PLAIN_KEYS
        and isinstance(scheme, str)
        and not scheme.startswith("pgp")
        and isinstance(public, str)
        and len(public) <= _MAX_PUBLIC_CHARACTERS
    )


def _said_at(envelope: Envelope) -> datetime | None:
    match envelope.predicate:
        case EvidencePredicate() as predicate:
            return predicate.signed_at
        case ReviewPredicate() as predicate:
            return predicate.reviewed_at
        case Admission() as predicate:
            return predicate.verified_at
        case BundlePredicate() as seal:
            return seal.sealed_at
        case _:
            return None

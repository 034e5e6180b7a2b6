"""Public keys as securesystemslib writes them: made, read from PEM, held to one form, used.

One key has one form, so that it has one identity: counted twice in two spellings, it would meet a
threshold of two by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from policies.value import JsonObject, canonical_json
from toolstore.attest.trust import TrustedKey

if TYPE_CHECKING:
    from securesystemslib.signer import Key

SCHEMES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "ed25519": frozenset({"ed25519"}),
        "ecdsa": frozenset({"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"}),
        "rsa": frozenset(
            f"{padding}-sha{bits}"
            for padding in ("rsassa-pss", "rsa-pkcs1v15")
            for bits in (256, 384, 512)
        ),
        "ml-dsa": frozenset({"ml-dsa-44/1", "ml-dsa-65/1", "ml-dsa-87/1"}),
    }
)
"""The types of keys and their schemes that are checked without a program or a network."""

_MAX_PUBLIC_CHARACTERS: Final = 8_192
"""Of one key; the largest of the schemes above has a third of that."""

_LEAST_RSA_BITS: Final = 2_048


def check_keys(keys: Iterable[TrustedKey]) -> None:
    """See that each key can be used, and that none is there in two spellings.

    Raises:
        ValueError: one cannot be trusted as it is written.
    """
    seen: dict[str, str] = {}
    for key in keys:
        problem = form_problem(key.public)
        if problem is not None:
            raise ValueError(f"the key {key.keyid[:16]}… {problem}")
        material = key.material
        if seen.setdefault(material, key.keyid) != key.keyid:
            raise ValueError(
                f"the keys {seen[material][:16]}… and {key.keyid[:16]}… are one key under two "
                "schemes; it would count as two"
            )


def form_problem(public: JsonObject) -> str | None:
    """Why `public` is no key in the one form of its type; None where it is."""
    keytype, scheme = public.get("keytype"), public.get("scheme")
    if not isinstance(keytype, str) or scheme not in SCHEMES.get(keytype, ()):
        known = ", ".join(sorted(SCHEMES))
        return f"is of the type {keytype!r:.40} and scheme {scheme!r:.40}; known are {known}"
    value = public.get("keyval")
    text = value.get("public") if isinstance(value, dict) else None
    if not isinstance(text, str) or len(text) > _MAX_PUBLIC_CHARACTERS:
        return "has no readable value"
    try:
        normal = _normal(public)
    except Exception as error:  # noqa: BLE001 - libraries raise what they like about a bad key
        return f"cannot be read as {keytype} {scheme}: {str(error) or type(error).__name__}"
    if normal != public:
        return "is not written in the form of its type, so it would have two identities"
    return None


def public_of_pem(content: bytes) -> JsonObject:
    """The public key in a PEM file.

    Raises:
        ValueError: there is none, or one of an unknown type.
    """
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - takes time
        load_pem_public_key,
    )
    from securesystemslib.signer import SSlibKey  # noqa: PLC0415 - same

    public: JsonObject = SSlibKey.from_crypto(load_pem_public_key(content)).to_dict()
    problem = form_problem(public)
    if problem is not None:
        raise ValueError(f"the key {problem}")
    return public


def generate() -> tuple[bytes, JsonObject]:
    """A new Ed25519 key: the private one in PEM, and the public one."""
    from securesystemslib.signer import CryptoSigner  # noqa: PLC0415 - takes time to import

    made = CryptoSigner.generate_ed25519()
    return made.private_bytes, made.public_key.to_dict()


def is_signed_by(key: TrustedKey, signature: bytes, content: bytes) -> bool:
    """Whether `signature` over `content` was made with the private key of `key`."""
    try:
        return _verifier(key)(signature, content)
    except (ValueError, KeyError, TypeError):
        return False  # it is of no type that there is


def usable(key: TrustedKey) -> Key:
    """The key as securesystemslib uses it.

    Raises:
        ValueError, KeyError, TypeError: it is of no type that there is.
    """
    from securesystemslib.signer import Key  # noqa: PLC0415 - takes time to import

    return Key.from_dict(key.keyid, json.loads(canonical_json(key.public)))


@lru_cache(maxsize=256)
def _verifier(key: TrustedKey) -> Callable[[bytes, bytes], bool]:
    """What checks signatures of one key; made once, for it is asked at each load."""
    from securesystemslib.exceptions import UnverifiedSignatureError  # noqa: PLC0415 - slow
    from securesystemslib.signer import Signature  # noqa: PLC0415 - same

    used = usable(key)

    def verify(signature: bytes, content: bytes) -> bool:
        try:
            used.verify_signature(Signature(key.keyid, signature.hex()), content)
        except UnverifiedSignatureError:
            return False
        return True

    return verify


def _normal(public: JsonObject) -> JsonObject:
    """The form that securesystemslib gives to the key that `public` means.

    Raises:
        ValueError: it is no key of its type and scheme.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - takes time
        Ed25519PublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415 - same
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - same
        load_pem_public_key,
    )
    from securesystemslib.signer import SSlibKey  # noqa: PLC0415 - same

    value, scheme = public["keyval"], str(public["scheme"])
    text = str(value["public"]) if isinstance(value, dict) else ""
    if public["keytype"] == "ed25519":
        found = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(text)))
    else:
        key = load_pem_public_key(text.encode())
        if isinstance(key, RSAPublicKey) and key.key_size < _LEAST_RSA_BITS:
            raise ValueError(f"{key.key_size} bits are too few; {_LEAST_RSA_BITS} are the least")
        given = scheme if isinstance(key, RSAPublicKey) else None
        found = SSlibKey.from_crypto(key, scheme=given)
    normal: JsonObject = found.to_dict()
    return normal

"""Private keys where they are: files of the ring, and signers of securesystemslib elsewhere.

An address names a signer: `hsm:…` a PKCS#11 token, `awskms:…`, `azurekms:…`, `gcpkms:…` and `hv:…`
a service, `file2:…` a file. What they need is ambient (`PYKCS11LIB`, credentials of the service);
a PIN is asked for here.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

from policies.value import JsonObject
from toolstore.attest.errors import KeysError
from toolstore.attest.keyfolder import OWN, RENEW, KeyFolder
from toolstore.attest.publickeys import form_problem, is_signed_by, usable
from toolstore.attest.trust import SignerPlace, TrustedKey

if TYPE_CHECKING:
    from securesystemslib.signer import Signature, Signer

Secrets = Callable[[str], str]
"""The PIN of a token, or whatever a signer asks for, by the name that it gives it."""

_TRIAL: Final = b"toolkiln: is the private key here? This is no statement."
"""Signed once by a key that is to be used; it is no payload of any envelope."""

_EXTRAS: Final = MappingProxyType(
    {"hsm": "hsm", "awskms": "awskms", "azurekms": "azurekms", "gcpkms": "gcpkms", "hv": "vault"}
)
"""What must be installed for an address: `toolkiln[…]`."""

_HSM: Final = "hsm"
PIN_NAME: Final = "pin"
_WRONG_PIN: Final = frozenset({"PinIncorrect", "PinLocked"})
_ONE_AT_A_TIME: Final = Lock()
"""A token has one login a process: whoever signs meanwhile would be logged out, or refused."""


class PrivateKey:
    """Signs as one key of this host."""

    def __init__(self, key: TrustedKey, place: SignerPlace, signer: Signer) -> None:
        self.key = key
        self.place = place
        self._signer = signer
        self._elsewhere = not place.uri.startswith(OWN)
        self._refused: Exception | None = None
        """A token locks itself after few wrong PINs, so a wrong one is tried once in a process."""

    def sign(self, content: bytes) -> bytes:
        """The signature over `content`.

        Raises:
            Exception: signers of other makers raise what they like.
            ValueError: what came is no signature by this key.
        """
        if not self._elsewhere:
            return bytes.fromhex(self._signer.sign(content).signature)
        signature = bytes.fromhex(self._asked(content).signature)
        if not is_signed_by(self.key, signature, content):
            raise ValueError(
                "what it signed does not fit the public key, so it is another key than the one "
                "that was given"
            )
        return signature

    def _asked(self, content: bytes) -> Signature:
        with _ONE_AT_A_TIME:
            if self._refused is not None:
                raise self._refused
            try:
                return self._signer.sign(content)
            except Exception as error:
                if type(error).__name__ in _WRONG_PIN:
                    self._refused = error
                raise


def open_private_key(
    key: TrustedKey, place: SignerPlace, folder: KeyFolder, secrets: Secrets
) -> PrivateKey:
    """The private key at `place`, as it stands in the ring.

    Raises:
        KeysError: there is none, it is another one, or what it needs is not installed.
    """
    from securesystemslib.signer import Signer  # noqa: PLC0415 - takes time to import

    if place.uri.startswith(OWN):
        content = folder.read(place.uri.removeprefix(OWN))
        try:
            return PrivateKey(key, place, _signer_of_pem(content, key))
        except Exception as error:
            raise unusable(folder, key, place, error, RENEW) from error
    try:
        signer = Signer.from_priv_key_uri(place.uri, usable(key), secrets)
    except Exception as error:  # signers of other makers raise what they like
        raise unusable(folder, key, place, error, RENEW) from error
    return PrivateKey(key, place, signer)


def try_out(private: PrivateKey, folder: KeyFolder) -> None:
    """See that the private key is there and belongs to the public one, before it is relied on.

    Raises:
        KeysError: it does not sign, or another key does.
    """
    try:
        private.sign(_TRIAL)
    except Exception as error:  # signers of other makers raise what they like
        raise unusable(folder, private.key, private.place, error, "Nothing was changed.") from error


def public_of_token(uri: str, folder: KeyFolder, secrets: Secrets) -> JsonObject:
    """The public key that a PKCS#11 token has at `hsm:[ID][?label=TOKEN]`.

    Raises:
        KeysError: the address is another one, or the token has no such key.
    """
    address = urlsplit(uri)
    if address.scheme != _HSM:
        raise folder.error(
            f"the public key of {uri!r} cannot be asked for",
            "Give it in PEM with --public-key; only a token (hsm:…) is asked.",
        )
    from securesystemslib.signer import HSMSigner  # noqa: PLC0415 - takes time to import

    try:
        number = int(address.path) if address.path else None
        label = dict(parse_qsl(address.query)).get("label")
        with _ONE_AT_A_TIME:
            _, found = HSMSigner.import_(number, label, secrets)
        public: JsonObject = found.to_dict()
        problem = form_problem(public)
        if problem is not None:
            raise ValueError(f"the key {problem}")  # noqa: TRY301 - told like all else below
    except Exception as error:
        raise folder.error(
            f"the token of {uri!r} does not give its public key: {_words(error)}", _advice(uri)
        ) from error
    return public


def unusable(
    folder: KeyFolder, key: TrustedKey, place: SignerPlace, error: Exception, advice: str
) -> KeysError:
    """What a signer said, and what to do about it."""
    if isinstance(error, KeysError):
        return error
    return folder.error(
        f"the signer {place.uri!r} of the {key.role.value} cannot be used: {_words(error)}",
        _advice(place.uri) or advice,
    )


def _advice(uri: str) -> str:
    """What an address needs that may be missing; empty where nothing is known of it."""
    scheme = uri.partition(":")[0]
    extra = _EXTRAS.get(scheme)
    if extra is None:
        return "" if scheme == "file2" else f"Known addresses: {', '.join(sorted(_EXTRAS))}, file2."
    needs = f"It needs `pip install 'toolkiln[{extra}]'`"
    if scheme == _HSM:
        return (
            f"{needs}, PYKCS11LIB with the path of the token's PKCS#11 library, and the PIN in "
            "TOOLKILN_HSM_PIN or in the file `pin` beside the ring (mode 0600)."
        )
    return f"{needs}, and the credentials of the service in the environment."


def _words(error: Exception) -> str:
    """What an exception says; those of PKCS#11 say it with their name alone."""
    return str(error).rstrip(".") or type(error).__name__


def _signer_of_pem(content: bytes, key: TrustedKey) -> Signer:
    """Raises whatever is wrong with the file; that it is another key's as well."""
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - takes time
        load_pem_private_key,
    )
    from securesystemslib.signer import CryptoSigner, SSlibKey  # noqa: PLC0415 - same

    public = usable(key)
    if not isinstance(public, SSlibKey):
        raise TypeError(f"a key of type {public.keytype} cannot be in a file")
    return CryptoSigner(load_pem_private_key(content, None), public)


def pin_of(folder: KeyFolder, given: SecretStr | None) -> Secrets:
    """Where a token's PIN comes from: what was given, else the file `pin` of the folder.

    Raises (when it is asked):
        KeysError: there is none, or others may read the file.
    """

    def find(name: str) -> str:
        if given is not None:
            return given.get_secret_value()
        if not (folder.path / PIN_NAME).exists():
            raise folder.error(f"the token asks for its {name}, and there is none", _advice(_HSM))
        return folder.read(PIN_NAME).decode(errors="replace").strip()

    return find

"""Which public key counts for which role and person, and when: values, no files."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from pydantic import AwareDatetime, Field, model_validator

from policies.statements import Role
from policies.value import JsonObject, Value, canonical_json, sha256_digest

KEY_ID_CHARACTERS: Final = 64


def key_id(public: JsonObject) -> str:
    """Identity of a public key: sha256 over its type, scheme and value."""
    known = {name: public.get(name) for name in ("keytype", "scheme", "keyval")}
    return sha256_digest(canonical_json(known)).removeprefix("sha256:")


class TrustedKey(Value):
    """A public key, and what its signatures count for."""

    keyid: str = Field(pattern=r"^[0-9a-f]{64}$")
    public: JsonObject
    """As securesystemslib writes public keys: `keytype`, `scheme`, `keyval`."""

    role: Role
    person: str | None = None
    """Whose own it is; a reviewer's only. None is the host's."""

    made_at: AwareDatetime
    valid_until: AwareDatetime | None = None
    """Since when nothing new that it signs counts; what it signed before goes on counting."""

    @model_validator(mode="after")
    def _is_itself(self) -> TrustedKey:
        if key_id(self.public) != self.keyid:
            raise ValueError(f"the key {self.keyid[:16]}… is not what its identity says")
        if self.person is not None and self.role is not Role.REVIEWER:
            raise ValueError(f"a person's key is a reviewer's, and {self.keyid[:16]}… is not")
        return self

    def __hash__(self) -> int:
        return hash(self.keyid)  # the rest is compared; a dict has no hash

    def in_use(self, at: datetime) -> bool:
        """Whether something signed at that time counts."""
        return self.valid_until is None or at <= self.valid_until


class SignerPlace(Value):
    """Where a private key is."""

    keyid: str
    uri: str
    """`key:NAME` is a file beside the ring; all else is a signer of securesystemslib (`hsm:…`,
    `awskms:…`, `azurekms:…`, `gcpkms:…`, `hv:…`, `file2:…`)."""


class Ring(Value):
    """The file of a key ring: what is trusted, and with what this host signs."""

    version: Literal[1] = 1
    keys: tuple[TrustedKey, ...]
    signers: dict[Role, SignerPlace] = Field(default={})
    people: dict[str, SignerPlace] = Field(default={})
    """Keys of people who decide on this host."""

    @model_validator(mode="after")
    def _each_once(self) -> Ring:
        ids = [key.keyid for key in self.keys]
        if len(set(ids)) != len(ids):
            raise ValueError("a key is there twice; one key has one role")
        roles = {key.keyid: key.role for key in self.keys}
        for role, place in self.signers.items():
            if roles.get(place.keyid) is not role:
                raise ValueError(f"the {role.value} signs with a key that is not trusted for it")
        return self

    def find(self, keyid: str) -> TrustedKey | None:
        """The key of that identity."""
        return next((key for key in self.keys if key.keyid == keyid), None)

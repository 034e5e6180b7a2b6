"""Which public key counts for which role and person, and when: values, no files."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import (
    AwareDatetime,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from policies.statements import Role
from policies.value import JsonObject, Value, canonical_json, sha256_digest


def key_id(public: JsonObject) -> str:
    """Identity of a public key: sha256 over its type, scheme and value."""
    known = {name: public.get(name) for name in ("keytype", "scheme", "keyval")}
    return sha256_digest(canonical_json(known)).removeprefix("sha256:")


def _without_empty(fields: dict[str, object], name: str) -> dict[str, object]:
    """What was written before there was this field has the same bytes, and digest, still."""
    return fields if fields.get(name) else {k: v for k, v in fields.items() if k != name}


class TrustedKey(Value):
    """A public key, and what its signatures count for."""

    keyid: str = Field(pattern=r"^[0-9a-f]{64}$")
    public: JsonObject
    """As securesystemslib writes public keys: `keytype`, `scheme`, `keyval`."""

    role: Role
    person: str | None = Field(default=None, max_length=200)
    """Whose own it is; a reviewer's only. None is the host's."""

    made_at: AwareDatetime
    valid_until: AwareDatetime | None = None
    """Since when nothing new that it signs counts; what it signed before goes on counting."""

    line: str | None = None
    """The first key of the host's role that this one stands for by now; None where it is the
    first. Whoever counts hosts counts lines."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, inner: SerializerFunctionWrapHandler) -> dict[str, object]:
        return _without_empty(inner(self), "line")

    @model_validator(mode="after")
    def _is_itself(self) -> TrustedKey:
        if key_id(self.public) != self.keyid:
            raise ValueError(f"the key {self.keyid[:16]}… is not what its identity says")
        if self.person is not None and self.role is not Role.REVIEWER:
            raise ValueError(f"a person's key is a reviewer's, and {self.keyid[:16]}… is not")
        return self

    def __hash__(self) -> int:
        return hash(self.keyid)  # the rest is compared; a dict has no hash

    @property
    def material(self) -> str:
        """The key itself, whatever scheme it is used with."""
        value = self.public.get("keyval")
        return str(value.get("public")) if isinstance(value, dict) else ""

    @property
    def lineage(self) -> str:
        """What this key and those that it took the place of have in common."""
        return self.line or self.keyid

    def in_use(self, at: datetime) -> bool:
        """Whether something signed at that time counts."""
        return self.valid_until is None or at <= self.valid_until

    def ended(self, at: datetime) -> TrustedKey:
        """The key, retired at that time; earlier, if it was retired earlier."""
        until = at if self.valid_until is None else min(at, self.valid_until)
        return self.model_copy(update={"valid_until": until})


class PublicKeys(Value):
    """What one host tells another, so that it is trusted there: no private key, no places."""

    keys: tuple[TrustedKey, ...] = Field(max_length=1_000)


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

    distrusted: tuple[str, ...] = ()
    """Identities of keys that must not come back with a file of another host."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, inner: SerializerFunctionWrapHandler) -> dict[str, object]:
        return _without_empty(inner(self), "distrusted")

    @model_validator(mode="after")
    def _each_once(self) -> Ring:
        ids = [key.keyid for key in self.keys]
        if len(set(ids)) != len(ids):
            raise ValueError("a key is there twice; one key has one role")
        if set(ids) & set(self.distrusted):
            raise ValueError("a key is trusted and distrusted")
        roles = {key.keyid: key.role for key in self.keys}
        for role, place in self.signers.items():
            if roles.get(place.keyid) is not role:
                raise ValueError(f"the {role.value} signs with a key that is not trusted for it")
        return self

    @property
    def places(self) -> tuple[SignerPlace, ...]:
        """Every private key that this host signs with."""
        return (*self.signers.values(), *self.people.values())

    def find(self, keyid: str) -> TrustedKey | None:
        """The key of that identity."""
        return next((key for key in self.keys if key.keyid == keyid), None)

    def with_signer(self, key: TrustedKey, uri: str, at: datetime) -> Ring:
        """The ring where the key's role, or its person, signs with it from now on.

        The key before goes on counting for what it signed until then, and the two count as one.
        """
        place = SignerPlace(keyid=key.keyid, uri=uri)
        if key.person is None:
            before = self.signers.get(key.role)
            changes: dict[str, object] = {"signers": {**self.signers, key.role: place}}
        else:
            before = self.people.get(key.person)
            changes = {"people": {**self.people, key.person: place}}
        retired = None if before is None else self.find(before.keyid)
        if retired is not None and retired.lineage != key.keyid:
            key = key.model_copy(update={"line": retired.lineage})
        keys = (
            each.ended(at) if each == retired else each
            for each in self.keys
            if each.keyid != key.keyid
        )
        return self.changed(keys=(*keys, key), **changes)

    def without(self, key: TrustedKey) -> Ring:
        """The ring where nothing counts that the key ever signed, and where it cannot come back."""
        return self.changed(
            keys=tuple(each for each in self.keys if each.keyid != key.keyid),
            people={name: place for name, place in self.people.items() if place.keyid != key.keyid},
            distrusted=(*self.distrusted, key.keyid),
        )

    def ended(self, key: TrustedKey, at: datetime) -> Ring:
        """The ring where nothing counts that the key signed after that time."""
        return self.changed(
            keys=tuple(each.ended(at) if each.keyid == key.keyid else each for each in self.keys),
            people={name: place for name, place in self.people.items() if place.keyid != key.keyid},
        )

    def changed(self, **changes: object) -> Ring:
        """The ring with changes, held to its rules again."""
        fields = {name: getattr(self, name) for name in Ring.model_fields}
        return Ring.model_validate({**fields, **changes})

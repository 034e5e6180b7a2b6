"""The key ring of one host: signs as its roles and people, and knows whose signatures count.

It is made when something is signed or verified for the first time. A key in a file on the same
host proves integrity and order, not that the host was honest: for that, put the signer of a role
elsewhere (`toolkiln store keys use`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TypeVar

from pydantic import SecretStr

from policies.statements import ROLE_OF, Kind, Role, Statement
from policies.value import JsonObject
from toolstore.attest.envelopes import seal_statement
from toolstore.attest.keyfolder import OWN, KeyFolder, Stamp
from toolstore.attest.publickeys import generate, public_of_pem
from toolstore.attest.ringchanges import (
    ChangeRefusedError,
    Trusting,
    distrusting,
    signing_with,
    trusting,
)
from toolstore.attest.signers import (
    PrivateKey,
    open_private_key,
    pin_of,
    public_of_token,
    try_out,
    unusable,
)
from toolstore.attest.trust import PublicKeys, Ring, SignerPlace, TrustedKey, key_id

T = TypeVar("T")


def utc_now() -> datetime:
    """The clock of a ring that was given no other."""
    return datetime.now(UTC)


class KeyRing:
    """Signs as the roles of this host, and knows whose signatures count.

    Safe to use from several threads and processes; a change by another process is noticed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], datetime] = utc_now,
        pin: SecretStr | None = None,
    ) -> None:
        self.folder = folder
        self._files = KeyFolder(folder)
        self._clock = clock
        self._secrets = pin_of(self._files, pin)
        self._lock = Lock()
        self._ring: Ring | None = None
        self._seen: Stamp | None = None
        self._keys: dict[str, TrustedKey] = {}
        self._private: dict[str, PrivateKey] = {}

    # -- use -------------------------------------------------------------------------------------

    def ring(self) -> Ring:
        """What is trusted now; made with one key a role where there is nothing yet.

        Raises:
            KeysError: the folder or a file may be read or written by others, or is not readable.
        """
        with self._lock:
            return self._current()

    def find(self, keyid: str) -> TrustedKey | None:
        """The trusted key of that identity."""
        with self._lock:
            self._current()
            return self._keys.get(keyid)

    def finder(self) -> Callable[[str], TrustedKey | None]:
        """As `find`, from the ring as it is now: for many questions in one piece of work."""
        with self._lock:
            self._current()
            return self._keys.get

    def sign(self, statement: Statement, kind: Kind, *, person: str | None = None) -> bytes:
        """The envelope of a statement, signed by whoever may make it.

        A review is signed with the person's own key where this host keeps one, else with that of
        the host's reviewer.

        Raises:
            KeysError: this host cannot sign that.
        """
        role = ROLE_OF[kind]
        with self._lock:
            ring = self._current()
            place = ring.signers.get(role)
            if role is Role.REVIEWER and person is not None:
                place = ring.people.get(person, place)
            if place is None:
                raise self._files.error(
                    f"there is no key of the {role.value} here",
                    "Give the role one: toolkiln store keys rotate, or keys use.",
                )
            private = self._opened(ring, place)
        try:
            return seal_statement(statement, private.key.keyid, private.sign)
        except Exception as error:  # signers of other makers raise what they like
            advice = "Nothing was written. Mend the signer and try again."
            raise unusable(self._files, private.key, place, error, advice) from error

    def stay_out_of(self, store: Path | str) -> None:
        """Refuse to keep keys in the folder of a store: whoever shares it would have them.

        Raises:
            KeysError: they lie there.
        """
        if isinstance(store, Path) and self.folder.resolve().is_relative_to(store.resolve()):
            raise self._files.error(
                f"they lie in the store at {store}", "Put them where the store is not shared."
            )

    def public_keys(self) -> PublicKeys:
        """What to give to another host that shall trust this one."""
        return PublicKeys(keys=self.ring().keys)

    # -- changes ---------------------------------------------------------------------------------

    def rotate(self, role: Role) -> TrustedKey:
        """Give a role a new key; what the old one signed until now goes on counting."""
        return self._change(lambda ring: self._with_new_key(ring, role, None))

    def add_person(self, person: str) -> TrustedKey:
        """Make a key of their own for somebody who decides on this host, or a new one."""
        return self._change(lambda ring: self._with_new_key(ring, Role.REVIEWER, person))

    def use(self, role: Role, uri: str, public_pem: bytes | None = None) -> TrustedKey:
        """Let a role sign with a signer elsewhere (KMS, HSM), once it has signed for a trial.

        A token (`hsm:…`) is asked for its public key; others' is given in PEM.

        Raises:
            KeysError: there is no such signer, it does not answer, or it has another key.
        """
        if public_pem is None:
            public = public_of_token(uri, self._files, self._secrets)
        else:
            public = self._public_of_pem(public_pem)
        at = self._clock()
        key = TrustedKey(keyid=key_id(public), public=public, role=role, made_at=at)

        def change(ring: Ring) -> tuple[Ring, TrustedKey]:
            changed = signing_with(ring, key, uri, at)
            private = open_private_key(key, changed.signers[role], self._files, self._secrets)
            try_out(private, self._files)
            return changed, key

        return self._change(change)

    def trust(self, more: PublicKeys, *, again: bool = False) -> Trusting:
        """Let the keys of another host count here, for their roles; those that are new.

        A key that the other host has retired is retired here as well. One that was distrusted
        here is left out, unless it shall count `again`.

        Raises:
            KeysError: a key is no key, or trusted here for another role or person.
        """
        return self._change(lambda ring: trusting(ring, more, again=again))

    def distrust(self, keyid: str, *, since: datetime | None = None) -> TrustedKey:
        """Let nothing that a key signed count any more, or nothing that it signed after `since`.

        `keyid` may be a unique beginning.

        Raises:
            KeysError: there is no such key, or this host signs with it.
        """
        return self._change(lambda ring: distrusting(ring, keyid, since))

    # -- inside ----------------------------------------------------------------------------------

    def _current(self) -> Ring:
        """The ring, read again where another process changed the file."""
        seen = self._files.stamp()
        if seen is None:
            self._make()
            seen = self._files.stamp()
        if self._ring is None or seen != self._seen:
            self._ring = self._files.read_ring()
            self._seen = seen
            self._keys = {key.keyid: key for key in self._ring.keys}
            self._private = {}
        return self._ring

    def _make(self) -> None:
        """Make a key for each role, unless another process did meanwhile."""
        with self._files.exclusive():
            if self._files.stamp() is None:
                ring = Ring(keys=())
                for role in Role:
                    ring, _key = self._with_new_key(ring, role, None)
                self._write(ring)

    def _change(self, change: Callable[[Ring], tuple[Ring, T]]) -> T:
        with self._lock:
            self._current()
            with self._files.exclusive():
                try:
                    ring, answer = change(self._files.read_ring())
                except ChangeRefusedError as error:
                    raise self._files.error(error.problem, error.advice) from error
                self._write(ring)
            self._ring = None
            self._current()
            return answer

    def _write(self, ring: Ring) -> None:
        try:
            self._files.write_ring(ring)
        except OSError as error:
            raise self._files.unusable(error) from error
        own = (place.uri for place in ring.places if place.uri.startswith(OWN))
        self._files.forget_all_but({uri.removeprefix(OWN) for uri in own})

    def _with_new_key(self, ring: Ring, role: Role, person: str | None) -> tuple[Ring, TrustedKey]:
        """`ring` with a key made here, which the role or the person signs with from now on."""
        private, public = generate()
        keyid = key_id(public)
        name = f"{role.value}-{keyid[:16]}.pem"
        try:
            self._files.write(name, private)
        except OSError as error:
            raise self._files.unusable(error) from error
        at = self._clock()
        key = TrustedKey(keyid=keyid, public=public, role=role, person=person, made_at=at)
        return ring.with_signer(key, OWN + name, at), key

    def _opened(self, ring: Ring, place: SignerPlace) -> PrivateKey:
        private = self._private.get(place.keyid)
        if private is None:
            key = ring.find(place.keyid)
            if key is None:
                raise self._files.error(
                    f"the key {place.keyid[:16]}… is not in the ring", "Give its role a new one."
                )
            private = open_private_key(key, place, self._files, self._secrets)
            self._private[place.keyid] = private
        return private

    def _public_of_pem(self, content: bytes) -> JsonObject:
        try:
            return public_of_pem(content)
        except ValueError as error:
            raise self._files.error(
                f"the file of the public key: {error}", "Give the public key in PEM."
            ) from error

"""The key ring of one host: a folder that nobody else may look into.

`ring.json` says which public keys are trusted for what, and where the private ones are; private
keys of its own lie beside it, one file each. It is made when something is signed or verified for
the first time. A key in a file on the same host proves integrity and order, not that the host was
honest: for that, put the signer of a role elsewhere (`toolkiln store keys use`).
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import ValidationError

from policies.statements import ROLE_OF, Kind, Role, Statement
from policies.value import JsonObject, Value, canonical_json, sha256_digest
from toolstore.attest.envelopes import sign_statement
from toolstore.attest.errors import KeysError
from toolstore.attest.trust import Ring, SignerPlace, TrustedKey, key_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from securesystemslib.signer import Signer

T = TypeVar("T")

RING_NAME: Final = "ring.json"
_LOCK_NAME: Final = "ring.lock"
_OWN: Final = "key:"
_OTHERS: Final = 0o077
_MAX_FILE_BYTES: Final = 1 << 20


def utc_now() -> datetime:
    """The clock of a ring that was given no other."""
    return datetime.now(UTC)


class PublicKeys(Value):
    """What one host tells another, so that it is trusted there: no private key, no places."""

    keys: tuple[TrustedKey, ...]


class KeyRing:
    """Signs as the roles of this host, and knows whose signatures count.

    Safe to use from several threads and processes; a change by another process is noticed.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], datetime] = utc_now) -> None:
        self.folder = folder
        self._clock = clock
        self._lock = Lock()
        self._ring: Ring | None = None
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, TrustedKey] = {}
        self._signers: dict[str, Signer] = {}

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
                raise self._error(
                    f"there is no key of the {role.value} here",
                    "Give the role one: toolkiln store keys rotate, or keys use.",
                )
            signer = self._signer(ring, place)
        try:
            return sign_statement(statement, signer)
        except Exception as error:  # signers of other makers raise what they like
            raise self._error(
                f"the signer {place.uri!r} of the {role.value} failed: {error}",
                "Nothing was written. Mend the signer and try again.",
            ) from error

    def stay_out_of(self, store: Path | str) -> None:
        """Refuse to keep keys in the folder of a store: whoever shares it would have them.

        Raises:
            KeysError: they lie there.
        """
        if isinstance(store, Path) and self.folder.resolve().is_relative_to(store.resolve()):
            raise self._error(
                f"they lie in the store at {store}", "Put them where the store is not shared."
            )

    # -- changes ---------------------------------------------------------------------------------

    def rotate(self, role: Role) -> TrustedKey:
        """Give a role a new key; what the old one signed until now goes on counting."""
        return self._change(lambda ring: self._with_new_key(self._retired(ring, role), role, None))

    def add_person(self, person: str) -> TrustedKey:
        """Make a key of their own for somebody who decides on this host, or a new one."""

        def change(ring: Ring) -> tuple[Ring, TrustedKey]:
            place = ring.people.get(person)
            if place is not None:
                ring = self._until_now(ring, place.keyid)
            return self._with_new_key(ring, Role.REVIEWER, person)

        return self._change(change)

    def use(self, role: Role, uri: str, public_pem: bytes) -> TrustedKey:
        """Let a role sign with a signer elsewhere (KMS, HSM); its public key is given in PEM.

        Raises:
            KeysError: securesystemslib knows no such signer, or it does not answer.
        """
        public = _public_of_pem(public_pem)
        keyid = key_id(public)

        def change(ring: Ring) -> tuple[Ring, TrustedKey]:
            ring = self._retired(ring, role)
            known = ring.find(keyid)
            if known is not None and known.role is not role:
                raise self._error(
                    f"that key is the {known.role.value}'s already", "One key has one role."
                )
            key = TrustedKey(keyid=keyid, public=public, role=role, made_at=self._clock())
            keys = tuple(each for each in ring.keys if each.keyid != keyid)
            place = SignerPlace(keyid=keyid, uri=uri)
            changed = _checked(ring, keys=(*keys, key), signers={**ring.signers, role: place})
            self._signer(changed, place)
            return changed, key

        return self._change(change)

    def trust(self, more: PublicKeys) -> tuple[TrustedKey, ...]:
        """Let the keys of another host count here, for their roles; those that are new."""
        added: tuple[TrustedKey, ...] = ()

        def change(ring: Ring) -> tuple[Ring, None]:
            nonlocal added
            known = {key.keyid: key for key in ring.keys}
            added = tuple(key for key in more.keys if key.keyid not in known)
            for key in more.keys:
                mine = known.get(key.keyid)
                if mine is not None and (mine.role, mine.person) != (key.role, key.person):
                    raise self._error(
                        f"the key {key.keyid[:16]}… is trusted here for another role or person",
                        "Nothing was changed. Ask whoever gave you the file.",
                    )
            return _checked(ring, keys=(*ring.keys, *added)), None

        self._change(change)
        return added

    def distrust(self, keyid: str, *, since: datetime | None = None) -> TrustedKey:
        """Let nothing that a key signed count any more, or nothing that it signed after `since`.

        `keyid` may be a unique beginning.

        Raises:
            KeysError: there is no such key, or this host signs with it.
        """

        def change(ring: Ring) -> tuple[Ring, TrustedKey]:
            found = [key for key in ring.keys if key.keyid.startswith(keyid)]
            if len(found) != 1:
                problem = "no key" if not found else f"{len(found)} keys"
                raise self._error(
                    f"{problem} begin(s) with {keyid!r}", "See toolkiln store keys list."
                )
            key = found[0]
            if key.keyid in {place.keyid for place in ring.signers.values()}:
                raise self._error(
                    f"the {key.role.value} of this host signs with it",
                    f"First: toolkiln store keys rotate {key.role.value}.",
                )
            people = {
                name: place for name, place in ring.people.items() if place.keyid != key.keyid
            }
            rest = tuple(each for each in ring.keys if each != key)
            if since is not None:
                rest = (*rest, key.model_copy(update={"valid_until": since}))
            return _checked(ring, keys=rest, people=people), key

        return self._change(change)

    def public_keys(self) -> PublicKeys:
        """What to give to another host that shall trust this one."""
        return PublicKeys(keys=self.ring().keys)

    # -- inside ----------------------------------------------------------------------------------

    def _current(self) -> Ring:
        """The ring, read again where another process changed the file."""
        path = self.folder / RING_NAME
        try:
            status = path.lstat()
        except FileNotFoundError:
            with self._exclusive():
                if not path.exists():
                    self._write(self._made())
            status = path.lstat()
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if self._ring is None or seen != self._seen:
            self._check_folder()
            self._ring = self._read()
            self._seen = seen
            self._keys = {key.keyid: key for key in self._ring.keys}
            self._signers = {}
        return self._ring

    def _made(self) -> Ring:
        ring = Ring(keys=())
        for role in Role:
            ring, _key = self._with_new_key(ring, role, None)
        return ring

    def _change(self, change: Callable[[Ring], tuple[Ring, T]]) -> T:
        with self._lock:
            self._current()
            with self._exclusive():
                ring, answer = change(self._read())
                self._write(ring)
            self._forget_unused(ring)
            self._ring = None
            self._current()
            return answer

    def _with_new_key(self, ring: Ring, role: Role, person: str | None) -> tuple[Ring, TrustedKey]:
        """`ring` with a key made here, which the role or the person signs with from now on."""
        private, public = _generate()
        keyid = key_id(public)
        name = f"{role.value}-{keyid[:16]}.pem"
        _write_private(self.folder / name, private)
        key = TrustedKey(
            keyid=keyid, public=public, role=role, person=person, made_at=self._clock()
        )
        place = SignerPlace(keyid=keyid, uri=_OWN + name)
        if person is None:
            changed = _checked(ring, keys=(*ring.keys, key), signers={**ring.signers, role: place})
        else:
            changed = _checked(ring, keys=(*ring.keys, key), people={**ring.people, person: place})
        return changed, key

    def _retired(self, ring: Ring, role: Role) -> Ring:
        place = ring.signers.get(role)
        return ring if place is None else self._until_now(ring, place.keyid)

    def _until_now(self, ring: Ring, keyid: str) -> Ring:
        now = self._clock()
        return _checked(
            ring,
            keys=tuple(
                key.model_copy(update={"valid_until": now}) if key.keyid == keyid else key
                for key in ring.keys
            ),
        )

    def _signer(self, ring: Ring, place: SignerPlace) -> Signer:
        signer = self._signers.get(place.keyid)
        if signer is None:
            key = ring.find(place.keyid)
            if key is None:
                raise self._error(f"the key {place.keyid[:16]}… is not in the ring", _RENEW)
            signer = self._signers[place.keyid] = self._open_signer(key, place)
        return signer

    def _open_signer(self, key: TrustedKey, place: SignerPlace) -> Signer:
        from securesystemslib.signer import (  # noqa: PLC0415 - takes time to import
            CryptoSigner,
            Key,
            Signer,
            SSlibKey,
        )

        public = Key.from_dict(key.keyid, json.loads(json.dumps(key.public)))
        content = None
        if place.uri.startswith(_OWN):
            content = self._read_file(Path(place.uri.removeprefix(_OWN)).name)
        try:
            if content is not None and isinstance(public, SSlibKey):
                return CryptoSigner(_private_of_pem(content), public)
            return Signer.from_priv_key_uri(place.uri, public)
        except Exception as error:  # signers of other makers raise what they like
            raise self._error(
                f"the signer {place.uri!r} of the {key.role.value} cannot be used: {error}", _RENEW
            ) from error

    # -- files -----------------------------------------------------------------------------------

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the folder's lock, the folder made where it is missing."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._error(
                error.strerror or str(error), "Choose a home that this user may write to."
            ) from error
        self._check_folder()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.folder / _LOCK_NAME, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _check_folder(self) -> None:
        status = self.folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise self._error("it is a link or no folder", "Put the folder itself there.")
        self._check_private(status, self.folder)

    def _check_private(self, status: os.stat_result, path: Path) -> None:
        if status.st_uid != os.geteuid():
            raise self._error(f"{path} belongs to another user", "Keys must be of the user alone.")
        if status.st_mode & _OTHERS:
            raise self._error(
                f"{path} may be read or written by others (mode {stat.S_IMODE(status.st_mode):o})",
                f"Run `chmod go= {path}`; if others had a look, rotate the keys as well.",
            )

    def _read_file(self, name: str) -> bytes:
        path = self.folder / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise self._error(f"{path}: {error.strerror}", _RENEW) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE_BYTES:
                raise self._error(f"{path} is no ordinary small file", _RENEW)
            self._check_private(status, path)
            return os.read(descriptor, _MAX_FILE_BYTES)
        finally:
            os.close(descriptor)

    def _read(self) -> Ring:
        content = self._read_file(RING_NAME)
        try:
            file = _RingFile.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise self._not_as_written(first["msg"]) from error
        if file.ring_digest != _digest_of(file.ring) or content != _rendered(file.ring):
            raise self._not_as_written("its digest does not fit")
        return file.ring

    def _not_as_written(self, problem: str) -> KeysError:
        return self._error(
            f"{RING_NAME} is not what was written: {problem}",
            "Put it back from a copy. Without it nothing that was signed can be trusted.",
        )

    def _write(self, ring: Ring) -> None:
        content = _rendered(ring)
        beside = self.folder / f"{RING_NAME}.new"
        beside.unlink(missing_ok=True)
        _write_private(beside, content)
        beside.replace(self.folder / RING_NAME)
        _sync_folder(self.folder)

    def _forget_unused(self, ring: Ring) -> None:
        """Remove private keys that nothing signs with any more."""
        places = (*ring.signers.values(), *ring.people.values())
        used = {place.uri.removeprefix(_OWN) for place in places}
        for path in self.folder.glob("*-*.pem"):
            if path.name not in used:
                path.unlink(missing_ok=True)

    def _error(self, problem: str, advice: str) -> KeysError:
        return KeysError(str(self.folder), problem, advice=advice)


_RENEW: Final = "Put the file back from a copy, or give the role a new key: store keys rotate."


class _RingFile(Value):
    """A ring as it is kept: with a digest, so that no byte of it changes unseen."""

    ring_digest: str
    ring: Ring


def _digest_of(ring: Ring) -> str:
    return sha256_digest(canonical_json(ring.model_dump(mode="json")))


def _rendered(ring: Ring) -> bytes:
    return _RingFile(ring_digest=_digest_of(ring), ring=ring).model_dump_json(indent=1).encode()


def _checked(ring: Ring, **changes: object) -> Ring:
    """`ring` with changes, held to its rules again."""
    fields = {name: getattr(ring, name) for name in Ring.model_fields}
    return Ring.model_validate({**fields, **changes})


def _generate() -> tuple[bytes, JsonObject]:
    """A new Ed25519 key: the private one in PEM, and the public one."""
    from securesystemslib.signer import CryptoSigner  # noqa: PLC0415 - takes time to import

    made = CryptoSigner.generate_ed25519()
    return made.private_bytes, made.public_key.to_dict()


def _private_of_pem(content: bytes) -> PrivateKeyTypes:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - same
        load_pem_private_key,
    )

    return load_pem_private_key(content, None)


def _public_of_pem(content: bytes) -> JsonObject:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - same
        load_pem_public_key,
    )
    from securesystemslib.signer import SSlibKey  # noqa: PLC0415 - same

    try:
        return SSlibKey.from_crypto(load_pem_public_key(content)).to_dict()
    except ValueError as error:
        raise KeysError(
            "the file of the public key", str(error), advice="Give the public key in PEM."
        ) from error


def _write_private(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

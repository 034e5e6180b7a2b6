"""The key ring: made once, whole or as it was before, for its user alone, each key counted once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from factories import NOON
from pydantic import ValidationError
from securesystemslib.signer import SSlibKey

from policies.statements import Kind, Role
from policies.value import JsonObject
from policies.vouching import checkpoint_statement
from toolstore.attest.envelopes import open_envelope
from toolstore.attest.errors import KeysError
from toolstore.attest.keyfolder import RING_NAME
from toolstore.attest.keys import KeyRing
from toolstore.attest.trust import PublicKeys, TrustedKey, key_id
from toolstore.store import ToolStore

SUPPORT = Path(__file__).parents[1] / "support"
STATEMENT = checkpoint_statement(sequence=1, head="sha256:00", states="", at=NOON)


def signed_well(keys: KeyRing) -> bool:
    """Whether the ring signs something that it verifies itself."""
    return open_envelope(keys.sign(STATEMENT, Kind.CHECKPOINT), keys.find).kind is Kind.CHECKPOINT


def trusted(public: JsonObject, role: Role = Role.SANDBOX, **more: object) -> TrustedKey:
    fields = {"keyid": key_id(public), "public": public, "role": role, "made_at": NOON, **more}
    return TrustedKey.model_validate(fields)


def of_role(keys: KeyRing, role: Role) -> TrustedKey:
    """The key that a role signs with."""
    ring = keys.ring()
    found = ring.find(ring.signers[role].keyid)
    assert found is not None
    return found


# -- made and changed ------------------------------------------------------------------------------


def test_many_at_once_make_one_ring(tmp_path: Path) -> None:
    start = Barrier(8)

    def first_use(_: int) -> PublicKeys:
        keys = KeyRing(tmp_path / "keys")  # a lock on a file is held by each by itself
        start.wait()
        return keys.public_keys()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(first_use, range(8)))

    assert all(each == found[0] for each in found)
    assert len(list((tmp_path / "keys").glob("*.pem"))) == len(Role)


def test_a_change_by_another_process_is_noticed(tmp_path: Path) -> None:
    one, other = KeyRing(tmp_path / "keys"), KeyRing(tmp_path / "keys")
    before = of_role(one, Role.ADMITTER)
    other.rotate(Role.ADMITTER)

    assert of_role(one, Role.ADMITTER) != before
    assert signed_well(one)


def test_killed_at_any_step_the_ring_is_the_one_before_or_the_one_after(tmp_path: Path) -> None:
    """Making it and rotating a key, killed before each step that touches a file; a full disk."""
    program = [sys.executable, str(SUPPORT / "dying_ring.py"), str(tmp_path)]
    told = json.loads(subprocess.run(program, capture_output=True, check=True).stdout)

    assert told["broken"] == []
    assert told["made"] > 10
    assert told["rotated"] > 5
    assert len(told["full"]) == 3
    assert all("cannot use the keys" in words for words in told["full"])


def test_no_ring_is_written_that_could_not_be_read(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path / "keys")
    before = keys.ring()
    with pytest.raises(ValidationError, match="at most 200 characters"):
        trusted(of_role(keys, Role.REVIEWER).public, Role.REVIEWER, person="x" * 2_000_000)
    large = before.changed(people={"x" * 2_000_000: before.signers[Role.REVIEWER]})

    with pytest.raises(KeysError, match="too large"):
        keys._write(large)
    assert KeyRing(tmp_path / "keys").ring() == before


def test_a_ring_from_before_there_was_a_list_of_the_distrusted_is_read(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path / "keys")
    keys.ring()

    assert "distrusted" not in (tmp_path / "keys" / RING_NAME).read_text()
    assert KeyRing(tmp_path / "keys").ring() == keys.ring()


# -- the folder ------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(0, 1000, 45))
def test_any_changed_byte_of_the_ring_is_found(tmp_path: Path, step: int) -> None:
    keys = KeyRing(tmp_path / "keys")
    keys.ring()
    path = tmp_path / "keys" / RING_NAME
    content = bytearray(path.read_bytes())
    position = step * len(content) // 1000
    content[position] ^= 0x01
    path.write_bytes(bytes(content))

    with pytest.raises(KeysError, match="is not what was written"):
        keys.ring()


def test_keys_are_for_their_user_alone(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path / "keys")
    ring = keys.ring()

    assert keys.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in keys.folder.iterdir()} == {0o600}
    assert {key.role for key in ring.keys} == set(Role)
    assert len({key.keyid for key in ring.keys}) == len(Role)


@pytest.mark.parametrize("which", [".", RING_NAME, "pem"])
def test_keys_that_others_may_read_are_refused(tmp_path: Path, which: str) -> None:
    KeyRing(tmp_path / "keys").ring()
    loose = next((tmp_path / "keys").glob("admitter-*.pem")) if which == "pem" else None
    (loose or tmp_path / "keys" / which).chmod(0o755 if which == "." else 0o640)

    with pytest.raises(KeysError, match="may be read or written by others"):
        KeyRing(tmp_path / "keys").sign(STATEMENT, Kind.CHECKPOINT)


async def test_keys_in_the_folder_of_a_store_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="they lie in the store"):
        await ToolStore.open(tmp_path, keys=KeyRing(tmp_path / "keys"))


def test_a_key_that_is_a_link_is_refused(tmp_path: Path) -> None:
    KeyRing(tmp_path / "keys").ring()
    path = tmp_path / "keys" / RING_NAME
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")

    with pytest.raises(KeysError):
        KeyRing(tmp_path / "keys").ring()


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    KeyRing(tmp_path / "elsewhere").ring()
    (tmp_path / "keys").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(KeysError, match="a link or no folder"):
        KeyRing(tmp_path / "keys").ring()


def a_file(folder: Path) -> None:
    folder.write_text("")


def below_a_file(folder: Path) -> None:
    folder.parent.rmdir()
    folder.parent.write_text("")


def lock_is_a_folder(folder: Path) -> None:
    (folder / "ring.lock").mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)


@pytest.mark.parametrize("spoil", [a_file, below_a_file, lock_is_a_folder])
def test_what_cannot_hold_keys_is_told_and_not_thrown(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    folder = tmp_path / "home" / "keys"
    folder.parent.mkdir()
    spoil(folder)

    with pytest.raises(KeysError, match="cannot use the keys in"):
        KeyRing(folder).ring()


def test_a_private_key_of_another_role_in_its_place_is_refused(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path / "keys")
    places = keys.ring().signers
    files = [keys.folder / places[r].uri.removeprefix("key:") for r in (Role.ADMITTER, Role.LINTER)]
    files[0].write_bytes(files[1].read_bytes())

    with pytest.raises(KeysError, match="does not match"):
        signed_well(keys)


# -- whom it trusts --------------------------------------------------------------------------------


def upper(key: TrustedKey) -> TrustedKey:
    """The same key with its number written in capitals: another identity."""
    return trusted({**key.public, "keyval": {"public": key.material.upper()}})


def beside(key: TrustedKey) -> TrustedKey:
    """The same key with a field that nobody asked for."""
    return trusted({**key.public, "keyval": {"public": key.material, "x": "1"}})


def wide(key: TrustedKey) -> TrustedKey:
    """A key that a program would be started for."""
    large = rsa.generate_private_key(65_537, 2_048).public_key()
    return trusted({**SSlibKey.from_crypto(large).to_dict(), "scheme": "pgp+rsa-pkcsv1.5"})


def short(key: TrustedKey) -> TrustedKey:
    """A key that can be broken."""
    small = rsa.generate_private_key(65_537, 1_024).public_key()  # noqa: S505 - that is the point
    return trusted(SSlibKey.from_crypto(small).to_dict())


def nonsense(key: TrustedKey) -> TrustedKey:
    return trusted({**key.public, "keyval": {"public": "00"}})


@pytest.mark.parametrize("spell", [upper, beside, wide, short, nonsense])
def test_a_key_in_another_form_is_not_trusted(
    tmp_path: Path, spell: Callable[[TrustedKey], TrustedKey]
) -> None:
    keys, other = KeyRing(tmp_path / "keys"), KeyRing(tmp_path / "other")
    before = keys.ring()

    with pytest.raises(KeysError, match="Nothing was changed"):
        keys.trust(PublicKeys(keys=(spell(of_role(other, Role.SANDBOX)),)))

    assert keys.ring() == before


def test_one_key_under_two_schemes_does_not_count_as_two(tmp_path: Path) -> None:
    large = rsa.generate_private_key(65_537, 2_048).public_key()
    two = tuple(
        trusted(SSlibKey.from_crypto(large, scheme=scheme).to_dict())
        for scheme in ("rsassa-pss-sha256", "rsa-pkcs1v15-sha256")
    )
    keys = KeyRing(tmp_path / "keys")
    keys.trust(PublicKeys(keys=two[:1]))

    with pytest.raises(KeysError, match="one key under two"):
        keys.trust(PublicKeys(keys=two[1:]))


def test_a_distrusted_key_does_not_come_back_with_a_file(tmp_path: Path) -> None:
    keys, other = KeyRing(tmp_path / "keys"), KeyRing(tmp_path / "other")
    theirs = other.public_keys()
    stolen = of_role(other, Role.SANDBOX)
    keys.trust(theirs)
    keys.distrust(stolen.keyid)

    assert keys.trust(theirs).left_out == (stolen,)
    assert keys.find(stolen.keyid) is None
    assert keys.trust(theirs, again=True).added == (stolen,)
    assert keys.find(stolen.keyid) == stolen


def test_what_another_host_has_retired_is_retired_here(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path / "keys")
    other = KeyRing(tmp_path / "other", clock=lambda: NOON)
    old = of_role(other, Role.SANDBOX)
    keys.trust(other.public_keys())
    other.rotate(Role.SANDBOX)
    came = keys.trust(other.public_keys())
    here = keys.find(old.keyid)

    assert [key.keyid for key in came.retired] == [old.keyid]
    assert here is not None
    assert here.valid_until == NOON
    assert not came.left_out
    # What that host says of the keys that this one signs with is not its to say.
    mine = of_role(keys, Role.LINTER)
    ended = mine.model_copy(update={"valid_until": NOON})
    assert keys.trust(PublicKeys(keys=(ended,))).retired == ()


def test_an_end_is_never_put_off(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path / "keys", clock=lambda: NOON)
    old = of_role(keys, Role.LINTER)
    keys.rotate(Role.LINTER)
    keys.distrust(old.keyid, since=NOON + timedelta(days=9))

    found = keys.find(old.keyid)
    assert found is not None
    assert found.valid_until == NOON


def test_the_key_that_signs_is_not_distrusted_by_mistake(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path / "keys")
    linter = keys.ring().signers[Role.LINTER].keyid

    with pytest.raises(KeysError, match="keys rotate linter"):
        keys.distrust(linter[:12])
    keys.rotate(Role.LINTER)
    keys.distrust(linter[:12])
    assert keys.find(linter) is None
    assert not list(keys.folder.glob(f"linter-{linter[:16]}*"))


# -- keys elsewhere --------------------------------------------------------------------------------


def public_pem(private: Path) -> bytes:
    """The public key of a private one in a file."""
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_a_role_may_sign_elsewhere(tmp_path: Path) -> None:
    elsewhere = KeyRing(tmp_path / "elsewhere")
    ring = elsewhere.ring()
    place = ring.signers[Role.SANDBOX]
    private = elsewhere.folder / place.uri.removeprefix("key:")
    pem = public_pem(private)
    keys = KeyRing(tmp_path / "keys")
    keys.use(Role.SANDBOX, f"file2:{private}", pem)

    assert keys.ring().signers[Role.SANDBOX].keyid == place.keyid
    with pytest.raises(KeysError, match="cannot be used"):
        keys.use(Role.SANDBOX, "nosuch:thing", pem)


def test_a_signer_whose_public_key_is_another_one_is_refused(tmp_path: Path) -> None:
    elsewhere = KeyRing(tmp_path / "elsewhere")
    files = [
        elsewhere.folder / elsewhere.ring().signers[role].uri.removeprefix("key:")
        for role in (Role.SANDBOX, Role.LINTER)
    ]
    keys = KeyRing(tmp_path / "keys")
    before = keys.ring()

    with pytest.raises(KeysError, match="does not match"):
        keys.use(Role.SANDBOX, f"file2:{files[0]}", public_pem(files[1]))
    assert keys.ring() == before


def test_a_persons_key_is_no_hosts_key(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path / "keys")
    ada = keys.add_person("ada")
    file = keys.folder / keys.ring().people["ada"].uri.removeprefix("key:")
    assert of_role(keys, Role.REVIEWER) != ada

    with pytest.raises(KeysError, match="that key is ada's already"):
        keys.use(Role.REVIEWER, f"file2:{file}", public_pem(file))


@pytest.mark.parametrize(
    ("uri", "extra"),
    [
        ("awskms:alias/tools", "awskms"),
        ("gcpkms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", "gcpkms"),
        ("azurekms://vault.vault.azure.net/keys/tools/1", "azurekms"),
        ("hv:tools/1", "vault"),
    ],
)
def test_a_service_whose_library_is_missing_says_what_to_install(
    tmp_path: Path, uri: str, extra: str
) -> None:
    private = KeyRing(tmp_path / "elsewhere")
    file = private.folder / private.ring().signers[Role.SANDBOX].uri.removeprefix("key:")

    with pytest.raises(KeysError, match=rf"pip install 'toolkiln\[{extra}\]'"):
        KeyRing(tmp_path / "keys").use(Role.SANDBOX, uri, public_pem(file))
    with pytest.raises(KeysError, match="Give it in PEM with --public-key"):
        KeyRing(tmp_path / "keys").use(Role.SANDBOX, uri)

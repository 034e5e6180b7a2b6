"""Where a role's private key is makes no difference: in the ring, in a file, on a PKCS#11 token."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest
from cryptography.hazmat.primitives import serialization
from factories import NOON, make_submission
from pydantic import SecretStr

from policies.statements import Kind, Role
from policies.vouching import checkpoint_statement
from toolstore.attest.envelopes import open_envelope
from toolstore.attest.errors import KeysError
from toolstore.attest.keys import KeyRing
from toolstore.models import ToolRef
from toolstore.store import ToolStore

LIBRARIES: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
)
LABEL, PIN = "tools", "271828"
CURVES: Final = MappingProxyType({1: "secp256r1", 2: "secp384r1", 3: "secp256r1"})
"""The keys on the token, by their number."""


@pytest.fixture(scope="session")
def token(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A token with keys; a skip for a person who has no SoftHSM, a failure in CI."""
    library = next((path for path in LIBRARIES if Path(path).exists()), None)
    if library is None or shutil.which("softhsm2-util") is None:
        if os.environ.get("CI") == "true" or request.config.getoption("--require-docker"):
            pytest.fail("there is no SoftHSM: install softhsm2", pytrace=False)
        pytest.skip("there is no SoftHSM: install softhsm2")
    pytest.importorskip("pkcs11", reason="pip install 'toolkiln[hsm]'")
    folder = tmp_path_factory.mktemp("token")
    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(config))
        patch.setenv("PYKCS11LIB", library)
        _fill(library)
        yield


def _fill(library: str) -> None:
    import pkcs11  # noqa: PLC0415 - where there is no token, there need not be this
    from pkcs11.util.ec import encode_named_curve_parameters  # noqa: PLC0415 - same

    initialise = ["softhsm2-util", "--init-token", "--free", "--label", LABEL]
    subprocess.run([*initialise, "--so-pin", PIN, "--pin", PIN], check=True, capture_output=True)
    found = pkcs11.lib(library).get_token(token_label=LABEL)
    with found.open(user_pin=PIN, rw=True) as session:
        for number, curve in CURVES.items():
            parameters = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}
            session.create_domain_parameters(
                pkcs11.KeyType.EC, parameters, local=True
            ).generate_keypair(
                mechanism=pkcs11.Mechanism.EC_KEY_PAIR_GEN,
                store=True,
                label=curve,
                id=bytes([number]),
            )


def in_the_ring(folder: Path) -> KeyRing:
    return KeyRing(folder / "keys")


def in_a_file(folder: Path) -> KeyRing:
    private, pem = key_file(folder)
    keys = KeyRing(folder / "keys")
    keys.use(Role.ADMITTER, f"file2:{private}", pem)
    return keys


def on_a_token(folder: Path) -> KeyRing:
    keys = KeyRing(folder / "keys", pin=SecretStr(PIN))
    keys.use(Role.ADMITTER, f"hsm:1?label={LABEL}")
    return keys


def on_a_token_with_a_longer_key(folder: Path) -> KeyRing:
    keys = KeyRing(folder / "keys", pin=SecretStr(PIN))
    keys.use(Role.ADMITTER, f"hsm:2?label={LABEL}")
    return keys


def with_the_pin_in_a_file(folder: Path) -> KeyRing:
    keys = KeyRing(folder / "keys")
    keys.ring()
    pin = keys.folder / "pin"
    pin.touch(mode=0o600)
    pin.write_text(f"{PIN}\n")
    keys.use(Role.ADMITTER, f"hsm:3?label={LABEL}")
    return keys


SIGNERS: Final = MappingProxyType(
    {
        in_the_ring: "ed25519",
        in_a_file: "ed25519",
        on_a_token: "ecdsa-sha2-nistp256",
        on_a_token_with_a_longer_key: "ecdsa-sha2-nistp384",
        with_the_pin_in_a_file: "ecdsa-sha2-nistp256",
    }
)


def key_file(folder: Path) -> tuple[Path, bytes]:
    """A private key in a file, and its public one in PEM."""
    keys = KeyRing(folder / "elsewhere")
    private = keys.folder / keys.ring().signers[Role.SANDBOX].uri.removeprefix("key:")
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, pem


def signed(keys: KeyRing, number: int = 1) -> str:
    """The scheme that a checkpoint was signed with, which is verified."""
    said = checkpoint_statement(sequence=number, head="sha256:00", states="", at=NOON)
    scheme = open_envelope(keys.sign(said, Kind.CHECKPOINT), keys.find).key.public["scheme"]
    return str(scheme)


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(("made", "scheme"), SIGNERS.items())
async def test_a_store_is_signed_loaded_and_verified(
    tmp_path: Path, made: Callable[[Path], KeyRing], scheme: str
) -> None:
    keys = made(tmp_path)
    assert signed(keys) == scheme
    async with await ToolStore.open(tmp_path / "store", keys=keys) as store:
        await store.admit(make_submission("kept"), actor="ada")
        keys.rotate(Role.ADMITTER)  # what it signed goes on counting when the token is gone
        await store.admit(make_submission("newer"), actor="ada")
    async with await ToolStore.open(tmp_path / "store", keys=KeyRing(keys.folder)) as store:
        assert (await store.get(ToolRef(name="kept"))).name == "kept"
        assert (await store.verify()).intact


@pytest.mark.usefixtures("token")
def test_many_threads_sign_with_one_token(tmp_path: Path) -> None:
    keys = on_a_token(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda number: signed(keys, number), range(1, 13))) == {
            "ecdsa-sha2-nistp256"
        }


@pytest.mark.usefixtures("token")
def test_a_public_key_that_is_not_the_tokens_is_refused(tmp_path: Path) -> None:
    other = KeyRing(tmp_path / "other", pin=SecretStr(PIN)).use(Role.LINTER, f"hsm:3?label={LABEL}")
    keys = KeyRing(tmp_path / "keys", pin=SecretStr(PIN))
    before = keys.ring()

    with pytest.raises(KeysError, match="does not fit the public key"):
        keys.use(Role.ADMITTER, f"hsm:1?label={LABEL}", other.material.encode())
    assert keys.ring() == before
    keys.use(Role.LINTER, f"hsm:3?label={LABEL}")
    with pytest.raises(KeysError, match="the linter's already"):
        keys.use(Role.ADMITTER, f"hsm:3?label={LABEL}")


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (f"hsm:9?label={LABEL}", "could not find"),
        ("hsm:1?label=nosuch", "No PKCS#11 token found for label nosuch"),
        ("hsm:one", "invalid literal"),
    ],
)
def test_a_key_that_is_not_there_is_said_to_be_missing(
    tmp_path: Path, uri: str, words: str
) -> None:
    with pytest.raises(KeysError, match=words):
        KeyRing(tmp_path / "keys", pin=SecretStr(PIN)).use(Role.ADMITTER, uri)


@pytest.mark.usefixtures("token")
def test_a_wrong_pin_is_tried_once_and_never_shown(tmp_path: Path) -> None:
    on_a_token(tmp_path)
    wrong = KeyRing(tmp_path / "keys", pin=SecretStr("999999"))
    for _ in range(2):
        with pytest.raises(KeysError, match="PinIncorrect") as refused:
            signed(wrong)
        assert "999999" not in str(refused.value)

    ring = wrong.ring()
    private = wrong._opened(ring, ring.signers[Role.ADMITTER])
    assert private._refused is not None
    with pytest.raises(KeysError, match="asks for its pin, and there is none"):
        signed(KeyRing(tmp_path / "keys"))


@pytest.mark.usefixtures("token")
def test_a_pin_that_others_may_read_is_refused(tmp_path: Path) -> None:
    keys = with_the_pin_in_a_file(tmp_path)
    (keys.folder / "pin").chmod(0o644)

    with pytest.raises(KeysError, match="may be read or written by others"):
        signed(KeyRing(keys.folder))

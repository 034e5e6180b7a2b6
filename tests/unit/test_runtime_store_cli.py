"""`toolkiln store verify | checkpoint | sign | keys`, as a person types them."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from cli_home import stand_at_home
from factories import make_submission
from storekit import tampering

from policies.statements import Role
from runtime.cli.program import run
from runtime.errors import ExitCode
from toolstore.attest.keys import KeyRing
from toolstore.models import ToolRef
from toolstore.store import ToolStore


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of one's own, with a signed store of one tool."""
    home = stand_at_home(tmp_path, monkeypatch)
    asyncio.run(_admit(home, "double"))
    return home


async def _admit(home: Path, name: str, *, revoke: bool = False) -> None:
    keys, seen = KeyRing(home / "keys"), home / "checkpoints"
    async with await ToolStore.open(home / "store", keys=keys, seen=seen) as store:
        await store.admit(make_submission(name), actor="ada")
        if revoke:
            await store.revoke(ToolRef(name=name), actor="ada", reason="wrong")


def test_verify_says_what_is_damaged_and_what_can_be_trusted(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(_admit(home, "other"))
    assert run(["store", "verify"]) == ExitCode.OK
    assert "trusted\tdouble@1" in capsys.readouterr().out

    with tampering(home / "store") as connection:
        connection.execute(
            "DELETE FROM attestation WHERE kind = 'trials' AND version = (SELECT digest FROM "
            "tool_version v JOIN tool t ON t.id = v.tool WHERE t.name = 'double')"
        )
    assert run(["store", "verify", "--json"]) == ExitCode.NO
    report = json.loads(capsys.readouterr().out)
    assert report["trusted"] == ["other@1"]
    assert [damage["where"] for damage in report["damage"]] == ["double@1"]
    assert run(["tools", "show", "double"]) == ExitCode.NO
    assert "is missing" in capsys.readouterr().err


def test_a_store_that_was_put_back_needs_a_persons_word(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(home / "store", home / "older")
    asyncio.run(_admit(home, "other", revoke=True))
    shutil.rmtree(home / "store")
    (home / "older").rename(home / "store")

    assert run(["store", "checkpoint"]) == ExitCode.NO
    assert "store checkpoint --accept" in capsys.readouterr().err
    assert run(["tools", "list"]) in {ExitCode.OK, ExitCode.NO}
    assert run(["store", "verify"]) == ExitCode.NO
    assert run(["store", "checkpoint", "--accept"]) == ExitCode.OK
    assert run(["store", "verify"]) == ExitCode.OK


def test_a_store_from_before_is_signed_by_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "old"
    monkeypatch.setenv("TOOLKILN_HOME", str(home))

    async def keyless() -> None:
        async with await ToolStore.open(home / "store") as store:
            await store.admit(make_submission(), actor="ada")

    asyncio.run(keyless())
    assert run(["tools", "show", "double"]) == ExitCode.NO
    assert "toolkiln store sign" in capsys.readouterr().err
    assert run(["store", "sign"]) == ExitCode.OK
    assert "signed\tdouble@1" in capsys.readouterr().out
    assert run(["tools", "show", "double"]) == ExitCode.OK


def test_keys_are_listed_rotated_given_and_trusted(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["store", "keys", "rotate", "sandbox"]) == ExitCode.OK
    assert run(["store", "keys", "person", "bob"]) == ExitCode.OK
    capsys.readouterr()
    assert run(["store", "keys", "list", "--json"]) == ExitCode.OK
    ring = json.loads(capsys.readouterr().out)
    assert [key["role"] for key in ring["keys"]].count("sandbox") == 2
    assert list(ring["people"]) == ["bob"]
    assert run(["store", "verify"]) == ExitCode.OK

    capsys.readouterr()
    assert run(["store", "keys", "export"]) == ExitCode.OK
    exported = tmp_path / "keys.json"
    exported.write_text(capsys.readouterr().out)
    other = ["--home", str(tmp_path / "third")]
    assert run([*other, "store", "keys", "trust", str(exported)]) == ExitCode.OK
    assert len(KeyRing(tmp_path / "third" / "keys").ring().keys) == len(Role) + len(ring["keys"])
    exported.write_text("{}")
    assert run([*other, "store", "keys", "trust", str(exported)]) == ExitCode.USAGE


def test_a_key_that_was_distrusted_stays_so_and_a_retired_one_is_taken_in(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, file = KeyRing(tmp_path / "other" / "keys"), tmp_path / "keys.json"
    old = other.ring().signers[Role.SANDBOX].keyid
    linter = other.ring().signers[Role.LINTER].keyid

    def trust(*more: str) -> str:
        file.write_text(other.public_keys().model_dump_json())
        capsys.readouterr()
        assert run(["store", "keys", "trust", str(file), *more]) == ExitCode.OK
        shown = capsys.readouterr()
        return shown.out + shown.err

    trust()
    assert run(["store", "keys", "distrust", linter]) == ExitCode.OK
    other.rotate(Role.SANDBOX)
    assert f"distrusted here: {linter[:16]}; --again" in trust()
    found = KeyRing(home / "keys").find(old)
    assert found is not None
    assert found.valid_until is not None
    assert "nothing is new" in trust()
    assert linter[:16] in trust("--again")


def test_a_signer_elsewhere_says_what_it_needs(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYKCS11LIB", raising=False)
    assert run(["store", "keys", "use", "sandbox", "hsm:1?label=tools"]) == ExitCode.MISSING
    assert "PYKCS11LIB" in capsys.readouterr().err
    missing = ["store", "keys", "use", "sandbox", "hsm:1", "--public-key", str(tmp_path / "no.pem")]
    assert run(missing) == ExitCode.USAGE
    assert "cannot read" in capsys.readouterr().err

    (home / "toolkiln.toml").write_text('hsm_pin = "271828"\n')
    assert run(["store", "keys", "list"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "TOOLKILN_HSM_PIN" in said
    assert "271828" not in said

"""Tools on their way out of a store and into one, on the command line."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from cli_home import stand_at_home
from exporters import Exported, Exporter
from factories import NOON, make_schema, make_submission
from rich.console import Console
from storekit import tampering

from policies.value import JsonObject, canonical_json, sha256_digest
from runtime.cli.program import run
from runtime.cli.signing import history_view
from runtime.errors import ExitCode
from runtime.exporting.trustfiles import read_trust
from runtime.importing import take_in
from runtime.outcome import DefinitionOutcome
from toolstore.attest.keys import KeyRing
from toolstore.attest.trust import key_id
from toolstore.bundle import read_bundle
from toolstore.errors import BundleError
from toolstore.store import ToolStore


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a working folder of its own, and nothing of the caller's environment."""
    return stand_at_home(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exporter(tmp_path_factory.mktemp("exporter")).one()


@pytest.fixture
def files(exported: Exported, tmp_path: Path) -> tuple[str, str]:
    """A bundle, and the file of its exporter's public keys."""
    bundle, keys = tmp_path / "double.json", tmp_path / "keys.json"
    bundle.write_bytes(exported.content)
    listed = [key.model_dump(mode="json") for key in exported.keys.values()]
    keys.write_text(json.dumps({"keys": listed}))
    return str(bundle), str(keys)


def test_trusted_keys_make_a_yes(
    files: tuple[str, str], home: Path, capsys: pytest.CaptureFixture[str]
):
    bundle, keys = files

    assert run(["verify", bundle, "--trust", keys]) == ExitCode.OK

    shown = capsys.readouterr()
    lines = [line.split("\t") for line in shown.out.splitlines()]
    assert {line[1] for line in lines} <= {"holds", "aside"}
    assert "signed by keys that you trust" in shown.err
    assert not home.exists()


def test_unknown_keys_make_a_no(files: tuple[str, str], capsys: pytest.CaptureFixture[str]):
    assert run(["verify", files[0]]) == ExitCode.NO
    shown = capsys.readouterr()
    assert "keys you have not said you trust" in shown.err
    assert "says to be admitter" in shown.out

    assert run(["verify", files[0], "--json"]) == ExitCode.NO
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "untrusted"
    assert document["ref"] == "double@1"
    assert {"part", "standing", "detail", "keyid"} <= document["lines"][0].keys()


def test_a_changed_file_makes_a_no_that_says_what(
    exported: Exported, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
):
    document = json.loads(exported.content)
    document["events"][0]["actor"] = "\x1b[31meve\u202e"
    Path(files[0]).write_bytes(canonical_json(document))

    assert run(["verify", *files[:1], "--trust", files[1]]) == ExitCode.NO

    shown = capsys.readouterr()
    assert "log: event 1: the entry is not what its hash says" in shown.err
    assert "\x1b" not in shown.out + shown.err


@pytest.mark.parametrize("content", [b"", b"\x00" * 50, b"{}", b"[" * 5_000, b"\x1b[31m"])
def test_anything_else_makes_a_no(content: bytes, capsys: pytest.CaptureFixture[str]):
    Path("x").write_bytes(content)

    assert run(["verify", "x"]) == ExitCode.NO
    assert "not to be trusted" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", '{"keys": 3}', "[" * 9_000, '[{"keyid": "x"}]']
)
def test_what_is_no_file_of_keys_is_wrong_usage(
    files: tuple[str, str], content: str, capsys: pytest.CaptureFixture[str]
):
    Path("keys").write_text(content)

    assert run(["verify", files[0], "--trust", "keys"]) == ExitCode.USAGE
    assert "no file of public keys" in capsys.readouterr().err


def test_a_key_in_two_spellings_is_wrong_usage(
    files: tuple[str, str], exported: Exported, capsys: pytest.CaptureFixture[str]
):
    key = next(iter(exported.keys.values()))
    twice: JsonObject = {**key.public, "keyval": {"public": key.material.upper()}}
    spelled = {"keyid": key_id(twice), "public": twice, "role": "linter", "made_at": f"{NOON}"}
    Path("keys").write_text(json.dumps([spelled]))

    assert run(["verify", files[0], "--trust", "keys"]) == ExitCode.USAGE
    assert "two identities" in capsys.readouterr().err


def test_a_list_of_keys_is_one_too(exported: Exported):
    listed = [key.model_dump(mode="json") for key in exported.keys.values()]
    Path("keys").write_text(json.dumps(listed))

    assert read_trust([Path("keys")]) == exported.keys


def filled(home: Path) -> None:
    async def work() -> None:
        async with await ToolStore.open(home / "store", keys=KeyRing(home / "keys")) as store:
            await store.admit(make_submission(), actor="ann")
            await store.admit(make_submission("treble_2"), actor="ann")

    asyncio.run(work())


def test_all_of_a_store_leaves_in_each_form(home: Path, capsys: pytest.CaptureFixture[str]):
    filled(home)

    assert run(["tools", "export", "--all", "-o", "bundles"]) == ExitCode.OK
    names = sorted(path.name for path in Path("bundles").iterdir())
    assert names == ["double@1.json", "treble_2@1.json"]
    assert read_bundle(Path("bundles", names[0]).read_bytes()).ref == "double@1"

    assert run(["tools", "export", "--all", "--format", "skill", "-o", "skills"]) == ExitCode.OK
    assert sorted(path.name for path in Path("skills").iterdir()) == ["double", "treble-2"]
    assert Path("skills", "double", "SKILL.md").read_text("utf-8").startswith("---\nname: double\n")
    capsys.readouterr()

    assert run(["tools", "export", "--all", "--format", "mcp"]) == ExitCode.OK
    listed = json.loads(capsys.readouterr().out)
    assert [tool["name"] for tool in listed["tools"]] == ["double", "treble_2"]


def test_one_tool_or_all_of_them(home: Path):
    filled(home)

    assert run(["tools", "export"]) == ExitCode.USAGE
    assert run(["tools", "export", "double", "--all"]) == ExitCode.USAGE
    assert run(["tools", "export", "--all"]) == ExitCode.USAGE
    assert run(["tools", "export", "double", "--format", "skill"]) == ExitCode.OK
    assert run(["tools", "export", "double", "--format", "skill"]) == ExitCode.USAGE


def test_show_and_history_say_who_signed_what(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    filled(home)
    monkeypatch.setenv("COLUMNS", "80")

    assert run(["tools", "show", "double"]) == ExitCode.OK
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    for part in ("who vouches for it", "linter ", "sandbox ", "admitter "):
        assert part in shown

    assert run(["tools", "show", "double", "--json"]) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert document["others"] == []
    roles = {line["role"] for line in document["signatures"] if line["role"]}
    assert roles == {"linter", "sandbox", "admitter"}

    assert run(["tools", "history", "double"]) == ExitCode.OK
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert "analysis by linter" in rows[1][7]
    assert rows[1][6].startswith("sha256:")


def test_diff_has_every_respect_apart(home: Path, capsys: pytest.CaptureFixture[str]):
    async def work() -> None:
        ring = KeyRing(home / "keys")
        async with await ToolStore.open(home / "store", keys=ring) as store:
            await store.admit(make_submission(), actor="ann")
            wider = make_schema(returns={"type": "number"})
            await store.admit(make_submission(schema=wider, code=CODE), actor="ann")

    asyncio.run(work())

    assert run(["tools", "diff", "double", "--json"]) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    changed = [part["title"] for part in document["parts"] if part["changed"]]
    assert changed == ["source", "schema"]
    assert "+    return number + number" in document["diff"]
    assert '-    "type": "integer"' in document["diff"]
    assert document["behaviour"] is None

    assert run(["tools", "diff", "double"]) == ExitCode.OK
    shown = capsys.readouterr().out
    assert "the same: description, permissions, packages" in shown


CODE = "def double(number: int) -> float:\n    return number + number\n"


def test_history_is_readable_at_80_columns(home: Path):
    filled(home)

    async def work() -> list[str]:
        ring = KeyRing(home / "keys")
        async with await ToolStore.open(home / "store", keys=ring) as store:
            versions = await store.history("double")
            signed = await store.exchange.signatures(versions)
            events = await store.events("double")
        console = Console(width=80, file=StringIO())
        console.print(*history_view(events, {versions[0].digest: 1}, signed), sep="\n")
        assert isinstance(console.file, StringIO)
        return console.file.getvalue().splitlines()

    lines = asyncio.run(work())
    assert any("double@1  admitted  quarantined -> approved" in line for line in lines)
    assert any("signed: analysis by linter" in line for line in lines)


# -- importing -----------------------------------------------------------------------------------


async def test_what_others_said_is_kept_and_counts_for_nothing(exported: Exported, tmp_path: Path):
    importer = Exporter(tmp_path / "importer")
    async with await importer.open() as store:

        async def define(_source: object) -> DefinitionOutcome:
            return DefinitionOutcome.stored(await importer.submit(store))

        outcome = await take_in(store, exported.content, define, actor="zoe")
        again = await take_in(store, exported.content, define, actor="zoe")

        assert outcome.needs_review  # others' approval is no approval here
        assert again.ref == outcome.ref
        version = await store.version(str(outcome.digest))
        assert version.approvals == ()
        (word,) = await store.exchange.words(version)
        assert (word.actor, word.report.ref) == ("zoe", "double@1")
        assert word.report.verdict.value == "untrusted"
        assert (await store.verify()).intact


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("DELETE FROM blob WHERE digest = ?", "blob sha256:"),
        ("UPDATE blob SET bytes = x'00' WHERE digest = ?", "blob sha256:"),
    ],
    ids=["missing", "altered"],
)
async def test_a_damaged_word_of_others_is_seen_and_the_tool_stays(
    exported: Exported, tmp_path: Path, harm: str, found: str
):
    importer = Exporter(tmp_path)
    async with await importer.open() as store:

        async def define(_source: object) -> DefinitionOutcome:
            return DefinitionOutcome.stored(await importer.submit(store))

        outcome = await take_in(store, exported.content, define, actor="zoe")
    with tampering(tmp_path / "store") as connection:
        connection.execute(harm, [sha256_digest(exported.content)])

    async with await importer.open() as store:
        version = await store.version(str(outcome.digest))
        (word,) = await store.exchange.words(version)
        assert word.report.verdict.value == "broken"
        report = await store.verify()
        assert [each.where[: len(found)] for each in report.damage] == [found]
        assert str(version.ref) in report.trusted


async def test_a_file_that_does_not_hold_is_refused_before_anything_runs(
    exported: Exported, tmp_path: Path
):
    ran = []

    async def define(source: object) -> DefinitionOutcome:
        ran.append(source)
        raise AssertionError

    document = json.loads(exported.content)
    document["envelopes"][0]["signatures"][0]["sig"] = "AAAA"
    async with await Exporter(tmp_path / "importer").open() as store:
        with pytest.raises(BundleError, match="statement 1"):
            await take_in(store, canonical_json(document), define, actor="zoe")
        assert await store.summaries() == ()
    assert ran == []


@pytest.mark.heavy
def test_an_import_that_was_killed_half_way_is_completed_by_the_next(
    exported: Exported, tmp_path: Path
):
    bundle, folder = tmp_path / "double.json", tmp_path / "importer"
    bundle.write_bytes(exported.content)
    program = Path(__file__).parents[1] / "support" / "import_and_die.py"
    died = subprocess.run([sys.executable, program, folder, bundle], check=False)
    assert died.returncode == -signal.SIGKILL

    async def work() -> None:
        importer = Exporter(folder)
        async with await importer.open() as store:
            (version,) = await store.history("double")
            assert await store.exchange.words(version) == ()
            assert (await store.verify()).intact

            async def define(_source: object) -> DefinitionOutcome:
                return DefinitionOutcome.stored(await importer.submit(store))

            outcome = await take_in(store, exported.content, define, actor="zoe")
            assert outcome.digest == version.digest
            assert len(await store.exchange.words(version)) == 1
            assert (await store.verify()).intact

    asyncio.run(work())


async def test_a_file_by_a_key_that_this_store_distrusts_is_refused(tmp_path: Path):
    exporter = Exporter(tmp_path / "exporter")
    async with await exporter.open() as store:
        content = await exporter.export(store, await exporter.submit(store))
    importer = Exporter(tmp_path / "importer")
    importer.ring.ring()
    importer.ring.trust(exporter.ring.public_keys())
    linter = next(key for key in exporter.keys.values() if key.role == "linter")

    async def define(_source: object) -> DefinitionOutcome:
        raise AssertionError

    async with await importer.open() as store:
        importer.ring.distrust(linter.keyid)
        with pytest.raises(BundleError, match="not to be trusted here"):
            await take_in(store, content, define, actor="zoe")


async def test_what_was_revoked_elsewhere_stays_out(tmp_path: Path):
    exporter = Exporter(tmp_path / "exporter")
    async with await exporter.open() as store:
        version = await exporter.submit(store)
        await store.revoke(version.digest, actor="bob", reason="it lies")
        content = await exporter.export(store, version)

    async def define(_source: object) -> DefinitionOutcome:
        raise AssertionError

    async with await Exporter(tmp_path / "importer").open() as store:
        with pytest.raises(BundleError, match="it lies"):
            await take_in(store, content, define, actor="zoe")

"""`toolkiln store calls`: what is kept of calls is shown, and deleted on request."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from factories import make_submission

from policies.outcomes import Outcome
from policies.value import sha256_digest
from runtime.cli.program import run
from runtime.errors import ExitCode
from runtime.settings import Settings
from runtime.storekeys import open_signed_store
from toolstore.calls import CallBody, CallRecord

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with two tools that were called, and nothing of the caller's environment."""
    for name in list(os.environ):
        if name.startswith("TOOLKILN_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("TOOLKILN_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    asyncio.run(filled(folder))
    return folder


async def filled(home: Path) -> None:
    async with await open_signed_store(Settings(home=home)) as store:
        for name in ("double", "treble"):
            version = await store.admit(make_submission(name), actor="ada")
            calls = [
                CallRecord(
                    version=version.digest,
                    session=f"session-{number}",
                    tenant="ada",
                    arguments_digest=sha256_digest(b"%d" % number),
                    outcome=Outcome.RAISED,
                    execute_seconds=0.1,
                    total_seconds=0.1,
                    at=NOW - timedelta(days=number),
                    body=CallBody(arguments={"number": number}),
                )
                for number in range(3)
            ]
            await store.record_calls(calls, keep=9, before=NOW - timedelta(days=99))


def kept(
    capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[list[tuple[str, int, int]], int | None]:
    capsys.readouterr()
    assert run(["store", "calls", "--json", *words]) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    lines = [(each["name"], each["calls"], each["bodies"]) for each in document["calls"]]
    return lines, document["deleted"]


def test_calls_are_shown_and_deleted(capsys: pytest.CaptureFixture[str]):
    assert kept(capsys) == ([("double", 3, 3), ("treble", 3, 3)], None)
    assert kept(capsys, "double@1", "--older-than", "2") == ([("double", 1, 1)], None)
    assert kept(capsys, "--session", "session-0", "--forget-bodies")[1] == 2
    assert kept(capsys, "treble", "--forget")[1] == 3
    assert kept(capsys) == ([("double", 3, 2)], None)
    assert kept(capsys, "--all", "--forget")[1] == 3

    assert run(["store", "calls"]) == ExitCode.OK
    assert "double" not in capsys.readouterr().out


def test_nothing_is_deleted_by_mistake(capsys: pytest.CaptureFixture[str]):
    assert run(["store", "calls", "--forget"]) == ExitCode.USAGE
    assert run(["store", "calls", "double", "--all", "--forget"]) == ExitCode.USAGE
    assert run(["store", "calls", "duble", "--forget"]) == ExitCode.NO
    assert run(["store", "calls", "double@7", "--forget"]) == ExitCode.NO
    assert kept(capsys)[0] == [("double", 3, 3), ("treble", 3, 3)]


def test_who_may_not_take_a_tool_back_may_not_delete_its_calls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    cedar = '@id("no") forbid(principal, action == Action::"revoke", resource);'
    (tmp_path / "mine.cedar").write_text(
        f'@id("all") permit(principal, action, resource);\n{cedar}\n'
    )
    local = Path(__file__).parents[2] / "policies" / "profiles" / "local.toml"
    access = '\n[access]\npolicies = ["mine.cedar"]\n'
    (tmp_path / "mine.toml").write_text(local.read_text("utf-8") + access)

    refused = run(["--policy", str(tmp_path / "mine.toml"), "store", "calls", "double", "--forget"])
    assert refused == ExitCode.NO
    assert kept(capsys)[0] == [("double", 3, 3), ("treble", 3, 3)]

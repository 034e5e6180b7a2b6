"""`toolkiln review` for scripts, and the lines that the screen is drawn from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from cli_home import stand_at_home
from factories import ALWAYS_ASKS, make_submission, needs_review
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.utils import get_cwidth

from policies.config import load_profile
from policies.marking import mark_text
from runtime.cli.program import run
from runtime.cli.reviewdrawing import wrap
from runtime.cli.reviewlines import Style, styled
from runtime.errors import ExitCode
from toolstore.attest.keys import KeyRing
from toolstore.models import Lifecycle, ToolVersion
from toolstore.store import ToolStore

T = TypeVar("T")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = stand_at_home(tmp_path, monkeypatch)
    (tmp_path / "policy.toml").write_text(ALWAYS_ASKS)
    monkeypatch.setenv("TOOLKILN_POLICY", str(tmp_path / "policy.toml"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    return home


def in_store(home: Path, work: Callable[[ToolStore], Awaitable[T]]) -> T:
    async def opened() -> T:
        keys = KeyRing(home / "keys")
        async with await ToolStore.open(home / "store", keys=keys) as store:
            return await work(store)

    return asyncio.run(opened())


@pytest.fixture
def waiting(home: Path) -> ToolVersion:
    digest = load_profile(ALWAYS_ASKS, origin="tests").digest
    decision = needs_review().model_copy(update={"policy_digest": digest})
    return in_store(home, lambda s: s.admit(make_submission(decision=decision), actor="ada"))


def shown_of(capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["review", "show", "double", "--json"]) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert document["review"]["digest"] == document["digest"]
    assert document["review"]["coverage"] is None
    return str(document["shown"])


def test_a_script_approves_what_it_was_shown_with_scope_and_expiry(
    home: Path, waiting: ToolVersion, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = shown_of(capsys)
    words = ["review", "approve", "double", "--digest", shown, "--as", "bob"]

    for bad in ("soon", "30", "2027-01-31", "2001-01-01T00:00+00:00"):
        assert run([*words, "--expires", bad]) == ExitCode.USAGE
    capsys.readouterr()
    assert run([*words, "--scope", "session", "--expires", "30d", "--json"]) == ExitCode.OK

    assert json.loads(capsys.readouterr().out)["state"] == "approved"
    (approval,) = in_store(home, lambda s: s.version(waiting.digest)).approvals
    assert (approval.principal, approval.scope.value, approval.shown) == ("bob", "session", shown)
    assert approval.expires_at is not None
    assert (approval.expires_at - approval.at).days in {29, 30}


def test_a_script_asks_for_a_change_and_then_what_was_shown_is_old(
    home: Path, waiting: ToolVersion, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = shown_of(capsys)

    words = ["review", "reject", "double", "--ask", "--reason", "name the unit", "--as", "bob"]
    assert run([*words, "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["state"] == "quarantined"
    assert run(["review", "approve", "double", "--digest", shown, "--as", "cat"]) == ExitCode.NO
    assert "bob: change asked (name the unit)" in capsys.readouterr().err
    assert in_store(home, lambda s: s.version(waiting.digest)).state is Lifecycle.QUARANTINED
    assert run(["review", "reject", "double", "--reason", "", "--as", "bob"]) == ExitCode.USAGE


def test_everything_about_a_version_is_printed(
    waiting: ToolVersion, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["review", "show", "double"]) == ExitCode.OK
    printed = capsys.readouterr().out
    for words in (
        "-- summary",
        "-- diff",
        "-- source",
        "-- trials",
        "-- coverage",
        "-- history",
        "reads nothing, no network, no packages",
        "a person must look",
        "return number * 2",
        "the first version",
    ):
        assert words in printed
    assert printed.rstrip().endswith(f"digest {waiting.digest}")


def test_without_a_command_and_a_terminal_the_queue_is_listed(
    waiting: ToolVersion, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["review"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith(f"{waiting.ref}\t")


@given(st.text(max_size=300), st.integers(min_value=4, max_value=100))
def test_wrapped_lines_fit_and_lose_nothing(text: str, width: int) -> None:
    line = [*styled(mark_text(text)), (Style.NAME, text if text.isprintable() else "")]
    rows = wrap(line, width)

    whole = "".join(part for row in rows for _, part in row)
    assert whole == "".join(part for _, part in line).replace("\t", "    ")
    for row in rows:
        assert sum(get_cwidth(character) for _, part in row for character in part) <= width

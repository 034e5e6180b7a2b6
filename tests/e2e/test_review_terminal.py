"""The review desk on a terminal of 80 columns: a whole process, keys in, a screen out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from factories import ALWAYS_ASKS, make_submission, needs_review
from terminal import CTRL_C, terminal
from vtscreen import FullScreen

from policies.config import load_profile
from toolstore.attest.keys import KeyRing
from toolstore.models import Lifecycle, ToolRef
from toolstore.store import ToolStore

CHANGED = (
    "def double(number: int) -> int:\n"
    '\t"""Double \u202e a \x1b]0;own\x07 number."""\n'
    "    if number > 100:\n"
    f"        return 200  # {'x' * 300} end\n"
    "    return number + number\n"
)


@pytest.fixture
async def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "policy.toml").write_text(ALWAYS_ASKS)
    asked = needs_review("somebody must look")
    digest = load_profile(ALWAYS_ASKS, origin="tests").digest
    decision = asked.model_copy(update={"policy_digest": digest})
    keys = KeyRing(tmp_path / "keys")
    async with await ToolStore.open(tmp_path / "store", keys=keys) as store:
        await store.admit(make_submission(), actor="ada")
        await store.admit(make_submission(code=CHANGED, decision=decision), actor="ada")
        await store.admit(make_submission(name="triple", decision=decision), actor="ada")
        await store.admit(make_submission(name="uncle", decision=decision), actor="ada")
    return {
        "PATH": os.defpath,
        "TOOLKILN_HOME": str(tmp_path),
        "TOOLKILN_POLICY": str(tmp_path / "policy.toml"),
        "DOCKER_HOST": f"unix://{tmp_path}/nothing.sock",
    }


async def test_a_reviewer_goes_through_the_queue_by_keyboard(
    environment: dict[str, str], tmp_path: Path
) -> None:
    review = [sys.executable, "-m", "runtime", "review", "--as", "bob"]
    with terminal(review, environment, rows=24, columns=80) as program:
        screen = FullScreen(program, rows=24, columns=80)
        screen.wait_for("triple@1")
        screen.type("\r")
        screen.wait_for("somebody must look")
        screen.type("c")
        screen.wait_for("ask the author of double@2 to change")
        screen.type("name the limit\r")
        screen.wait_for("goes on waiting")
        screen.wait_for("triple@1  quarantined")
        screen.type("x")
        screen.wait_for("reject triple@1 for good")
        screen.type("not needed\r")
        screen.wait_for("is rejected")
        screen.wait_for("uncle@1  quarantined")
        screen.type("a")
        screen.wait_for("look at the diff")
        screen.type("2")
        screen.wait_for("the first version")
        screen.type("a")
        screen.wait_for("approve uncle@1")
        screen.type("\x05fine\r")
        screen.wait_for("uncle@1 is approved")
        screen.type("b")
        screen.wait_for("1 waits for review")
        screen.type("q")
        assert program.wait_for_end() == 0

    for acting in (b"\x1b]0;own", "\u202e".encode()):
        assert acting not in program.raw
    keys = KeyRing(tmp_path / "keys")
    async with await ToolStore.open(tmp_path / "store", keys=keys) as store:
        states = {each.name: each.state for each in await store.summaries() if each.sequence == 1}
        assert states["triple"] is Lifecycle.REVOKED
        uncle = await store.find(ToolRef(name="uncle"))
        (reason,) = [e.reason for e in await store.events("double") if e.type == "change_asked"]
    assert reason == "name the limit"
    (approval,) = uncle.approvals
    assert (approval.principal, approval.comment) == ("bob", "fine")
    assert approval.expires_at is not None
    assert (approval.expires_at - approval.at).days in {6, 7}


def test_without_a_terminal_the_queue_is_listed(environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runtime", "review"],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [
        "double@2",
        "triple@1",
        "uncle@1",
    ]


async def test_a_narrow_terminal_without_colour_loses_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    review = [sys.executable, "-m", "runtime", "review", "--as", "bob"]
    environment |= {"NO_COLOR": "1"}
    with terminal(review, environment, rows=20, columns=40) as program:
        screen = FullScreen(program, rows=20, columns=40)
        for words in ("triple@1", "Double", "r read again", "q quit"):  # two rows a version
            screen.wait_for(words)
        screen.type("\r")
        for words in ("7 history", "1 summary", "PgUp PgDn", "x reject", "b back"):
            screen.wait_for(words)
        screen.type(" ")
        screen.wait_for("somebody must")
        screen.type("3")
        screen.wait_for("\\u202e")
        screen.type("a")
        for words in (
            "approve double@2; a comment",
            "Ctrl-S scope: stable",
            "Ctrl-E counts for good",
        ):
            screen.wait_for(words)
        screen.type("\x13\x13")
        screen.wait_for("Ctrl-S scope: session")
        screen.type(CTRL_C)  # leaves the vote, not the desk
        screen.wait_for("n next")
        screen.type("x\r")
        screen.wait_for("say why: the reason is kept in the log")
        screen.wait_for("goes to the session that wrote")
        screen.resize(rows=24, columns=100)
        screen.wait_for("1 summary  2 diff  3 source  4 trials  5 coverage  6 standing  7 history")
        screen.type("6")
        screen.wait_for("versions and channels")
        screen.wait_for("double@1  approved for stable")
        screen.type(CTRL_C)
        assert program.wait_for_end() == 0

    colours = re.findall(rb"\x1b\[[0-9;]*m", program.raw)
    assert not [each for each in colours if re.search(rb"[\[;](3[0-8]|4[0-8]|9\d|10\d)[;m]", each)]
    for acting in (b"\x1b]0;own", "\u202e".encode()):
        assert acting not in program.raw
    async with await ToolStore.open(tmp_path / "store", keys=KeyRing(tmp_path / "keys")) as store:
        assert (await store.find(ToolRef(name="double", sequence=2))).state.value == "quarantined"


def test_what_waits_is_a_document_for_scripts(environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runtime", "review", "--json"],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    names = [(each["name"], each["sequence"]) for each in json.loads(done.stdout)]
    assert names == [("double", 2), ("triple", 1), ("uncle", 1)]

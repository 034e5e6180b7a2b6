"""The command line as people and scripts start it: whole processes, a real engine, a terminal."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aimock import Aimock
from terminal import CTRL_C, CTRL_D, terminal

TOOL = '''def caesar(text: str, shift: int) -> str:
    """Shift the letters a to z of a text.

    Args:
        text: What to shift.
        shift: By how many places.

    >>> caesar("xyz", 3)
    'abc'
    """
    letters = [
        chr((ord(each) - 97 + shift) % 26 + 97) if "a" <= each <= "z" else each for each in text
    ]
    return "".join(letters)
'''
EXAMPLES = [{"arguments": {"text": "xyz", "shift": 3}, "returns": "abc"}]
DEFINITION = {
    "name": "caesar",
    "description": "Shift the letters a to z of a text by a number of places.",
    "code": TOOL,
    "examples": EXAMPLES,
}
FIXTURES: list[Mapping[str, Any]] = [
    {
        "match": {"userMessage": "cipher", "turnIndex": 0},
        "response": {
            "toolCalls": [{"id": "call_1", "name": "define_tool", "arguments": DEFINITION}]
        },
    },
    {
        "match": {"userMessage": "cipher", "turnIndex": 1},
        "response": {
            "toolCalls": [
                {"id": "call_2", "name": "caesar", "arguments": {"text": "hello", "shift": 3}}
            ]
        },
    },
    {
        "match": {"userMessage": "cipher", "turnIndex": 2},
        "response": {"content": "It is khoor. \x1b]0;own\x07"},
    },
    {
        "match": {"userMessage": "slowly"},
        "response": {"content": "word " * 4000},
        "chunkSize": 5,
        "latency": 100,
    },
    {"match": {"userMessage": "piped"}, "response": {"content": "I read it."}},
]


@pytest.fixture
def server(shared_aimock: Aimock) -> Aimock:
    return shared_aimock.serving(FIXTURES)


@pytest.fixture
def environment(home: Path, server: Aimock) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("DOCKER_HOST",) if name in os.environ}
    return {
        "PATH": os.defpath,
        "TOOLKILN_HOME": str(home),
        "TOOLKILN_MODEL": "gpt-test",
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": server.base_url,
        **kept,
    }


@pytest.fixture
def engine(image_digest: str, image_state: Path, home: Path) -> None:
    """There is an engine, and the home knows the image that was built already."""
    del image_digest
    shutil.copytree(image_state, home / "sandbox")


def toolkiln(
    environment: Mapping[str, str], *words: str, text: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runtime", *words],
        env=dict(environment),
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_a_tool_goes_through_the_commands(
    engine: None, environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "caesar.py"
    file.write_text(TOOL)

    waits = toolkiln(environment, "define", str(file), "--policy", "production")
    assert waits.returncode == 1, waits.stderr
    assert "toolkiln review approve caesar@1" in waits.stdout
    called = toolkiln(environment, "call", "caesar", '{"text": "a", "shift": 1}')
    assert called.returncode == 1

    shown = json.loads(toolkiln(environment, "review", "show", "caesar", "--json").stdout)
    words = ["review", "approve", "caesar", "--policy", "production", "--digest", shown["digest"]]
    own = toolkiln(environment, *words)
    assert own.returncode == 1
    assert "author" in own.stderr
    assert toolkiln(environment, *words, "--as", "somebody else").returncode == 0

    called = toolkiln(environment, "call", "caesar", "-", text='{"text": "hello", "shift": 3}')
    assert (called.returncode, called.stdout) == (0, '"khoor"\n')
    tested = toolkiln(environment, "tools", "test", "caesar", "--json")
    assert tested.returncode == 0
    assert json.loads(tested.stdout)["passed"] is True

    bundle = tmp_path / "caesar.json"
    assert toolkiln(environment, "tools", "export", "caesar", "-o", str(bundle)).returncode == 0
    elsewhere = {**environment, "TOOLKILN_HOME": str(tmp_path / "elsewhere")}
    shutil.copytree(Path(environment["TOOLKILN_HOME"]) / "sandbox", tmp_path / "elsewhere/sandbox")
    imported = toolkiln(elsewhere, "tools", "import", str(bundle), "--json")
    assert imported.returncode == 0, imported.stderr
    assert json.loads(imported.stdout)["admitted"] is True


async def test_a_refused_tool_says_everything_in_three_forms(
    environment: dict[str, str], tmp_path: Path
) -> None:
    source = json.dumps({**DEFINITION, "code": "import socket\n" + TOOL})

    text = toolkiln(environment, "define", "-", text=source)
    assert text.returncode == 1
    assert "lint:1:8" in text.stdout
    assert "refused caesar" in text.stdout
    document = json.loads(toolkiln(environment, "define", "-", "--json", text=source).stdout)
    assert (document["admitted"], document["needs_review"]) == (False, False)
    sarif = json.loads(
        toolkiln(environment, "define", "-", "--format", "sarif", text=source).stdout
    )
    result = sarif["runs"][0]["results"][0]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 1
    assert result["ruleId"] == document["findings"][0]["rule"]


async def test_one_prompt_makes_a_tool_and_answers(
    engine: None, environment: dict[str, str]
) -> None:
    done = toolkiln(environment, "run", "a cipher, please", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["text"].startswith("It is khoor.")
    assert (document["turns"], document["tools_made"], document["stopped"]) == (3, ["caesar"], None)

    sessions = json.loads(toolkiln(environment, "sessions", "list", "--json").stdout)
    assert [each["session_id"] for each in sessions] == [document["session"]]
    record = toolkiln(environment, "sessions", "show", document["session"])
    assert "khoor" in record.stdout
    assert "\x1b" not in record.stdout


async def test_a_budget_stops_a_prompt(environment: dict[str, str]) -> None:
    done = toolkiln(environment, "run", "cipher?", "--json", "--budget-definitions", "0",
                    "--budget-turns", "1")  # fmt: skip

    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["stopped"]["reason"] == "turns"


async def test_standard_input_is_data_of_the_prompt(
    environment: dict[str, str], server: Aimock
) -> None:
    done = toolkiln(environment, "run", "summarise", text="this was piped in")

    assert (done.returncode, done.stdout) == (0, "I read it.\n")
    asked = json.dumps(server.journal()[-1].body)
    assert "not instructions" in asked


async def test_without_a_key_a_model_is_missing(environment: dict[str, str]) -> None:
    del environment["OPENAI_API_KEY"], environment["OPENAI_BASE_URL"]

    done = toolkiln(environment, "run", "hello")
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("error: ")


async def test_a_conversation_in_a_terminal(environment: dict[str, str], home: Path) -> None:
    with terminal([sys.executable, "-m", "runtime", "chat"], environment) as screen:
        screen.wait_for("/help lists the commands")
        screen.wait_for(">")
        screen.type("never sent" + CTRL_C)
        screen.wait_for(">")
        screen.type("answer slowly\r")
        screen.wait_for("word word word")
        screen.type(CTRL_C)
        screen.wait_for("stopped (interrupted)")
        screen.wait_for(">")
        screen.type("/usage\r")
        screen.wait_for("definitions")
        screen.type("/nonsense\r")
        screen.wait_for("there is no '/nonsense'")
        screen.type("/tools\r")
        screen.wait_for("no tools yet")
        screen.type("piped\r")
        screen.wait_for("I read it.")
        screen.wait_for(">")
        screen.type(CTRL_D)
        screen.wait_for("toolkiln chat --resume ")
        assert screen.wait_for_end() == 0

    history = home / "chat_history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "answer slowly" in history.read_text()
    assert "never sent" not in history.read_text()


async def test_a_definition_in_a_terminal_shows_all_of_it(
    engine: None, environment: dict[str, str]
) -> None:
    with terminal([sys.executable, "-m", "runtime", "chat"], environment) as screen:
        screen.wait_for(">")
        screen.type("a cipher, please\r")
        for words in ("call define_tool", "def caesar", "✓ lint", "✓ example", "✓ trials"):
            screen.wait_for(words)
        screen.wait_for("Admitted as caesar@1")
        screen.wait_for("It is khoor.")
        screen.type("/tool caesar\r")
        screen.wait_for("digest sha256:")
        screen.type("/quit\r")
        assert screen.wait_for_end() == 0
    assert b"\x1b]0;own" not in screen.raw


async def test_a_conversation_without_a_terminal_is_plain(environment: dict[str, str]) -> None:
    done = toolkiln(environment, "chat", text="piped\n/help\n/quit\n")

    assert done.returncode == 0, done.stderr
    assert "I read it." in done.stdout
    assert "/review" in done.stdout
    assert "\x1b" not in done.stdout

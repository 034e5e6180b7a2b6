"""All commands at once: the same words everywhere, help that can be read, and no traceback."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from cli_home import stand_at_home
from factories import make_submission, needs_review
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.main import get_command

from runtime.cli.completion import tool_names
from runtime.cli.program import COMMANDS as PROGRAM
from runtime.cli.program import assemble, run
from runtime.errors import ExitCode
from toolstore.attest.keys import KeyRing
from toolstore.store import ToolStore

HOSTILE: Final = (
    *("", " ", "-", "--", "@", "x@", "@1", "x@sha256:", "x@99999999999999", ".", "..", "/"),
    *("double", "double@1", "double@2", "triple", "sha256:" + "0" * 64, "local", "./x.toml"),
    *("\x1b[31m\u202e", "\udcff", "./\udcff", "ä" * 5_000, "/dev/null", "/root/x", "~nobody/x"),
    *("{}", "[]", '{"a": 1}', "nan", "inf", "-1", "0", "1", "1e999", "9" * 20, "0001-01-01"),
    *("postgresql://", "postgresql://u@host.invalid:1/x", "http://x", "%s%n", "'; drop"),
)
PRINTS_NO_DATA: Final = {"demo", "chat", "review serve"}
PRINTS_ITS_OWN_JSON: Final = {"tools export", "store keys export"}
PROGRAMS_OWN: Final = {"--home", "--store", "--policy", "--as", "--docker-host"}
WAITS: Final = {"doctor", "review serve", "sandbox bench"}
"""For the engine, for browsers, for minutes."""


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words."""
    if not hasattr(command, "commands"):
        yield " ".join(path), command
        return
    for name, each in command.commands.items():
        yield from leaves(each, (*path, name))


COMMANDS: Final = dict(leaves(get_command(assemble(PROGRAM))))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with an approved and a waiting tool, and an engine that is not there."""

    async def fill(folder: Path) -> None:
        keys, seen = KeyRing(folder / "keys"), folder / "checkpoints"
        async with await ToolStore.open(folder / "store", keys=keys, seen=seen) as store:
            await store.admit(make_submission(), actor="ann")
            await store.admit(make_submission("triple", decision=needs_review()), actor="ann")

    folder = tmp_path_factory.mktemp("words")
    asyncio.run(fill(folder / "home"))
    with pytest.MonkeyPatch.context() as patch:
        home = stand_at_home(folder, patch)
        patch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
        patch.setenv("COLUMNS", "80")
        yield home


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with what it needs and some of what it takes, all of it hostile."""
    hostile = st.sampled_from(HOSTILE)
    words = draw(st.sampled_from(sorted(COMMANDS.keys() - WAITS)))
    line = words.split()
    for parameter in COMMANDS[words].params:
        if not parameter.required and draw(st.booleans()):
            continue
        if parameter.param_type_name == "argument":
            line.append(draw(hostile))
        elif parameter.is_flag and parameter.name != "help":
            line.append(parameter.opts[0])
        elif parameter.name != "help":
            line += [parameter.opts[-1], draw(hostile)]
    if draw(st.integers(0, 5)) == 0:
        own = st.sampled_from(sorted(PROGRAMS_OWN))
        line += [draw(own), draw(hostile)]
    return line


def answers(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
        code = run(line)
    said = capsys.readouterr()
    assert code in {ExitCode.OK, ExitCode.NO, ExitCode.USAGE, ExitCode.MISSING}, (line, said.err)
    assert code == ExitCode.OK or said.err or said.out
    assert "\x1b[31m" not in said.out + said.err
    assert "\u202e" not in said.out + said.err
    assert "Traceback" not in said.err


FUZZ = settings(max_examples=60, suppress_health_check=list(HealthCheck))


@FUZZ
@given(line=command_lines())
def test_no_words_are_our_fault(
    line: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(line, capsys)


@pytest.mark.heavy
@settings(FUZZ, max_examples=3_000)
@given(line=command_lines())
def test_no_words_are_our_fault_at_length(
    line: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(line, capsys)


def test_every_command_says_what_it_takes_in_the_same_words() -> None:
    problems: list[str] = []
    for words, command in COMMANDS.items():
        options = {option for each in command.params for option in each.opts}
        if "--json" not in options and words not in PRINTS_NO_DATA | PRINTS_ITS_OWN_JSON:
            problems.append(f"{words}: no --json")
        problems += [f"{words}: {each} is the program's" for each in options & PROGRAMS_OWN]
        for each in command.params:
            metavar = each.metavar or ""
            if not each.help:
                problems.append(f"{words}: no word about {each.name}")
            if each.param_type_name == "argument" and not metavar.isupper():
                problems.append(f"{words}: {each.name} should be written {each.name.upper()}")
    assert not problems


def test_every_list_of_commands_can_be_read_whole(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = {words.rpartition(" ")[0] for words in COMMANDS}
    for group in sorted(groups):
        assert run([*group.split(), "--help"]) == ExitCode.OK
        listed = capsys.readouterr().out.partition("Commands:")[2]
        assert listed
        assert "..." not in listed, group


def test_an_option_that_stands_last_is_told_to_need_a_value(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tools", "list", "--home"]) == ExitCode.USAGE
    assert "--home FOLDER" in capsys.readouterr().err


def test_who_and_under_which_policy_may_be_said_anywhere(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in (
        ["--as", "bob", "tools", "canary", "double", "--policy", "nowhere"],
        ["tools", "--policy", "nowhere", "canary", "double", "--as=bob"],
    ):
        assert run(line) == ExitCode.USAGE
        assert "'nowhere'" in capsys.readouterr().err


def test_names_are_completed_and_versions_behind_an_at(home: Path) -> None:
    context = typer.Context(get_command(assemble(["tools"])))
    with context:
        assert tool_names(context, "dou") == ["double"]
        assert tool_names(context, "") == ["double", "triple"]
        assert tool_names(context, "triple@") == ["triple@1"]
        assert tool_names(context, "none") == []
        context.find_root().params["home"] = "~nobody-at-all"
        assert tool_names(context, "") == []


@pytest.mark.parametrize(
    "line",
    [
        ["store", "calls", "--older-than", "9" * 20],
        ["artefacts", "prune", "--days", "9" * 20],
        ["tools", "retire", "--idle-days", "9" * 20],
        ["tools", "list", "--home", "~nobody-at-all/x"],
        ["tools", "list", "--store", "./\udcff"],
        ["store", "copy", "./\udcff", "elsewhere"],
        ["policy", "check", "~nobody-at-all/x.toml"],
        ["verify", "\udcff\0"],
    ],
)
def test_words_that_were_our_fault_once(
    line: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line) == ExitCode.USAGE
    assert capsys.readouterr().err

"""The command line: exit codes, one document on stdout, nothing untrusted that acts."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_home import stand_at_home
from factories import make_source, make_submission, needs_review

from policies.errors import PolicyConfigError
from policies.permissions import Permissions
from runtime.cli.failures import exit_code_of
from runtime.cli.program import COMMANDS, hoist, run
from runtime.errors import ExitCode, ModelUnavailableError, SettingsError, UsageError
from sandbox.errors import SandboxLostError, SandboxPostureError, SandboxUnavailableError
from toolstore.attest.keys import KeyRing
from toolstore.errors import (
    StoreBusyError,
    StoreDamagedError,
    TextError,
    ToolNotCallableError,
    ToolNotFoundError,
    TransitionError,
)
from toolstore.models import Submission
from toolstore.store import ToolStore

NASTY = "\x1b]0;owned\x07 \x1b[31m \u202e rtl \u200b \x7f \x9b \r"
ACTING = ("\x1b", "\x07", "\u202e", "\u200b", "\x7f", "\x9b", "\r")

Fill = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a working folder of its own, and nothing of the caller's environment."""
    return stand_at_home(tmp_path, monkeypatch)


@pytest.fixture
def fill(home: Path) -> Fill:
    """Puts submissions into the store, in order; answers their digests."""

    async def admit(submissions: tuple[Submission, ...]) -> list[str]:
        keys = KeyRing(home / "keys")
        async with await ToolStore.open(home / "store", keys=keys) as store:
            return [(await store.admit(each, actor="ann")).digest for each in submissions]

    return lambda *submissions: asyncio.run(admit(submissions))


def nasty() -> Submission:
    code = f'def double(number: int) -> int:\n    """{NASTY}"""\n    return number * 2\n'
    return make_submission(
        source=make_source(code=code, description=f"describes {NASTY}"), author=f"eve {NASTY}"
    )


def test_every_command_of_the_table_starts_and_explains_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in COMMANDS:
        assert run([command, "--help"]) == ExitCode.OK
        assert f"Usage: toolkiln {command}" in capsys.readouterr().out


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == ExitCode.OK

    listed = capsys.readouterr().out
    assert all(f"\n  {command} " in listed for command in COMMANDS)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("toolkiln ")


@pytest.mark.parametrize(
    "words", [["nope"], ["tools", "nope"], ["tools", "list", "--nope"], ["tools", "show"]]
)
def test_wrong_usage_is_2(words: list[str]) -> None:
    assert run(words) == ExitCode.USAGE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (SettingsError("x"), 2),
        (PolicyConfigError("a", "b"), 2),
        (SandboxUnavailableError("a", engine="b"), 3),
        (SandboxPostureError(("a",)), 3),
        (SandboxLostError("a", engine="b"), 3),
        (ModelUnavailableError("m", "a", advice="b"), 3),
        (StoreBusyError(1), 3),
        (TextError("x"), 2),
        (PermissionError("x"), 3),
        (ToolNotFoundError("x"), 1),
        (ToolNotCallableError("x", "a", "b"), 1),
        (TransitionError("x", "a"), 1),
        (StoreDamagedError("x"), 1),
        (KeyError("x"), None),
        (ValueError("x"), None),
    ],
)
def test_every_failure_has_its_exit_code(error: Exception, code: int | None) -> None:
    assert exit_code_of(error) == code


def test_what_nobody_expected_is_our_fault_and_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError(f"a bug {NASTY}")

    monkeypatch.setattr("runtime.cli.commands.sessions.print_columns", broken)

    assert run(["sessions", "list"]) == ExitCode.INTERNAL
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ZeroDivisionError: a bug")
    assert "fault of toolkiln" in shown.err
    assert "--debug" in shown.err
    assert len(shown.err.splitlines()) == 1
    assert not any(each in shown.err for each in ACTING)

    assert run(["sessions", "list", "--debug"]) == ExitCode.INTERNAL
    assert "Traceback" in capsys.readouterr().err


def test_interrupting_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("runtime.cli.commands.sessions.print_columns", interrupted)
    assert run(["sessions", "list"]) == ExitCode.INTERRUPTED


def test_the_programs_options_stand_anywhere_before_a_double_dash() -> None:
    front, rest = hoist(["tools", "--home", "/h", "list", "--debug", "--", "--home", "x"])

    assert front == ["--home", "/h", "--debug"]
    assert rest == ["tools", "list", "--", "--home", "x"]
    assert hoist(["--home=/h", "x"]) == (["--home=/h"], ["x"])


def test_an_expected_failure_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tools", "show", "nope"]) == ExitCode.NO

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: no tool 'nope' in the store.")
    assert len(shown.err.splitlines()) == 1


def test_listing_nothing_makes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tools", "list"]) == ExitCode.OK
    assert run(["sessions", "list", "--json"]) == ExitCode.OK

    assert capsys.readouterr().out == "[]\n"
    assert not home.exists()


def test_a_list_is_one_version_a_line_with_tabs(
    fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(make_submission(), make_submission("triple", decision=needs_review()))

    assert run(["tools", "list"]) == ExitCode.OK
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[:3] for line in lines] == [
        ["double@1", "approved", "L0"],
        ["triple@1", "quarantined", "L0"],
    ]
    assert run(["tools", "list", "--state", "quarantined", "--json"]) == ExitCode.OK
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["triple"]


def test_nothing_untrusted_acts_on_a_terminal(
    fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(make_submission(), nasty(), make_submission("other", decision=needs_review()))
    for words in (
        ["tools", "list"],
        ["tools", "show", "double"],
        ["tools", "show", "double", "--json"],
        ["tools", "history", "double"],
        ["tools", "history", "double", "--json"],
        ["tools", "diff", "double"],
        ["tools", "diff", "double", "--json"],
        ["tools", "list", "--json"],
        ["review", "show", "double"],
        ["tools", "show", f"nope {NASTY}"],
        ["tools", "show", "nope\x1b[31m"],
        ["policy", "show", f"nope{NASTY}"],
        ["sessions", "show", f"nope{NASTY}"],
    ):
        run(words)
        shown = capsys.readouterr()
        assert shown.out or shown.err, words
        acting = [each for each in ACTING if each in shown.out + shown.err]
        assert not acting, (words, acting)


def test_show_has_everything_that_a_reviewer_needs(
    fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    _, digest = fill(
        make_submission(),
        make_submission(code="def double(number: int) -> int:\n    return number + number\n"),
    )

    assert run(["tools", "show", "double"]) == ExitCode.OK
    shown = capsys.readouterr().out
    for part in ("double@2", "return number + number", '{"number": 2}', "all passed", "level L0"):
        assert part in shown
    for part in ("approved (stable): ", "allowed under policy sha256:", "history", "submitted"):
        assert part in shown
    assert "-    return number * 2" in shown
    assert digest in shown
    assert run(["tools", "show", "double@1", "--json"]) == ExitCode.OK
    events = json.loads(capsys.readouterr().out)["events"]
    assert [event["type"] for event in events][-1] == "superseded"


def test_diff_of_a_first_version_says_what_to_do(
    fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(make_submission())

    assert run(["tools", "diff", "double"]) == ExitCode.USAGE
    assert "name two" in capsys.readouterr().err


def test_verify_answers_no_on_damage(
    fill: Fill, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(make_submission(), make_submission("triple"))
    assert run(["tools", "verify"]) == ExitCode.OK
    assert "double@1\tok" in capsys.readouterr().out

    for path in (home / "store").glob("*"):
        data = path.read_bytes()
        if b"return number * 2" in data:
            path.write_bytes(data.replace(b"return number * 2", b"return number * 3"))
    assert run(["tools", "verify", "--json"]) == ExitCode.NO
    document = json.loads(capsys.readouterr().out)
    assert document["intact"] is False
    assert document["damage"]


def test_verify_of_an_unknown_tool_is_no(fill: Fill) -> None:
    fill(make_submission())
    assert run(["tools", "verify", "nope"]) == ExitCode.NO


def test_rollback_and_revoke_are_kept_with_who_and_why(
    fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(
        make_submission(),
        make_submission(code="def double(number: int) -> int:\n    return 0\n"),
    )

    assert run(["tools", "rollback", "double", "--as", "bob", "--reason", "wrong"]) == ExitCode.OK
    capsys.readouterr()
    words = ["tools", "revoke", "double@1", "--as", "cid", "--reason", "worse", "--json"]
    assert run(words) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["state"] == "revoked"
    assert run(["tools", "history", "double"]) == ExitCode.OK
    log = capsys.readouterr().out
    assert "\tbob\twrong" in log
    assert "\tcid\tworse" in log


def test_a_rollback_names_its_version_once(fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    fill(
        *(make_submission(code=f"def double(number: int) -> int:\n    return {n}\n") for n in "012")
    )

    assert run(["tools", "rollback", "double@1"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("double@1 is stable now")
    assert run(["tools", "rollback", "double", "--to", "2", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["ref"] == "double@2"
    assert run(["tools", "rollback", "double"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("double@1 is stable now")
    assert run(["tools", "rollback", "double@1", "--to", "2"]) == ExitCode.USAGE
    assert "give one of them" in capsys.readouterr().err


def test_what_a_tool_calls_is_shown_and_its_revocation_names_the_callers(
    fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    callee = make_submission()
    caller = make_source("twice").model_copy(
        update={"permissions": Permissions(tools=(f"double@{callee.digest}",))}
    )
    fill(callee, make_submission(source=caller))

    assert run(["tools", "show", "twice"]) == ExitCode.OK
    shown = "".join(capsys.readouterr().out.replace("│", "").split())  # it wraps
    assert f"calls:double@{callee.digest}" in shown
    assert run(["tools", "revoke", "double", "--reason", "worse"]) == ExitCode.OK
    told = capsys.readouterr().err
    assert "fail from now on: twice@1" in told


def test_revoking_needs_a_reason(fill: Fill) -> None:
    fill(make_submission())
    assert run(["tools", "revoke", "double"]) == ExitCode.USAGE


def test_export_writes_what_import_would_read(
    fill: Fill, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    fill(make_submission())

    assert run(["tools", "export", "double", "-o", str(tmp_path / "double.json")]) == ExitCode.OK
    written = (tmp_path / "double.json").read_bytes()
    capsysbinary.readouterr()
    assert run(["tools", "export", "double@1"]) == ExitCode.OK
    # The seal says when it was made.
    again, first = (json.loads(text) for text in (capsysbinary.readouterr().out, written))
    assert (again.pop("seal") is not None, first.pop("seal") is not None) == (True, True)
    assert again == first
    assert json.loads(written)["source"]["name"] == "double"


def test_an_approval_is_bound_to_what_was_shown(
    fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    (digest,) = fill(make_submission(decision=needs_review()))
    assert run(["review", "list"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("double@1\t")

    other = "sha256:" + "0" * 64
    assert run(["review", "approve", "double", "--digest", other]) == ExitCode.USAGE
    assert "nothing was approved" in capsys.readouterr().err
    assert run(["tools", "list", "--state", "approved"]) == ExitCode.OK
    assert capsys.readouterr().out == ""
    assert digest


def test_without_a_terminal_nobody_is_asked(fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    fill(make_submission(decision=needs_review()))

    assert run(["review", "approve", "double"]) == ExitCode.USAGE
    assert "--digest sha256:" in capsys.readouterr().err


def test_rejecting_is_for_good(fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    fill(make_submission(decision=needs_review()))

    assert run(["review", "reject", "double", "--reason", "no", "--as", "bob"]) == ExitCode.OK
    assert run(["review", "reject", "double", "--reason", "no"]) == ExitCode.NO
    assert "left as it is" in capsys.readouterr().err


def test_policies_are_shown_checked_and_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["policy", "show", "team", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["profile"]["name"] == "team"
    assert run(["policy", "explain", "production"]) == ExitCode.OK
    assert "A person is asked for every tool" in capsys.readouterr().out

    mistaken = tmp_path / "mine.toml"
    mistaken.write_text('name = "mine"\n[admision]\n')
    assert run(["policy", "check", str(mistaken)]) == ExitCode.USAGE
    assert "admission" in capsys.readouterr().err
    mistaken.write_text("a = " + "[" * 5000)
    assert run(["policy", "check", str(mistaken)]) == ExitCode.USAGE
    assert run(["policy", "check", "productoin"]) == ExitCode.USAGE
    assert "'production'" in capsys.readouterr().err


def test_a_working_folder_that_oversteps_stops_the_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toolkiln.toml").write_text('base_url = "http://evil.example"')

    assert run(["tools", "list"]) == ExitCode.USAGE
    assert "not from you" in capsys.readouterr().err


def toolkiln(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runtime", *words],
        env={"PATH": os.defpath, "TOOLKILN_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_reader_that_goes_away_is_no_failure(fill: Fill, home: Path) -> None:
    fill(*(make_submission(f"tool_{number}") for number in range(3)))
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "runtime", "tools", "list"],
        env={"PATH": os.defpath, "TOOLKILN_HOME": str(home)},
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)

    assert (process.returncode, process.stderr) == (0, b"")


def test_the_module_is_the_program(home: Path) -> None:
    done = toolkiln("tools", "list", "--json", home=home)

    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("package", ["policies", "sandbox", "toolstore", "runtime", "runtime.cli"])
def test_importing_a_package_does_nothing(package: str, tmp_path: Path) -> None:
    program = (
        f"import sys, os; before = dict(os.environ); import {package}; "
        "assert before == dict(os.environ); "
        "print(sorted({'openai', 'docker', 'sqlalchemy', 'rich', 'typer'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env={"PATH": os.defpath, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("[]\n", "")
    assert list(tmp_path.iterdir()) == []


def test_a_list_imports_neither_model_nor_engine_nor_database(fill: Fill, home: Path) -> None:
    fill(make_submission())
    program = (
        "import sys; from runtime.cli.program import run; code = run(['tools', 'list']); "
        "heavy = {'openai', 'docker', 'sqlalchemy', 'alembic', 'rich', 'hypothesis', "
        "'prompt_toolkit', 'RestrictedPython', 'asyncio'}; "
        "print(code, sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.defpath, "TOOLKILN_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.startswith("double@1\t")
    assert done.stderr == "0 []\n"

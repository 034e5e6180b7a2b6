"""The command line asks who may, and its policy commands say why."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_home import stand_at_home
from factories import make_submission, needs_review

from runtime.cli.program import run
from runtime.errors import ExitCode
from toolstore.store import ToolStore

LOCAL = Path(__file__).parents[2] / "policies" / "profiles" / "local.toml"
RULES = """
@id("all") permit(principal, action, resource);
@id("guests-call") @reason("guests call, and nothing else")
forbid(principal in Role::"guest", action, resource) unless { action == Action::"call" };
"""

Out = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with one approved tool, under a policy with guests."""
    folder = stand_at_home(tmp_path, monkeypatch)
    folder.mkdir()
    (folder / "mine.cedar").write_text(RULES)
    (folder / "mine.toml").write_text(
        f'{LOCAL.read_text("utf-8")}\n[access]\npolicies = ["mine.cedar"]\n'
        '[access.roles]\nguest = ["gus"]\n'
    )
    (folder / "toolkiln.toml").write_text('policy = "./mine.toml"\n')
    assert run(["tools", "list"]) == ExitCode.OK
    return folder


@pytest.fixture
def put(home: Path) -> Callable[..., None]:
    """Puts submissions into the store of the home, as its program opens it."""

    async def admit(count: int) -> None:
        from runtime.settings import read_settings  # noqa: PLC0415 - after the environment is set
        from runtime.storekeys import open_signed_store  # noqa: PLC0415 - same

        async with await open_signed_store(read_settings()) as store:
            for number in range(count):
                code = f"def double(number: int) -> int:\n    return number * 2  # {number}\n"
                await store.admit(make_submission(code=code), actor="ann")

    return lambda count=1: asyncio.run(admit(count))


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Out:
    """Runs a command; its exit code and what it printed."""

    def go(*words: str) -> tuple[int, str, str]:
        code = run(list(words))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return go


def test_a_guest_is_refused_by_name_of_the_rule_and_nothing_is_done(
    put: Callable[..., None], out: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(2)
    monkeypatch.setenv("TOOLKILN_PRINCIPAL", "gus")

    for words in (
        ["tools", "show", "double"],
        ["tools", "history", "double"],
        ["tools", "diff", "double@2"],
        ["tools", "test", "double"],
        ["tools", "export", "double"],
        ["tools", "export", "--all", "-o", "out"],
        ["tools", "rollback", "double"],
        ["tools", "revoke", "double", "--reason", "no"],
        ["tools", "deprecate", "double", "--reason", "no"],
        ["tools", "archive", "double@1"],
        ["tools", "promote", "double@2"],
        ["tools", "canary", "double@1"],
        ["tools", "pin", "double@1", "--session", "s"],
        ["tools", "unpin", "double", "--session", "s"],
        ["review", "show", "double@2"],
    ):
        code, printed, said = out(*words)

        assert code == ExitCode.NO, said
        assert printed == ""
        assert "guests-call" in said
        assert "guests call, and nothing else" in said
    monkeypatch.delenv("TOOLKILN_PRINCIPAL")
    code, printed, _ = out("tools", "list", "--json")
    assert [each["state"] for each in json.loads(printed)] == ["approved"]


def test_a_guest_who_chats_is_shown_no_source(
    put: Callable[..., None], out: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    put()
    typed = b"/tools\n/tool double\n/review\n/quit\n"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")

    def chat(principal: str) -> str:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed)))
        code, printed, said = out("chat", "--model", "gpt-test", "--as", principal)
        assert code == ExitCode.OK, said
        return printed

    assert "guests-call" in chat("gus")
    assert "return number * 2" not in chat("gus")
    assert "return number * 2" in chat("ann")


def test_why_somebody_may_not_is_explained_with_what_would_change_it(
    put: Callable[..., None], out: Out
) -> None:
    put()

    code, printed, _ = out(
        *("policy", "explain", "--tool", "double", "--action", "export", "--principal", "gus"),
        "--json",
    )
    (found,) = json.loads(printed)

    assert code == ExitCode.OK
    assert found["decided"] == "refuse"
    assert [rule["rule"] for rule in found["rules"]] == ["guests-call"]
    assert "the author asks" in [each["change"] for each in found["changes"]]


def test_why_a_tool_is_not_admitted_is_explained_rule_by_rule(
    put: Callable[..., None], out: Out
) -> None:
    put()

    code, printed, _ = out("policy", "explain", "production", "--tool", "double", "--json")
    (found,) = json.loads(printed)

    assert code == ExitCode.OK
    assert found["decided"] == "refuse"
    says = {rule["rule"]: rule["says"] for rule in found["rules"]}
    assert says["evidence-is-about-this"] == "allow"
    assert says["examples-proven"] == "refuse"
    assert says["reviewed-by-people"] == "review"
    _, text, _ = out("policy", "explain", "production", "--tool", "double")
    assert "refuse, by policy production" in text


def test_cases_are_tried_and_one_that_fails_is_exit_code_1(out: Out, tmp_path: Path) -> None:
    cases = tmp_path / "mine.cases.toml"
    cases.write_text(
        'policy = "./home/mine.toml"\n[[access]]\nname = "guests export"\n'
        'principal = "gus"\naction = "export"\nexpect = "allow"\n'
    )

    code, printed, said = out("policy", "test", str(cases))

    assert code == ExitCode.NO
    assert "expected allow, decided refuse" in printed
    assert "guests-call" in printed
    assert "0 of 1" in said
    assert out("policy", "test")[0] == ExitCode.OK
    code, printed, _ = out("policy", "test", "--json")
    assert json.loads(printed)["passed"] is True


def test_an_odd_policy_is_exit_code_1_and_one_that_is_not_understood_2(
    out: Out, home: Path
) -> None:
    assert out("policy", "check")[0] == ExitCode.OK
    (home / "mine.cedar").write_text(RULES.replace('Role::"guest"', 'Role::"gest"'))
    code, printed, _ = out("policy", "check")
    assert code == ExitCode.NO
    assert "did you mean 'guest'" in printed
    (home / "mine.cedar").write_text(RULES.replace("principal in", "principl in"))
    code, printed, said = out("policy", "check")
    assert (code, printed) == (ExitCode.USAGE, "")
    assert "mine.cedar, line 4" in said
    assert "did you mean 'principal'" in said
    assert out("tools", "show", "double")[0] != ExitCode.OK


def test_a_policy_is_applied_or_only_said_to_be(put: Callable[..., None], out: Out) -> None:
    put()

    code, printed, said = out("policy", "apply", "production", "--dry-run")
    assert code == ExitCode.OK
    assert printed.startswith("set aside\tdouble@1\t")
    assert "nothing was changed" in said
    code, printed, _ = out("policy", "apply", "production", "--json")
    assert [each["effect"] for each in json.loads(printed)] == ["set aside"]
    code, printed, _ = out("tools", "show", "double", "--json")
    assert json.loads(printed)["state"] == "quarantined"


@pytest.mark.parametrize("name", ["local", "production"])
def test_what_is_shown_of_a_policy_can_be_written_into_a_file(
    name: str, out: Out, tmp_path: Path
) -> None:
    shown = json.loads(out("policy", "show", name, "--json")[1])
    words, _, digest_and_settings = out("policy", "show", name)[1].partition("\n")
    title, _, about = words.partition(": ")
    settings = digest_and_settings.partition("\n")[2].partition("\n---")[0]
    cedar = shown["profile"]["access"]["files"]
    for file, text in cedar.items():
        (tmp_path / file).write_text(text)
    (tmp_path / "shown.toml").write_text(f'name = "{title}"\ndescription = "{about}"\n{settings}')

    again = json.loads(out("policy", "show", "./shown.toml", "--json")[1])

    assert again["profile"] == shown["profile"]
    assert again["digest"] == shown["digest"]


def test_the_schema_is_printed(out: Out) -> None:
    from policies.cedar_schema import CEDAR_SCHEMA  # noqa: PLC0415 - as a command does

    assert out("policy", "schema")[1] == CEDAR_SCHEMA


def test_a_waiting_tool_is_not_approved_by_a_guest(out: Out, home: Path) -> None:
    async def wait() -> str:
        from runtime.settings import read_settings  # noqa: PLC0415 - after the environment is set
        from runtime.storekeys import open_signed_store  # noqa: PLC0415 - same

        async with await open_signed_store(read_settings()) as store:
            assert isinstance(store, ToolStore)
            return (await store.admit(make_submission(decision=needs_review()), actor="a")).digest

    digest = asyncio.run(wait())

    code, _, said = out("review", "approve", "double", "--digest", digest, "--as", "gus")

    assert code == ExitCode.NO
    assert "guests-call" in said

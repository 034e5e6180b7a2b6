"""What the page about policies says is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtime.cli.program import run

PAGE = (Path(__file__).parents[2] / "docs" / "policies.md").read_text("utf-8")
FILES = re.findall(r"```\w+\n(?:#|//) file: (\S+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"```console\n\$ toolkiln ([^\n]+)\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKILN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TOOLKILN_PRINCIPAL", "ada")
    monkeypatch.chdir(tmp_path)
    for name, text in FILES:
        (tmp_path / name).write_text(text, "utf-8")


def test_the_page_has_a_policy_its_rules_and_its_cases():
    assert {name for name, _ in FILES} == {"mine.toml", "mine.cedar", "mine.cases.toml"}
    assert len(COMMANDS) == 3


@pytest.mark.parametrize(("command", "output"), COMMANDS)
def test_its_commands_print_what_it_says(
    command: str, output: str, capsys: pytest.CaptureFixture[str]
):
    assert run(command.split()) == 0

    printed = re.sub(r"sha256:[0-9a-f]{64}", "sha256:…", capsys.readouterr().out)
    assert printed == output

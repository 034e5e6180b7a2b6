"""What the README says is run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

import runtime
from policies.checking import check_policy
from policies.config import load_profile
from runtime.cli.program import run
from runtime.errors import ExitCode

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = re.findall(r"^\| `toolkiln (.*?)` \| (.*?) \|$", README, re.MULTILINE)


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found, f"the README has no {language} block"
    return found[1]


def help_of(*words: str) -> str:
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as printed:
        patch.setenv("COLUMNS", "200")
        assert run([*words, "--help"]) == ExitCode.OK
    return printed.getvalue()


def test_the_python_example_prints_what_the_readme_says(
    tmp_path: Path, image_digest: str, image_state: Path
):
    shutil.copytree(image_state, tmp_path / "roman-home" / "sandbox")  # the image is there already
    done = subprocess.run(
        [sys.executable, "-c", block("python")],
        capture_output=True,
        check=False,
        text=True,
        cwd=tmp_path,
        timeout=120,
        env={**os.environ, "HOME": str(tmp_path)},
    )

    assert done.stderr == ""
    assert done.stdout == block("text")


def test_the_policy_grants_what_the_readme_says():
    evidence = "examples = 1\nruns_per_example = 1\nproperty_runs = 0\nproperty_failures = 'allow'"
    text = f"name = 'mine'\n[evidence]\n{evidence}\n{block('toml')}"
    profile = load_profile(text, origin="README")

    assert check_policy(profile).remarks == ()
    assert (profile.sandbox.runtime, profile.files.output, profile.tools.depth) == (
        "runsc",
        True,
        3,
    )


def test_the_two_commands_exist():
    for line in block("console").splitlines():
        script = line.split()[1]
        assert os.access(ROOT / script, os.X_OK), script


@pytest.mark.parametrize("row", COMMANDS)
def test_every_command_of_the_table_exists(row: tuple[str, str]):
    command, explanation = row
    name = command.split()[0]
    text = help_of(name)

    if command.endswith("…"):
        words = explanation.split(" what waits")[0].split(" a policy")[0].split(" earlier")[0]
        for subcommand in re.findall(r"[a-z]{3,}", words.replace(" and ", " ")):
            assert re.search(rf"^\s+{subcommand}\s", text, re.MULTILINE), subcommand


def test_the_table_has_every_command():
    listed = {command.split()[0] for command, _ in COMMANDS}
    commands = re.search(r"Commands:\n(.*?)(\n\n|\Z)", help_of(), re.DOTALL)
    assert commands
    assert set(re.findall(r"^  (\w+) ", commands[1], re.MULTILINE)) == listed


def test_the_exported_names_are_sorted_complete_and_there():
    assert runtime.__all__ == sorted(runtime.__all__)
    assert set(runtime.__all__) == set(runtime._HOMES)
    for name in runtime.__all__:
        assert getattr(runtime, name) is not None


@pytest.mark.parametrize("path", sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))))
def test_every_link_leads_somewhere(path: Path):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), f"{path.name}: {target}"

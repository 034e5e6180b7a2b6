"""docs/benchmarks.md says what the benchmark does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from runtime.bench.ledger import WHAT
from runtime.bench.report import Kind

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")


def help_of(*command: str) -> str:
    return subprocess.run(
        [sys.executable, *command, "--help"],
        capture_output=True,
        check=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80"},
    ).stdout


def test_the_help_is_what_the_command_prints():
    block = re.search(r"```text\n(.*?)```", TEXT, re.DOTALL)
    assert block
    assert block[1].split() == help_of("-m", "runtime", "sandbox", "bench").split()


def test_every_kind_of_row_is_explained():
    explained = set(re.findall(r"^\| (.*?) \|", TEXT, re.MULTILINE))
    assert set(WHAT.values()) <= explained
    assert set(WHAT) == set(Kind)


def test_the_other_command_has_the_options_that_are_shown():
    known = help_of("benchmarks/sandbox.py")
    shown = re.findall(r"^\$ python benchmarks/sandbox\.py (.*)$", TEXT, re.MULTILINE)
    assert shown
    for option in re.findall(r"--[a-z-]+", " ".join(shown)):
        assert option in known, option


def test_the_benchmark_of_the_loop_starts():
    # Started by its path it has its own folder first, where another `sandbox` is.
    assert "--repeats" in help_of("benchmarks/loop.py")


def test_the_script_that_sets_up_the_peers_is_there():
    assert os.access(ROOT / "benchmarks" / "peers" / "setup", os.X_OK)

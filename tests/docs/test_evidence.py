"""What the page about evidence says is run: a bundle is checked without anything of ours."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from exporters import Exporter

PAGE = Path(__file__).parents[2] / "docs" / "evidence.md"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The page's program, a bundle, and the file of its exporter's keys."""
    folder = tmp_path_factory.mktemp("evidence")
    found = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found
    program, bundle, keys = folder / "check.py", folder / "double.json", folder / "keys.json"
    program.write_text(found[1])
    exported = Exporter(folder / "exporter").one()
    bundle.write_bytes(exported.content)
    listed = [key.model_dump(mode="json") for key in exported.keys.values()]
    keys.write_text(json.dumps({"keys": listed}))
    return program, bundle, keys


def check(*words: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", *words], capture_output=True, check=False, text=True
    )


def test_a_dozen_lines_check_a_bundle_without_us(files: tuple[Path, Path, Path]):
    done = check(*files)

    assert done.returncode == 0, done.stderr
    said = [line.split()[0] for line in done.stdout.splitlines()]
    assert "urn:toolkiln:analysis:v1" in said
    assert "https://slsa.dev/verification_summary/v1" in said
    assert said[-1] == "urn:toolkiln:bundle:v1"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"return number * 2", b"return number * 3"),
        (b'"passed":true', b'"passed":null'),
        (b'"principal":"bob"', b'"principal":"eve"'),
    ],
    ids=["code", "trial", "reviewer"],
)
def test_they_find_what_was_changed(files: tuple[Path, Path, Path], old: bytes, new: bytes):
    program, bundle, keys = files
    content = bundle.read_bytes()
    changed = bundle.with_name("changed.json")
    assert old in content.replace(b'\\"', b'"')
    changed.write_bytes(
        content.replace(old, new).replace(old.replace(b'"', b'\\"'), new.replace(b'"', b'\\"'))
    )

    assert check(program, changed, keys).returncode != 0

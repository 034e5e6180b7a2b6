"""What is installed: four packages, with everything that they read at run time."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_has_the_four_packages_and_their_data(tmp_path: Path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), "."],
        check=True,
        cwd=ROOT,
        timeout=240,
    )
    (wheel,) = tmp_path.glob("toolkiln-*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"policies", "runtime", "sandbox", "toolstore"}
    for needed in (
        "policies/profiles/production.cases.toml",
        "policies/profiles/production.cedar",
        "policies/profiles/production.toml",
        "policies/py.typed",
        "runtime/demo/recording.json",
        "runtime/review/web/static/live.js",
        "runtime/review/web/static/style.css",
        "runtime/review/web/templates/item.html",
        "sandbox/guest/__main__.py",
        "sandbox/guest/probe.py",
        "toolstore/migrations/versions/r0001_first_tables.py",
    ):
        assert needed in names
    assert not [name for name in names if name.endswith(".pyc")]

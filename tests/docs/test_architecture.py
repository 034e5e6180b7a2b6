"""The page about the architecture names what there is, in the order in which it is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
IMPORT = re.compile(r"^from (\w+)((?:\.\w+)*) import (.*?)$", re.MULTILINE)
PACKAGES = ("policies", "sandbox", "toolstore", "runtime")


def lines_of(package: str) -> list[set[str]]:
    """Modules and folders of each line of the table, those in brackets below their folder."""
    rows = PAGE[PAGE.index(f"\n| `{package}` |") :].split("\n")[1:]
    found: list[set[str]] = []
    for row in rows:
        first, _, text = row.removeprefix("|").partition("|")
        if not row.startswith("|") or (found and first.strip()):
            break
        named = re.sub(
            r"`([\w/]+)/` \(([^)]*)\)",
            lambda match: re.sub(r"`(\w+)`", rf"`{match[1]}/\1`", match[2]),
            text,
        )
        found.append({each.rstrip("/") for each in re.findall(r"`([\w/]+)`", named)})
    return found


def place(module: str, lines: list[set[str]]) -> int | None:
    """The line of a module, or of the nearest folder that is named."""
    parts = module.split("/")
    for count in range(len(parts), 0, -1):
        for number, names in enumerate(lines):
            if "/".join(parts[:count]) in names:
                return number
    return None


def imports_of(path: Path, package: str) -> Iterator[str]:
    """Modules of its package that a module imports where it begins."""
    for root, below, names in IMPORT.findall(path.read_text("utf-8")):
        if root != package:
            continue
        base = below.replace(".", "/").lstrip("/")
        for name in re.findall(r"\w+", names) if names != "(" else [""]:
            exact = "/".join(filter(None, (base, name)))
            yield exact if (ROOT / package / f"{exact}.py").exists() else base


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_named_is_there(package: str):
    for name in set().union(*lines_of(package)):
        path = ROOT / package / name
        assert path.is_dir() or path.with_suffix(".py").exists(), name


@pytest.mark.parametrize("package", PACKAGES)
def test_a_line_imports_from_the_lines_above_it(package: str):
    lines = lines_of(package)
    assert len(lines) > 5
    for path in (ROOT / package).rglob("*.py"):
        module = str(path.relative_to(ROOT / package).with_suffix(""))
        here = place(module, lines)
        for other in imports_of(path, package):
            there = place(other, lines)
            if here is not None and there is not None:
                assert there <= here, f"{module} imports {other}, which stands below it"

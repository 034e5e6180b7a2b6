"""The rules of the later stages stand in the document, with the weight that they have."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_document_lists_the_rules_of_trials_and_store():
    text = (ROOT / "docs" / "rules.md").read_text("utf-8")
    listed = dict(re.findall(r"^\| `((?:TR|ST)\d{3})` \| (\w+) \|", text, re.MULTILINE))
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "runtime").glob("*.py"))

    assert set(listed) == set(re.findall(r'"((?:TR|ST)\d{3})"', code))
    for rule, severity in re.findall(r'"(TR\d{3})",\s+Severity\.(\w+)', code):
        assert listed[rule] == severity.lower()

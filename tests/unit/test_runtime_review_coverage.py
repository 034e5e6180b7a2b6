"""What the instruments in the guest report, and what the host makes of any report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from runtime.review import coverage
from runtime.review.parts import Coverage

Measure = Callable[[str, str, dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def measure() -> Measure:
    """The guest's function; the sources of these tests are our own."""
    names: dict[str, Any] = {}
    exec(coverage._GUEST.read_text(), names)  # noqa: S102 - as the guest does
    found: Measure = names["measure"]
    return found


def added(*reports: tuple[dict[str, Any], bool]) -> Coverage:
    reached = coverage._Reached()
    for report, example in reports:
        reached.add(coverage._REPORT.validate_python(report), example=example)
    return coverage._coverage(reached)


SOURCE = '''"""A module."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pair:
    """Two."""

    left: int
    right: int = 0

    def total(self) -> int:
        """Both."""
        global seen
        return self.left + self.right


async def tool(number: int, /, flag: bool = False) -> int:
    """Do things."""
    try:
        share = 10 // number
    except ZeroDivisionError:
        return -1
    while share > 5:
        share -= 1
    match share:
        case 5:
            word = "five"
        case _:
            word = "other"
    size = len(word) if flag else Pair(number).total()
    return sum(each for each in range(size)) if size else 0
'''


def test_each_statement_and_each_way_of_a_branch_is_counted(measure: Measure) -> None:
    one = measure(SOURCE, "tool", {"number": 1})
    two = measure(SOURCE, "tool", {"number": 0, "flag": True})

    assert (one["ended"], two["ended"]) == ("returned", "returned")
    first = added((one, True), (two, False))
    assert [(gap.line, gap.words.plain) for gap in first.by_examples] == [
        (24, "the exception was never caught here"),
        (25, "never run"),
        (31, "the case never matched"),
        (32, "never run"),
        (33, "the condition was never true"),
        (34, "the condition was never false"),
    ]
    assert [(gap.line, gap.words.plain) for gap in first.by_all][:2] == [
        (31, "the case never matched"),
        (32, "never run"),
    ]
    assert first.runs == 2


def test_what_raises_counts_until_it_does(measure: Measure) -> None:
    code = "def f(n):\n    if n:\n        raise KeyError(n)\n    return 1\n"
    report = measure(code, "f", {"n": 1})

    assert report["ended"] == "raised KeyError"
    assert added((report, True)).lines_missed == (4,)


@pytest.mark.parametrize(
    "report",
    [
        None,
        [],
        {"statements": [1], "arms": [], "reached": []},
        {"statements": [0], "arms": [], "reached": [], "ended": ""},
        {"statements": ["x"], "arms": [], "reached": [], "ended": ""},
        {"statements": [1] * 30_000, "arms": [], "reached": [], "ended": ""},
        {"statements": [1], "arms": [[1, "a", "b"]], "reached": [], "ended": ""},
        {"statements": [1], "arms": [], "reached": [], "ended": "", "more": 1},
    ],
)
def test_a_report_of_another_shape_is_none(report: object) -> None:
    with pytest.raises(ValidationError):
        coverage._REPORT.validate_python(report)


def test_a_report_that_lies_is_harmless_text_and_changes_no_other() -> None:
    lie = {
        "statements": [1, 2],
        "arms": [[1, "fine \x1b[31m" + "x" * 500]],
        "reached": ["s0", "s99999999", "s" + "9" * 5000, "a\u0663", "s-1", "", "s"],
        "ended": "\x1b",
    }
    other = {"statements": [1], "arms": [], "reached": ["s0"], "ended": "returned"}

    found = added((lie, True), (other, True))

    assert (found.statements, found.statements_run, found.runs) == (2, 1, 1)
    (gap, _) = found.by_all
    assert "\x1b" not in gap.words.plain
    assert len(gap.words.plain) < 200

"""docs/mutants.md has the rows that the benchmark prints."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.mutation import mutants_of, program_of

TEXT = (Path(__file__).parents[2] / "docs" / "mutants.md").read_text("utf-8")
CODE = '''
def f(a):
    """Words that are never changed: 1 + 1."""
    total = 0
    for number in range(a):
        if number > 2 and a != 7:
            total += number
    return max(total, -1)
'''


def test_the_shares_follow_from_the_counts():
    together = re.search(r"^([\d,]+) mutants of", TEXT, re.MULTILINE)
    assert together
    whole = int(together[1].replace(",", ""))
    rows = re.findall(r"^\| .* \| ([\d,]+) \| ([\d.]+) % \|$", TEXT, re.MULTILINE)
    assert len(rows) == 12
    for caught, share in rows:
        assert f"{100 * int(caught.replace(',', '')) / whole:.1f}" == share


def test_mutants_are_the_same_for_one_seed_and_change_one_place():
    made = mutants_of(CODE, 50, "1")
    assert made == mutants_of(CODE, 50, "1")
    assert made[:5] != mutants_of(CODE, 50, "2")[:5]
    assert len({mutant.code for mutant in made}) == len(made) > 10
    assert {mutant.operator for mutant in made} >= {
        "arithmetic",
        "comparison",
        "logic",
        "constant",
        "condition",
        "omission",
        "call",
        "sign",
    }


def test_a_mutant_that_never_ends_is_stuck_and_not_the_program():
    forever = "def f(a):\n    while True:\n        a += 1\n"
    space: dict[str, object] = {}
    exec(program_of([CODE, forever], "f"), space)  # noqa: S102 - our own text
    try_all = space["try_all"]
    assert callable(try_all)
    assert try_all(0, [{"a": 5}, {"a": "x"}]) == [["returned", 7], ["raised", "TypeError"]]
    assert try_all(1, [{"a": 0}, {"a": 1}]) == [["stuck", None], ["stuck", None]]

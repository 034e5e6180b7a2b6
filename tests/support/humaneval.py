"""HumanEval (Chen et al. 2021) as tools: each canonical solution with its checks as examples.

The checks are taken down by running them, in a process of their own, on the canonical solution
with a recorder around it. Only calls that survive JSON are kept: a tuple arrives as a list, and a
dictionary with numbers as keys cannot arrive at all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "HumanEval.jsonl.gz"

_RECORDER = """
import copy, gzip, inspect, json, sys

def record(problem):
    space = {}
    exec(problem["prompt"] + problem["canonical_solution"], space)
    exec(problem["test"], space)
    function, calls = space[problem["entry_point"]], []
    names = list(inspect.signature(function).parameters)

    def recorder(*args):
        given = copy.deepcopy(args)
        result = function(*args)
        if len(calls) < 200:
            try:
                sent = json.loads(json.dumps(given, allow_nan=False))
                wanted = json.loads(json.dumps(result, allow_nan=False))
                again = function(*copy.deepcopy(sent))
                # A key that is no string, or a tuple that matters, changes on the way.
                keys_survive = repr(sent).replace("[", "(") == repr(list(given)).replace("[", "(")
                if json.loads(json.dumps(again)) == wanted and (
                    keys_survive or "{" not in repr(given)
                ):
                    calls.append({"arguments": dict(zip(names, sent)), "returns": wanted})
            except Exception:
                pass
        return result

    space["check"](recorder)
    return calls

for line in gzip.open(sys.argv[1], "rt"):
    problem = json.loads(line)
    print(json.dumps({**problem, "calls": record(problem)}))
"""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem and the calls that its checks make."""

    task_id: str
    entry_point: str
    code: str
    calls: tuple[dict[str, Any], ...]

    @property
    def examples(self) -> list[dict[str, Any]]:
        """The first checks: what the author of the tool gives along."""
        return list(self.calls[:3])


def load_problems() -> list[Problem]:
    """All 164, in order."""
    recorded = subprocess.run(
        [sys.executable, "-c", _RECORDER, str(DATA)],
        capture_output=True,
        check=True,
        text=True,
        timeout=300,
    )
    return [_problem(json.loads(line)) for line in recorded.stdout.splitlines()]


def _problem(fields: dict[str, Any]) -> Problem:
    unique = {json.dumps(call, sort_keys=True): call for call in fields["calls"]}
    return Problem(
        task_id=fields["task_id"],
        entry_point=fields["entry_point"],
        code=fields["prompt"] + fields["canonical_solution"],
        calls=tuple(unique.values()),
    )

"""Several who decide on one version at once: one outcome, and all of them in the log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from factories import NOON, allowed, make_submission, needs_review
from store_places import Place

from policies.decision import Approval
from toolstore.errors import TransitionError
from toolstore.models import Lifecycle
from toolstore.store import ToolStore

ROOT = Path(__file__).parents[2]
ROUNDS = 300


@pytest.mark.heavy
def test_people_and_programs_in_processes_of_their_own(place: Place, tmp_path: Path) -> None:
    program = ROOT / "tests" / "support" / "deciding_at_once.py"
    done = subprocess.run(
        [sys.executable, program, str(place.location), tmp_path / "home", str(ROUNDS)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)

    assert found["problems"] == []
    assert sum(found["outcomes"].values()) == ROUNDS
    assert len(found["outcomes"]) > 1
    assert found["overruled"] > ROUNDS / 2
    assert found["looks"] > 0  # they really met


async def test_a_policy_that_comes_after_people_changes_nothing_that_they_decided(
    place: Place,
) -> None:
    async with await ToolStore.open(place.location) as store:
        yes, no = [
            (await store.admit(make_submission(name, decision=needs_review()), actor="ada")).digest
            for name in ("yes", "no")
        ]
        said = Approval(principal="bob", digest=yes, at=NOON)
        await store.approve(yes, said, allowed(), actor="bob")
        await store.reject(no, actor="bob", reason="no")

        again = await store.lifecycle.readmit(yes, allowed(), actor="ada")
        with pytest.raises(TransitionError, match="came too late, and is kept in the log"):
            await store.lifecycle.readmit(no, allowed(), actor="ada")

        assert (again.state, len(again.approvals)) == (Lifecycle.APPROVED, 1)
        assert [event.type for event in await store.events("yes")][2:] == ["approved"]
        assert [event.type for event in await store.events("no")][2:] == ["rejected", "overruled"]

"""Many processes on one store, and processes that die in the middle."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from factories import make_submission
from programs import run_program

from toolstore.models import Lifecycle
from toolstore.store import ToolStore


async def assert_nothing_lost(folder: Path, refs: list[str], writers: int, each: int) -> None:
    """Every version that was given back is there, once, and the numbers have no gap."""
    async with await ToolStore.open(folder) as store:
        summaries = await store.summaries()
        report = await store.verify()

    assert report.damage == ()
    assert Counter(refs) == Counter(f"{s.name}@{s.sequence}" for s in summaries)
    shared = [s for s in summaries if s.name == "shared"]
    assert [s.sequence for s in shared] == list(range(1, writers * each + 1))
    assert Counter(s.state for s in shared)[Lifecycle.APPROVED] == 1
    assert len(summaries) == 2 * writers * each


async def test_fifty_processes_lose_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "tools"

    answers = await asyncio.to_thread(run_program, "store_writing.py", folder, 50, 1)

    assert [answer["errors"] for answer in answers] == [[]] * 50
    refs = [ref for answer in answers for ref in answer["refs"]]
    await assert_nothing_lost(folder, refs, writers=50, each=1)


async def test_fifty_tasks_on_five_stores_lose_nothing(tmp_path: Path) -> None:
    stores = [await ToolStore.open(tmp_path) for _ in range(5)]

    async def write(writer: int) -> list[str]:
        code = f"def shared(number):\n    return {writer}\n"
        store = stores[writer % len(stores)]
        shared = await store.admit(make_submission("shared", code), actor="ada")
        own = await store.admit(make_submission(f"own_{writer}"), actor="ada")
        return [str(shared.ref), str(own.ref)]

    try:
        answers = await asyncio.gather(*(write(writer) for writer in range(50)))
    finally:
        for store in stores:
            await store.close()

    refs = [ref for answer in answers for ref in answer]
    await assert_nothing_lost(tmp_path, refs, writers=50, each=1)


async def test_the_same_submission_from_fifty_tasks_is_one_version(tmp_path: Path) -> None:
    stores = [await ToolStore.open(tmp_path) for _ in range(5)]
    try:
        versions = await asyncio.gather(
            *(stores[n % 5].admit(make_submission(), actor="ada") for n in range(50))
        )
        assert {version.sequence for version in versions} == {1}
        assert stores[0].head() == 3
    finally:
        for store in stores:
            await store.close()


def test_a_killed_writer_leaves_what_was_before_or_what_comes_after(tmp_path: Path) -> None:
    found = run_program("store_killing.py", tmp_path, 23, 1, 15)

    assert found["problems"] == []
    assert found["killed"] >= 6


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_a_writer_killed_at_every_point_of_every_step(tmp_path: Path) -> None:
    found = run_program("store_killing.py", tmp_path, 1, 100)

    print(found)
    assert found["problems"] == []
    assert found["killed"] >= 1500
    assert found["longest_wait_seconds"] < 2.0

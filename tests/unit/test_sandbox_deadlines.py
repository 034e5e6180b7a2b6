"""Limits are held by a thread, at their time, in any order, and not after the call is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from sandbox.deadlines import Deadlines

SOON, LATE, NEVER_SECONDS = 0.02, 0.5, 60.0


@pytest.fixture
def deadlines() -> Iterator[Deadlines]:
    deadlines = Deadlines()
    yield deadlines
    deadlines.close()


def test_what_runs_over_its_limit_is_killed(deadlines: Deadlines) -> None:
    killed = threading.Event()

    with deadlines.limit(SOON, killed.set) as limit:
        assert killed.wait(NEVER_SECONDS)

    assert limit.passed


def test_what_ends_before_its_limit_is_not(deadlines: Deadlines) -> None:
    killed = threading.Event()

    with deadlines.limit(LATE, killed.set) as limit:
        pass
    time.sleep(2 * LATE)

    assert not killed.is_set()
    assert not limit.passed


def test_each_is_killed_at_its_own_time(deadlines: Deadlines) -> None:
    order: list[str] = []
    done = threading.Event()

    def last() -> None:
        order.append("third")
        done.set()

    calls = [
        deadlines.limit(SOON, lambda: order.append("first")),
        deadlines.limit(2 * SOON, lambda: order.append("second")),
        deadlines.limit(3 * SOON, last),
        deadlines.limit(NEVER_SECONDS, lambda: order.append("never")),
    ]
    for place in (2, 3, 0, 1):
        deadlines.add(calls[place])

    assert done.wait(NEVER_SECONDS)
    assert order == ["first", "second", "third"]


def test_a_shorter_limit_wakes_the_thread_that_sleeps_for_a_longer_one(
    deadlines: Deadlines,
) -> None:
    killed = threading.Event()

    with deadlines.limit(NEVER_SECONDS, lambda: None):
        time.sleep(SOON)
        with deadlines.limit(SOON, killed.set):
            assert killed.wait(NEVER_SECONDS / 2)


def test_there_is_one_thread_for_many_limits_and_none_before_the_first() -> None:
    before = threading.active_count()
    deadlines = Deadlines()
    assert threading.active_count() == before

    for _ in range(100):
        with deadlines.limit(NEVER_SECONDS, lambda: None):
            assert threading.active_count() == before + 1
    deadlines.close()

    assert threading.active_count() == before

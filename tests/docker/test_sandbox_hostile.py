"""Guests that misbehave, hosts that are busy, callers that go away, and all of it at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hostile import HOSTILE, STOPS_READING, StopsReading
from scenes import ADD, BOUND_SECONDS, SLEEP, Scene, bounded, descriptors, patient, sleeping

from policies.limits import ResourceLimits
from policies.permissions import LintLevel
from sandbox.base import ExecutionResult, Outcome, Program
from sandbox.errors import SandboxLostError, SandboxUnavailableError

# --- hostile guests


async def test_hostile_guests_end_as_they_must_and_leave_nothing(scene: Scene) -> None:
    async with asyncio.TaskGroup() as tasks:
        calls = {
            name: tasks.create_task(bounded(scene.sandbox.run(hostile.program, {})))
            for name, hostile in HOSTILE.items()
        }

    complaints = {name: HOSTILE[name].complaint(call.result()) for name, call in calls.items()}
    assert not {name: words for name, words in complaints.items() if words}
    await bounded(scene.sandbox.settle())
    await scene.works()


@pytest.mark.parametrize("way", STOPS_READING)
async def test_a_guest_that_stops_reading(scene: Scene, way: str) -> None:
    hostile: StopsReading = STOPS_READING[way]

    first, second = await bounded(scene.sandbox.run_batch(hostile.program, hostile.batch))

    assert (first.outcome, first.value) == (Outcome.RETURNED, 1)
    assert (second.outcome, second.limit) == (Outcome.TIMED_OUT, "wall_time")
    await scene.works()


class Deaths:
    """Notes when first processes end, in a thread: the event loop may be the one at fault."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._names: dict[int, str] = {}
        self._known: set[str] = set()
        self._times: dict[str, float] = {}
        self._done = False
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def add(self, container: str, pid: int) -> None:
        if container not in self._known:
            self._known.add(container)
            descriptor = os.pidfd_open(pid)
            self._names[descriptor] = container
            self._poll.register(descriptor, select.EPOLLIN)

    def _watch(self) -> None:
        while not self._done:
            for descriptor, _ in self._poll.poll(0.2):
                self._times[self._names[descriptor]] = time.monotonic()
                self._poll.unregister(descriptor)

    def wait_for(self, container: str) -> None:
        """Block until that one is dead."""
        end = time.monotonic() + BOUND_SECONDS
        while container not in self._times and time.monotonic() < end:
            time.sleep(0.01)

    async def all_of(self, calls: list[asyncio.Task[ExecutionResult]], scene: Scene) -> list[float]:
        """When the guest of each of these calls was dead, once they are over."""
        async with asyncio.timeout(BOUND_SECONDS):
            while not all(call.done() for call in calls):
                for container, pid in (await scene.pids(0)).items():
                    self.add(container, pid)
                await asyncio.sleep(0.05)
            while not all(call.result().container in self._times for call in calls):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return [self._times[call.result().container] for call in calls]

    async def close(self) -> None:
        self._done = True
        await asyncio.to_thread(self._thread.join)
        self._poll.close()
        for descriptor in self._names:
            os.close(descriptor)


@pytest.fixture
async def deaths() -> AsyncIterator[Deaths]:
    deaths = Deaths()
    yield deaths
    await deaths.close()


DEADLINE_SECONDS = 0.2

SLOW_TO_DIE = {
    "sleeps": "    time.sleep(60)\n",
    "computes": "    while True: pass\n",
    "closes its channel": "    os.closerange(3, 100)\n    while True: pass\n",
    "ignores signals": (
        "    for s in signal.valid_signals():\n"
        "        try: signal.signal(s, signal.SIG_IGN)\n"
        "        except (OSError, ValueError): pass\n"
        "    while True: signal.pause()\n"
    ),
    "forks": "    while True:\n        try: os.fork()\n        except OSError: pass\n",
    "stays in one instruction": "    10 ** 10 ** 8\n",
}


def slow_to_die(name: str, wall_seconds: float) -> Program:
    code = (
        "import os, signal, time\ndef f():\n    print(time.monotonic(), flush=True)\n"
        + SLOW_TO_DIE[name]
    )
    limits = ResourceLimits(wall_seconds=wall_seconds, pids=16)
    return Program(code=code, function="f", level=LintLevel.L2, limits=limits)


def lateness(call: asyncio.Task[ExecutionResult], died: float, wall_seconds: float) -> float:
    """How long after its limit a guest was dead; what it printed is when it began."""
    return died - (float(call.result().output.split()[0]) + wall_seconds)


async def test_a_guest_is_dead_soon_after_its_limit(scene: Scene, deaths: Deaths) -> None:
    late = await lateness_of_all(scene, deaths)

    assert max(late.values()) < DEADLINE_SECONDS, late


async def lateness_of_all(scene: Scene, deaths: Deaths) -> dict[str, float]:
    """How long after its limit each of those was dead that are slow to die."""
    wall = 2.0
    calls = [
        asyncio.create_task(scene.sandbox.run(slow_to_die(name, wall), {})) for name in SLOW_TO_DIE
    ]

    died = await deaths.all_of(calls, scene)

    assert {call.result().outcome for call in calls} == {Outcome.TIMED_OUT}
    return {
        name: lateness(call, end, wall)
        for name, call, end in zip(SLOW_TO_DIE, calls, died, strict=True)
    }


async def test_a_host_that_is_busy_is_no_reprieve(scene: Scene, deaths: Deaths) -> None:
    late = await lateness_under_a_busy_host(scene, deaths)

    assert late < DEADLINE_SECONDS
    await scene.works()


async def lateness_under_a_busy_host(scene: Scene, deaths: Deaths) -> float:
    """How long after its limit a guest was dead while the event loop was blocked."""
    wall = 3.0
    call, container = await scene.busy(sleeping(60, wall_seconds=wall))
    deaths.add(container, scene.pid_of(container))

    deaths.wait_for(container)  # blocks the event loop, as somebody's long computation
    end = await bounded(call)

    assert (end.outcome, end.limit) == (Outcome.TIMED_OUT, "wall_time")
    (died,) = await deaths.all_of([call], scene)
    return lateness(call, died, wall)


async def test_an_answer_in_time_counts_although_the_host_was_busy(scene: Scene) -> None:
    wall = 3.0
    call, container = await scene.busy(patient(wall))
    scene.let_go(container)

    time.sleep(wall)  # noqa: ASYNC251  the event loop is blocked

    end = await bounded(call)
    assert (end.outcome, end.value) == (Outcome.RETURNED, "went")


async def test_a_batch_ends_where_a_busy_host_was_late_for_an_answer(scene: Scene) -> None:
    wall = 3.0
    call, container = await scene.at_work(scene.sandbox.run_batch(patient(wall), [{}, {}]))
    scene.let_go(container)

    time.sleep(wall + 0.5)  # noqa: ASYNC251  as above; at its limit the guest is killed meanwhile

    (end,) = await bounded(call)
    assert (end.outcome, end.value) == (Outcome.RETURNED, "went")


# --- cancelling and closing


@pytest.mark.parametrize("warm", [0, 6], ids=["cold", "warm"])
async def test_cancelling_at_each_stage(scene: Scene, warm: int) -> None:
    if warm:
        await scene.warm(warm, SLEEP)

    async def interrupted(after: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(after):
                await scene.sandbox.run(SLEEP, {})

    async with asyncio.TaskGroup() as tasks:
        for step in range(12):
            tasks.create_task(interrupted(0.006 * step * step))

    await scene.works()


async def test_closing_with_calls_in_flight(scene: Scene) -> None:
    await scene.warm(2, SLEEP)
    calls = [asyncio.create_task(scene.sandbox.run(SLEEP, {})) for _ in range(6)]
    await asyncio.sleep(0.3)

    await bounded(scene.sandbox.close())

    ends = await bounded(asyncio.gather(*calls, return_exceptions=True))
    assert {type(end) for end in ends} <= {SandboxLostError, SandboxUnavailableError}
    assert not scene.engine.containers()
    with pytest.raises(SandboxUnavailableError, match="closed"):
        await scene.sandbox.run(ADD, {"a": 1})


# --- all of it at once

SQUARE = Program(
    code="def f(a):\n    print(a)\n    return {'square': a * a}\n",
    function="f",
    level=LintLevel.L2,
    limits=ResourceLimits(wall_seconds=60),
)
AT_ONCE = 32


@dataclass(frozen=True)
class Footprint:
    """What a process holds."""

    descriptors: int
    threads: int
    tasks: int
    memory_bytes: int

    @classmethod
    def own(cls) -> Footprint:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return cls(
            len(descriptors()),
            threading.active_count(),
            len(asyncio.all_tasks()),
            pages * os.sysconf("SC_PAGE_SIZE"),
        )


async def storm(scene: Scene, calls: int) -> list[str]:
    """So many calls, a tenth of them hostile; what is wrong with their ends."""
    names = list(HOSTILE)
    numbers = iter(range(calls))
    wrong: list[str] = []

    async def one(number: int) -> str | None:
        if number % 10 == 0:
            name = names[number // 10 % len(names)]
            end = await bounded(scene.sandbox.run(HOSTILE[name].program, {}), 120)
            complaint = HOSTILE[name].complaint(end)
            return complaint and f"{name}: {complaint}"
        end = await bounded(scene.sandbox.run(SQUARE, {"a": number}), 120)
        seen = (end.outcome, end.value, end.output)
        expected = (Outcome.RETURNED, {"square": number * number}, f"{number}\n")
        return None if seen == expected else f"{number}: {seen} {end.error_message}"

    async def worker() -> None:
        wrong.extend([complaint for number in numbers if (complaint := await one(number))])

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(worker())
    await bounded(scene.sandbox.settle(), 120)
    return wrong


async def test_every_call_of_many_has_its_right_outcome(scene: Scene) -> None:
    assert not await storm(scene, 60)


@pytest.mark.heavy
@pytest.mark.timeout(1800)
async def test_every_call_of_a_thousand_has_its_right_outcome_and_nothing_grows(
    scene: Scene,
) -> None:
    wrong = await storm(scene, 200)
    before = Footprint.own()

    wrong += await storm(scene, 1000)
    after = Footprint.own()

    assert not wrong
    print(before, after, sep="\n")
    assert after.descriptors <= before.descriptors + 8 * 16, (before, after)  # what stands ready
    assert after.threads <= before.threads + 8, (before, after)
    assert after.tasks <= before.tasks + 8, (before, after)
    assert after.memory_bytes < before.memory_bytes + (16 << 20), (before, after)

"""What comes of a call when the engine, its disk, the host or somebody else fails it.

Each case: the right outcome or a typed error, in bounded time; afterwards the next call works
and, once the sandbox is closed, nothing is left of any of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hostile import HOSTILE, STOPS_READING, StopsReading
from private_engine import PrivateEngine

from policies.limits import ResourceLimits
from policies.permissions import LintLevel
from sandbox.base import ExecutionResult, Outcome, Program
from sandbox.docker_sandbox import DockerSandbox, open_docker_sandbox
from sandbox.engine import EngineError
from sandbox.errors import (
    ImageError,
    SandboxError,
    SandboxLostError,
    SandboxUnavailableError,
)
from sandbox.identity import OWNER_LABEL
from sandbox.janitor import ask
from sandbox.launcher import Walls

T = TypeVar("T")

BOUND_SECONDS = 40.0
ADD = Program(code="def f(a):\n    return a + 1\n", function="f", level=LintLevel.L2)


def sleeping(seconds: float, wall_seconds: float = 60) -> Program:
    """Says when it began, on the clock that host and guest share; answers after that time."""
    code = (
        "import time\ndef f():\n"
        f"    print(time.monotonic(), flush=True)\n    time.sleep({seconds})\n    return 'slept'\n"
    )
    limits = ResourceLimits(wall_seconds=wall_seconds)
    return Program(code=code, function="f", level=LintLevel.L2, limits=limits)


SLEEP = sleeping(60)


class Scene:
    """One sandbox on the private engine, and a look at what is there because of it."""

    def __init__(self, engine: PrivateEngine, sandbox: DockerSandbox) -> None:
        self.engine = engine
        self.sandbox = sandbox

    async def works(self) -> None:
        """The next call does."""
        result = await bounded(self.sandbox.run(ADD, {"a": 1}))
        assert (result.outcome, result.value) == (Outcome.RETURNED, 2)

    async def ids(self) -> list[str]:
        """Of its containers."""
        label = f"{OWNER_LABEL}={self.sandbox.owner}"
        return [c.id for c in await self.sandbox.engine.list_by_label(label)]

    async def pids(self, count: int) -> dict[str, int]:
        """First process of each container, as soon as there are so many that run."""
        found: dict[str, int] = {}
        async with asyncio.timeout(BOUND_SECONDS):
            while True:
                for container in await self.ids():
                    with contextlib.suppress(EngineError):
                        state = await self.sandbox.engine.inspect(container)
                        if state.running:
                            found[container] = state.pid
                if len(found) >= count:
                    return found
                await asyncio.sleep(0.02)

    async def busy(self, program: Program = SLEEP) -> tuple[asyncio.Task[ExecutionResult], str]:
        """A call in flight, and the container that it is in."""
        call = asyncio.create_task(self.sandbox.run(program, {}))
        ((container, _),) = (await self.pids(1)).items()
        await asyncio.sleep(0.4)  # until the tool itself runs
        return call, container

    async def warm(self, count: int, program: Program = ADD) -> None:
        """So many containers stand ready."""
        self.sandbox.prepare(program, count)
        walls = Walls.of(program, image=self.sandbox.image_digest, calls=1)
        async with asyncio.timeout(BOUND_SECONDS):
            while self.sandbox.pool.ready(walls) < count:  # noqa: ASYNC110  no event tells
                await asyncio.sleep(0.02)

    def folders(self) -> list[Path]:
        """Where its channels are on the host."""
        owner = self.sandbox.owner[:12]
        return list(Path(tempfile.gettempdir()).glob(f"toolkiln-channels-{owner}-*"))


async def bounded(work: Awaitable[T], seconds: float = BOUND_SECONDS) -> T:
    """A hang is a failure."""
    async with asyncio.timeout(seconds):
        return await work


async def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  no event tells
            await asyncio.sleep(0.02)


def descriptors() -> list[str]:
    gc.collect()
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(entry.readlink()))
    return sorted(found)


def children() -> set[int]:
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


def janitors() -> set[int]:
    """Those of this process."""
    return {pid for pid in children() if b"janitor.py" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def engine_threads() -> int:
    return sum(thread.name.startswith("engine") for thread in threading.enumerate())


@pytest.fixture
async def scene(private_engine: PrivateEngine, image_state: Path) -> AsyncIterator[Scene]:
    """A sandbox on an engine that may be hurt; nothing of it may be left."""
    open_before = descriptors()
    sandbox = await open_docker_sandbox(
        state_dir=image_state, docker_host=private_engine.url, progress=print
    )
    scene = Scene(private_engine, sandbox)
    try:
        yield scene
    finally:
        private_engine.free_disk()
        if not private_engine.runs:
            await asyncio.to_thread(private_engine.start)
        await bounded(sandbox.close())
    await eventually(lambda: engine_threads() == 0)
    assert not private_engine.containers()
    assert len(private_engine.processes()) == 2, "a container's shim is left"
    assert not scene.folders()
    assert not janitors()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await eventually(lambda: len(descriptors()) <= len(open_before))


# --- the engine


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_an_engine_restarted_in_mid_call(scene: Scene, how: signal.Signals) -> None:
    call, container = await scene.busy()

    await bounded(asyncio.to_thread(scene.engine.restart, how))

    with pytest.raises(SandboxLostError, match="is unknown") as caught:
        await bounded(call)
    assert not caught.value.retry_safe
    await scene.works()
    await bounded(scene.sandbox.settle())
    assert container not in scene.engine.containers()


async def test_a_call_needs_no_engine_to_end(scene: Scene) -> None:
    call, _ = await scene.busy(sleeping(1))
    await asyncio.to_thread(scene.engine.stop, signal.SIGKILL)

    result = await bounded(call, 10)

    assert (result.outcome, result.value) == (Outcome.RETURNED, "slept")


async def test_an_engine_killed_while_the_pool_is_warm(scene: Scene) -> None:
    await scene.warm(2)
    await asyncio.to_thread(scene.engine.stop, signal.SIGKILL)

    warm = [await bounded(scene.sandbox.run(ADD, {"a": n})) for n in range(2)]
    with pytest.raises(SandboxUnavailableError, match="No tool code was run") as caught:
        await bounded(scene.sandbox.run(ADD, {"a": 1}))

    assert [(end.value, end.pool_hit) for end in warm] == [(1, True), (2, True)]
    assert caught.value.retry_safe
    await asyncio.to_thread(scene.engine.start)
    await scene.works()


async def test_an_engine_restarted_under_a_warm_pool(scene: Scene) -> None:
    await scene.warm(3)

    await bounded(asyncio.to_thread(scene.engine.restart, signal.SIGKILL))

    for _ in range(3):
        await scene.works()


async def test_the_engines_socket_removed(scene: Scene) -> None:
    await scene.warm(1)
    call, _ = await scene.busy(sleeping(1))
    scene.engine.socket.unlink()

    assert (await bounded(call)).value == "slept"
    ends = [await settled(scene.sandbox.run(sleeping(0), {})) for _ in range(8)]

    for end in ends:  # kept connections still reach it
        assert isinstance(end, SandboxUnavailableError) or getattr(end, "value", "") == "slept"
    await bounded(asyncio.to_thread(scene.engine.restart))
    await scene.works()


async def settled(call: Awaitable[ExecutionResult]) -> ExecutionResult | SandboxError:
    """Its result or typed error; any other error is a failure."""
    try:
        return await bounded(call)
    except SandboxError as error:
        return error


async def test_the_engines_disk_full(scene: Scene) -> None:
    await scene.warm(1)
    call, _ = await scene.busy(sleeping(1))
    scene.engine.fill_disk()

    assert (await bounded(call)).value == "slept"
    await scene.works()  # in the warm one
    with pytest.raises(SandboxUnavailableError, match="No tool code was run") as caught:
        await bounded(scene.sandbox.run(sleeping(0), {}))

    assert "no space left" in str(caught.value)
    scene.engine.free_disk()
    await scene.works()


async def test_the_guest_image_removed(
    scene: Scene, private_engine: PrivateEngine, tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(ask(private_engine.url, "GET", f"/images/{scene.sandbox.image_digest}/get"))
    call, _ = await scene.busy(sleeping(1))
    remove_image(private_engine, scene.sandbox.image_digest)
    assert (await bounded(call)).value == "slept"
    await bounded(scene.sandbox.settle())
    remove_image(private_engine, scene.sandbox.image_digest)

    with pytest.raises(ImageError, match="No tool code was run") as caught:
        await bounded(scene.sandbox.run(ADD, {"a": 1}))

    assert caught.value.retry_safe
    await scene.sandbox.engine.load_image(archive)
    await scene.works()


def remove_image(engine: PrivateEngine, digest: str) -> None:
    """As far as the engine lets it go."""
    ask(engine.url, "DELETE", f"/images/{digest}?force=1")


# --- one container


def ask_to_kill(engine: PrivateEngine, container: str, _pid: int) -> None:
    engine.post(f"/containers/{container}/kill")


def kill_from_host(_engine: PrivateEngine, _container: str, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def remove(engine: PrivateEngine, container: str, _pid: int) -> None:
    ask(engine.url, "DELETE", f"/containers/{container}?force=1")


KILLS = {
    "by the engine": ask_to_kill,
    "from the host": kill_from_host,
    "and removed": remove,
}


@pytest.mark.parametrize("way", KILLS)
async def test_a_container_killed_by_somebody_else(scene: Scene, way: str) -> None:
    call, container = await scene.busy()
    pid = (await scene.sandbox.engine.inspect(container)).pid

    await asyncio.to_thread(KILLS[way], scene.engine, container, pid)

    with pytest.raises(SandboxLostError, match="is unknown") as caught:
        await bounded(call, 15)
    assert not caught.value.retry_safe
    await scene.works()


@pytest.mark.parametrize("way", KILLS)
async def test_warm_containers_killed_by_somebody_else(scene: Scene, way: str) -> None:
    await scene.warm(2)
    for container, pid in (await scene.pids(2)).items():
        KILLS[way](scene.engine, container, pid)
    time.sleep(0.2)  # noqa: ASYNC251  they die, and the event loop does not hear of it

    await scene.works()


async def test_a_container_paused_by_somebody_else(scene: Scene) -> None:
    call, container = await scene.busy(sleeping(60, wall_seconds=2))
    await asyncio.to_thread(scene.engine.post, f"/containers/{container}/pause")

    with pytest.raises(SandboxLostError, match="paused"):
        await bounded(call, 15)

    await bounded(scene.sandbox.settle())
    assert container not in scene.engine.containers()
    await scene.works()


async def test_the_folder_of_the_channels_removed(scene: Scene) -> None:
    await scene.warm(1)
    call, _ = await scene.busy(sleeping(1))
    for folder in scene.folders():
        shutil.rmtree(folder)

    assert (await bounded(call)).value == "slept"
    await scene.works()
    await scene.works()


async def test_the_folder_of_the_channels_removed_while_containers_start(scene: Scene) -> None:
    await scene.works()
    calls = [asyncio.create_task(settled(scene.sandbox.run(sleeping(0), {}))) for _ in range(8)]
    while not all(call.done() for call in calls):
        for folder in scene.folders():
            shutil.rmtree(folder, ignore_errors=True)
        await asyncio.sleep(0.05)

    for end in [await call for call in calls]:
        assert isinstance(end, SandboxUnavailableError) or getattr(end, "value", "") == "slept"
    await scene.works()


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
    wall = 2.0
    calls = [
        asyncio.create_task(scene.sandbox.run(slow_to_die(name, wall), {})) for name in SLOW_TO_DIE
    ]

    died = await deaths.all_of(calls, scene)

    assert {call.result().outcome for call in calls} == {Outcome.TIMED_OUT}
    late = {
        name: lateness(call, end, wall)
        for name, call, end in zip(SLOW_TO_DIE, calls, died, strict=True)
    }
    assert max(late.values()) < DEADLINE_SECONDS, late


async def test_a_host_that_is_busy_is_no_reprieve(scene: Scene, deaths: Deaths) -> None:
    call, container = await scene.busy(sleeping(60, wall_seconds=1.5))
    deaths.add(container, (await scene.pids(1))[container])

    time.sleep(2.5)  # noqa: ASYNC251  the event loop is blocked, as by somebody's long computation
    end = await bounded(call)
    (died,) = await deaths.all_of([call], scene)

    assert (end.outcome, end.limit) == (Outcome.TIMED_OUT, "wall_time")
    assert lateness(call, died, 1.5) < DEADLINE_SECONDS
    await scene.works()


async def test_an_answer_in_time_counts_although_the_host_was_busy(scene: Scene) -> None:
    call, _ = await scene.busy(sleeping(1, wall_seconds=2))

    time.sleep(2)  # noqa: ASYNC251  as above

    end = await bounded(call)
    assert (end.outcome, end.value) == (Outcome.RETURNED, "slept")


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


# --- the death of the host

HOST = """
import asyncio, sys
from pathlib import Path
from sandbox.base import Program
from sandbox.docker_sandbox import open_docker_sandbox

CODE = "import time\\ndef f():\\n    print(1, flush=True)\\n    time.sleep(60)\\n"
SLEEP = Program(code=CODE, function="f", level="L2")
IDLE = Program(code=CODE, function="f", level="L0")

async def main(url, state, calls):
    sandbox = await open_docker_sandbox(
        state_dir=Path(state), docker_host=url, progress=lambda line: None
    )
    print(sandbox.owner, flush=True)
    sandbox.prepare(IDLE, 3)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(int(calls)):
            tasks.create_task(sandbox.run(SLEEP, {}))

asyncio.run(main(*sys.argv[1:]))
"""


class Host:
    """A process with a sandbox of its own and calls in flight."""

    def __init__(self, engine: PrivateEngine, process: asyncio.subprocess.Process) -> None:
        self._engine = engine
        self.process = process
        self.owner = ""

    @classmethod
    async def start(cls, engine: PrivateEngine, state: Path, calls: int) -> Host:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            HOST,
            engine.url,
            str(state),
            str(calls),
            stdout=asyncio.subprocess.PIPE,
        )
        host = cls(engine, process)
        assert process.stdout is not None
        host.owner = (await bounded(process.stdout.readline())).decode().strip()
        return host

    def janitor(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [
            int(pid)
            for task in children.parent.parent.iterdir()
            for pid in (task / "children").read_text().split()
        ]
        (found,) = [
            pid for pid in pids if b"janitor.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        return found

    async def runs(self, count: int) -> None:
        """Wait until so many containers are there."""
        await eventually(lambda: len(self._engine.containers()) >= count, 60)

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def folders(self) -> list[Path]:
        return list(Path(tempfile.gettempdir()).glob(f"toolkiln-channels-{self.owner[:12]}-*"))


CALLS_IN_FLIGHT = 32


async def test_a_host_killed_with_calls_in_flight_leaves_nothing(
    private_engine: PrivateEngine, image_state: Path
) -> None:
    host = await Host.start(private_engine, image_state, CALLS_IN_FLIGHT)
    await host.runs(CALLS_IN_FLIGHT)
    await asyncio.sleep(1)
    janitor = host.janitor()

    await host.kill()
    await asyncio.sleep(2)

    assert not private_engine.containers()
    assert len(private_engine.processes()) == 2
    assert not host.folders()
    await eventually(lambda: not Path(f"/proc/{janitor}").exists())


async def test_a_host_and_its_janitor_killed(
    private_engine: PrivateEngine, image_state: Path
) -> None:
    host = await Host.start(private_engine, image_state, 4)
    await host.runs(4)
    await asyncio.sleep(1.5)
    os.kill(host.janitor(), signal.SIGKILL)

    await host.kill()

    # The guests end by themselves, because their input does;
    await eventually(lambda: len(private_engine.processes()) == 2, 3)
    # the next process of this host removes what is left.
    sandbox = await open_docker_sandbox(
        state_dir=image_state, docker_host=private_engine.url, progress=print
    )
    try:
        assert not private_engine.containers()
        assert not host.folders()
    finally:
        await sandbox.close()


async def test_a_janitor_killed_is_replaced(scene: Scene) -> None:
    await scene.works()
    (janitor,) = janitors()
    os.kill(janitor, signal.SIGKILL)

    await eventually(lambda: ") Z " in Path(f"/proc/{janitor}/stat").read_text())
    call, _ = await scene.busy()

    assert len(janitors() - {janitor}) == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

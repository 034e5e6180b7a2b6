"""Sandboxes on an engine that may be hurt, and looks at what is there because of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TypeVar

import pytest
from private_engine import PrivateEngine

from policies.limits import ResourceLimits
from policies.permissions import LintLevel
from sandbox.base import ExecutionResult, Outcome, Program
from sandbox.docker_sandbox import DockerSandbox, open_docker_sandbox
from sandbox.engine import EngineError
from sandbox.errors import SandboxError
from sandbox.identity import OWNER_LABEL
from sandbox.launcher import Walls

T = TypeVar("T")

BOUND_SECONDS = 120.0
"""Against hangs; no test needs a tenth of it on a machine that has nothing else to do."""

ADD = Program(code="def f(a):\n    return a + 1\n", function="f", level=LintLevel.L2)


def sleeping(seconds: float, wall_seconds: float = 60) -> Program:
    """Says when it began, on the clock that host and guest share; answers after that time."""
    code = (
        "import time\ndef f():\n"
        "    print(time.monotonic(), flush=True)\n    open('/tmp/began', 'w').close()\n"
        f"    time.sleep({seconds})\n    return 'slept'\n"
    )
    limits = ResourceLimits(wall_seconds=wall_seconds)
    return Program(code=code, function="f", level=LintLevel.L2, limits=limits)


SLEEP = sleeping(60)


def patient(wall_seconds: float = 60) -> Program:
    """Answers as soon as `Scene.let_go` tells it to."""
    code = (
        "import os, time\ndef f():\n    open('/tmp/began', 'w').close()\n"
        "    while not os.path.exists('/tmp/go'):\n        time.sleep(0.01)\n"
        "    return 'went'\n"
    )
    limits = ResourceLimits(wall_seconds=wall_seconds)
    return Program(code=code, function="f", level=LintLevel.L2, limits=limits)


PATIENT = patient()


class Scene:
    """One sandbox on the private engine, and a look at what is there because of it."""

    def __init__(self, engine: PrivateEngine, sandbox: DockerSandbox) -> None:
        self.engine = engine
        self.sandbox = sandbox
        self._busy: dict[str, int] = {}

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
        return await self.at_work(self.sandbox.run(program, {}))

    async def at_work(self, work: Coroutine[None, None, T]) -> tuple[asyncio.Task[T], str]:
        """One call, or a batch of them, whose guest has begun, and the container of that."""
        before = await self.ids()
        call = asyncio.create_task(work)
        async with asyncio.timeout(BOUND_SECONDS):
            while True:
                for container, pid in (await self.pids(0)).items():
                    if container not in before and has_begun(pid):
                        self._busy[container] = pid
                        return call, container
                assert not call.done(), call
                await asyncio.sleep(0.02)

    def pid_of(self, container: str) -> int:
        """First process of a busy container."""
        return self._busy[container]

    def let_go(self, container: str) -> None:
        """Tell the `patient` guest of a busy container to answer; no engine has a part in it."""
        Path(f"/proc/{self._busy[container]}/root/tmp/go").touch()

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


def has_begun(pid: int) -> bool:
    """Whether a guest has left the mark that programs of these tests make first."""
    return Path(f"/proc/{pid}/root/tmp/began").exists()


async def bounded(work: Awaitable[T], seconds: float = BOUND_SECONDS) -> T:
    """A hang is a failure."""
    async with asyncio.timeout(seconds):
        return await work


async def eventually(condition: Callable[[], bool], seconds: float = BOUND_SECONDS) -> None:
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


def children(parent: int) -> set[int]:
    tasks = Path(f"/proc/{parent}/task").iterdir()
    return {int(pid) for task in tasks for pid in _words(task / "children")}


def janitors(parent: int | None = None) -> set[int]:
    """Those of that process, or of this one."""
    found = children(parent or os.getpid())
    return {pid for pid in found if any("janitor.py" in w for w in _words(f"/proc/{pid}/cmdline"))}


def _words(path: Path | str) -> list[str]:
    """Of a file about a process or thread; none where that has ended meanwhile."""
    try:
        return Path(path).read_text(encoding="utf-8").replace("\0", " ").split()
    except OSError:
        return []


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
    # A shim ends a moment after the engine forgot its container.
    await eventually(lambda: len(private_engine.processes()) == 2)
    assert not scene.folders()
    assert not janitors()
    await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    await eventually(lambda: len(descriptors()) <= len(open_before))


async def settled(call: Awaitable[ExecutionResult]) -> ExecutionResult | SandboxError:
    """Its result or typed error; any other error is a failure."""
    try:
        return await bounded(call)
    except SandboxError as error:
        return error

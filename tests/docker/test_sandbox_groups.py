"""What the kernel tells of a container's end, also when its control group is gone by then."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from policies.limits import MIB
from policies.value import JsonObject
from sandbox.engine import Engine
from sandbox.hardening import INTERPRETER_PATH
from sandbox.identity import OWNER_LABEL, new_owner
from sandbox.images import engine_reference
from sandbox.usage import CgroupFiles

BOUND_SECONDS = 120.0
ROOT = Path("/sys/fs/cgroup")
UNIFIED = not (ROOT / "memory").is_dir()
MEMORY = (
    "import os, time\nwhile not os.path.exists('/tmp/go'): time.sleep(0.01)\n"
    "held = []\nwhile True: held.append(bytearray(1 << 20))\n"
)
SLEEP = "import time\ntime.sleep(60)\n"


@dataclass(frozen=True)
class Running:
    """A container without any harness."""

    engine: Engine
    id: str
    pid: int
    group: CgroupFiles

    async def ends(self) -> None:
        """Wait for its first process."""
        try:
            process = os.pidfd_open(self.pid)
        except ProcessLookupError:  # it has ended, and its parent knows
            return
        try:
            await asyncio.to_thread(select.select, [process], [], [], BOUND_SECONDS)
        finally:
            os.close(process)

    def let_go(self) -> None:
        """Tell the program that waits for it to begin."""
        Path(f"/proc/{self.pid}/root/tmp/go").touch()

    async def group_goes(self) -> None:
        """Wait until nothing of its group is left."""
        async with asyncio.timeout(BOUND_SECONDS):
            while self._has_group():  # noqa: ASYNC110  no event tells
                await asyncio.sleep(0.02)

    def _has_group(self) -> bool:
        return any(ROOT.glob(f"*/docker/{self.id}")) or any(ROOT.glob(f"*/docker-{self.id}.scope"))


@pytest.fixture
async def running(
    engine: Engine, owner: str, image_digest: str, request: pytest.FixtureRequest
) -> AsyncIterator[Running]:
    """A container that runs the test's program."""
    config: JsonObject = {
        "Image": await engine_reference(engine, image_digest),
        "Entrypoint": [INTERPRETER_PATH, "-c", request.param],
        "Labels": {OWNER_LABEL: owner},
        "HostConfig": {"Memory": 32 * MIB, "MemorySwap": 32 * MIB, "NetworkMode": "none"},
    }
    container = await engine.create(config, name=f"toolkiln-{new_owner()}")
    group = None
    try:
        await engine.start(container)
        group = CgroupFiles.open(container)
        if group is None:
            pytest.skip("this host cannot read the engine's control groups")
        yield Running(engine, container, (await engine.inspect(container)).pid, group)
    finally:
        if group is not None:
            group.close()
        await engine.remove(container)


@pytest.mark.parametrize("running", [SLEEP], indirect=True, ids=["sleeps"])
async def test_the_group_names_the_first_process(running: Running) -> None:
    assert running.group.first_pid() == running.pid


@pytest.mark.parametrize("running", [MEMORY], indirect=True, ids=["eats memory"])
async def test_a_kill_for_memory_is_told_at_the_end(running: Running) -> None:
    assert running.group.read().oom_kills == 0

    running.let_go()
    await running.ends()

    assert running.group.read().oom_kills == 1


@pytest.mark.parametrize("running", [MEMORY], indirect=True, ids=["eats memory"])
async def test_a_kill_for_memory_is_told_when_the_group_is_gone(running: Running) -> None:
    if UNIFIED:
        pytest.skip("only the first version of control groups tells it afterwards")
    running.let_go()
    await running.ends()
    await running.group_goes()

    async with asyncio.timeout(BOUND_SECONDS):  # the kernel tells of the group's end a moment later
        while running.group.read().oom_kills != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("running", [SLEEP], indirect=True, ids=["sleeps"])
async def test_another_kill_is_not_one_for_memory(running: Running) -> None:
    before = running.group.read()
    os.kill(running.pid, signal.SIGKILL)

    await running.ends()
    await running.group_goes()

    assert running.group.read().oom_kills == 0
    assert running.group.read().memory_peak_bytes == before.memory_peak_bytes
    assert running.group.first_pid() is None


@pytest.mark.parametrize("running", [SLEEP], indirect=True, ids=["sleeps"])
async def test_a_hastened_end_is_an_end(running: Running) -> None:
    os.kill(running.pid, signal.SIGKILL)
    running.group.hasten_end()

    await running.ends()
    await running.group_goes()
    running.group.hasten_end()  # of one that is gone

    assert running.group.first_pid() is None


def test_there_is_no_group_of_a_container_that_is_not_there() -> None:
    assert CgroupFiles.open("0" * 64) is None

"""A SIGKILL at any point of `define_tool`: the tool is there wholly or not at all, and no rest."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from toolmaking import adder

from runtime.settings import Settings
from runtime.wiring import open_runtime
from sandbox.docker_sandbox import DockerSandbox
from sandbox.identity import OWNER_LABEL

PROGRAM = Path(__file__).parents[1] / "support" / "define_and_die.py"

FATAL_SECONDS = (0.02, 0.1, 0.3, 0.6, 1.0, 1.5)
"""Between events, in mid-write too; counted from the sandbox being open."""

GRACE_SECONDS = 2.0
AT_ONCE = 3


async def start(
    home: Path, image_state: Path, fatal: int
) -> tuple[asyncio.subprocess.Process, str]:
    """The program, and the owner label of its sandbox."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        str(home),
        str(image_state),
        str(fatal),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parent)},
    )
    assert process.stdout is not None
    return process, (await process.stdout.readline()).decode().strip()


async def check_what_is_left(home: Path, owner: str, sandbox: DockerSandbox) -> None:
    await asyncio.sleep(GRACE_SECONDS)
    assert await sandbox.engine.list_by_label(f"{OWNER_LABEL}={owner}") == ()
    async with open_runtime(settings=Settings(home=home), sandbox=sandbox) as runtime:
        report = await runtime.store.verify()
        assert report.intact, report.damage
        again = await runtime.define_tool(adder("plus_two", 2))
        assert again.ref == "plus_two@1"
        assert (await runtime.call_tool("plus_two", {"a": 40})).content == 42


async def count_events(home: Path, image_state: Path) -> int:
    """How many events a definition has when nobody kills it."""
    process, _ = await start(home, image_state, 0)
    output, _ = await process.communicate()
    ref, events = output.decode().split()
    assert ref == "plus_two@1"
    return int(events)


@pytest.mark.heavy
async def test_killed_at_an_event_of_each_stage(
    home: Path, tmp_path: Path, image_state: Path, sandbox: DockerSandbox
):
    last = await count_events(home, image_state)
    # Static stages begun and done; trials begun, in plenty, done; decision begun and done.
    fatal_events = {1, 6, 7, 8, 9, last // 2, *range(last - 3, last + 1)}
    places = asyncio.Semaphore(AT_ONCE)

    async def one(fatal: int) -> None:
        home = tmp_path / f"event-{fatal}"
        async with places:
            process, owner = await start(home, image_state, fatal)
            await process.communicate()
            assert process.returncode == -signal.SIGKILL, f"event {fatal} was not reached"
            await check_what_is_left(home, owner, sandbox)

    async with asyncio.TaskGroup() as group:
        for fatal in fatal_events:
            group.create_task(one(fatal))


@pytest.mark.heavy
async def test_killed_between_events(tmp_path: Path, image_state: Path, sandbox: DockerSandbox):
    places = asyncio.Semaphore(AT_ONCE)

    async def one(seconds: float) -> None:
        home = tmp_path / f"after-{seconds}"
        async with places:
            process, owner = await start(home, image_state, 0)
            await asyncio.sleep(seconds)
            if process.returncode is None:
                process.kill()
            await process.communicate()
            await check_what_is_left(home, owner, sandbox)

    async with asyncio.TaskGroup() as group:
        for seconds in FATAL_SECONDS:
            group.create_task(one(seconds))

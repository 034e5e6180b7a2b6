"""A SIGKILL at any event of `define_tool`: the tool is there wholly or not at all, and no rest."""

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
from toolstore.models import Lifecycle

PROGRAM = Path(__file__).parents[1] / "support" / "define_and_die.py"

STATIC_EVENTS = 6
"""Three stages begun and ended."""


async def define_and_die(home: Path, image_folder: Path, fatal: int) -> tuple[int, list[str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        str(home),
        str(image_folder),
        str(fatal),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parent)},
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    return process.returncode, output.decode().split()


async def containers_of(sandbox: DockerSandbox, owner: str) -> int:
    return len(await sandbox.engine.list_by_label(f"{OWNER_LABEL}={owner}"))


# Limits begun, schema done, trials begun, several trials in, decision begun and done.
@pytest.mark.parametrize("fatal", [1, 6, 7, 8, 9, 20, 34, 35, 36, 37])
async def test_killed_at_an_event(
    fatal: int, tmp_path: Path, image_folder: Path, sandbox: DockerSandbox
):
    home = tmp_path / "home"

    code, words = await define_and_die(home, image_folder, fatal)
    await asyncio.sleep(2)

    assert code == -signal.SIGKILL
    assert await containers_of(sandbox, words[0]) == 0
    async with open_runtime(settings=Settings(home=home), sandbox=sandbox) as runtime:
        report = await runtime.store.verify()
        assert report.intact, report.damage
        assert {s.state for s in await runtime.store.summaries()} <= {Lifecycle.APPROVED}
        again = await runtime.define_tool(adder("plus_two", 2))
        assert again.ref == "plus_two@1"
        assert (await runtime.call_tool("plus_two", {"a": 40})).content == 42


async def test_the_kills_above_reach_every_stage(tmp_path: Path, image_folder: Path):
    code, words = await define_and_die(tmp_path / "home", image_folder, 0)

    assert code == 0
    assert words[1] == "plus_two@1"
    assert int(words[2]) == 37, "the list of fatal events above must reach the last one"


@pytest.mark.parametrize("delay", [0.02, 0.1, 0.3, 0.6, 1.0, 1.5])
async def test_killed_between_events(
    delay: float, tmp_path: Path, image_folder: Path, sandbox: DockerSandbox
):
    home = tmp_path / "home"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        str(home),
        str(image_folder),
        "0",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parent)},
    )
    assert process.stdout is not None
    owner = (await process.stdout.readline()).decode().strip()
    await asyncio.sleep(delay)
    if process.returncode is None:
        process.kill()
    await process.communicate()
    await asyncio.sleep(2)

    assert await containers_of(sandbox, owner) == 0
    async with open_runtime(settings=Settings(home=home), sandbox=sandbox) as runtime:
        assert (await runtime.store.verify()).intact
        assert (await runtime.define_tool(adder("plus_two", 2))).ref == "plus_two@1"

"""Fifty sessions in five processes on one store, defining and calling at once."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from runtime.settings import Settings
from runtime.wiring import open_runtime
from sandbox.docker_sandbox import DockerSandbox
from toolstore.models import Lifecycle

PROGRAM = Path(__file__).parents[1] / "support" / "busy_sessions.py"
PROCESSES = 5
SESSIONS = 50


async def run_process(home: Path, image_state: Path, number: int) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        str(home),
        str(image_state),
        str(number),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parent)},
    )
    output, _ = await asyncio.wait_for(process.communicate(), 280)
    assert process.returncode == 0
    return output.decode().splitlines()


@pytest.mark.heavy
async def test_fifty_sessions_lose_nothing(home: Path, image_state: Path, sandbox: DockerSandbox):
    assert sandbox.image_digest  # the image is built before the processes race for it

    lines = await asyncio.gather(
        *(run_process(home, image_state, number) for number in range(PROCESSES))
    )

    sessions = [line.split("\t") for part in lines for line in part]
    assert sorted(int(number) for number, *_ in sessions) == list(range(SESSIONS))
    assert [fields for fields in sessions if fields[1] != "done" or fields[2]] == []
    async with open_runtime(settings=Settings(home=home), sandbox=sandbox) as runtime:
        assert (await runtime.store.verify()).intact
        shared = await runtime.store.history("plus_shared")
        assert [version.sequence for version in shared] == list(range(1, SESSIONS + 1))
        assert len({version.digest for version in shared}) == SESSIONS
        assert sum(version.state is Lifecycle.APPROVED for version in shared) == 1
        names = {summary.name for summary in await runtime.store.summaries((Lifecycle.APPROVED,))}
        assert names == {"plus_shared", *(f"plus_{number}" for number in range(SESSIONS))}

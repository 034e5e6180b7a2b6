"""Containers that stand ready are what cold ones are, and none ever serves twice."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from policies.config import SHIPPED_PROFILES
from policies.limits import MIB, ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject
from runtime.profiles import read_profile
from sandbox.base import ExecutionResult, Outcome, Program
from sandbox.docker_sandbox import DockerSandbox
from sandbox.hardening import container_options
from sandbox.launcher import Walls

ADD = "def f(a, b):\n    return {'sum': a + b}\n"

# Leaves a mark wherever a program can, and says which marks it found before.
MARKS = """
import os, sys, builtins, threading
FILES = ["/tmp/mark", "/tmp/.hidden", "/dev/shm/mark", "/run/toolkiln/mark", "/mark"]
def f():
    found = [path for path in FILES if os.path.exists(path)]
    found += sorted(os.listdir("/tmp"))
    found += [name for name in ("MARK",) if name in os.environ]
    found += [name for name in ("mark",) if hasattr(builtins, name)]
    found += [str(pid) for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid()]
    for path in FILES:
        try:
            open(path, "w").close()
        except OSError:
            pass
    os.environ["MARK"] = "1"
    builtins.mark = True
    if os.fork() == 0:
        while True:
            threading.Event().wait(60)
    return found
"""


def program(code: str, level: LintLevel = LintLevel.L0, **limits: float) -> Program:
    return Program(
        code=code, function="f", level=level, limits=ResourceLimits.model_validate(limits)
    )


async def ready(sandbox: DockerSandbox, wanted: Program, count: int = 1) -> None:
    sandbox.prepare(wanted, count)
    walls = Walls.of(wanted, image=sandbox.image_digest, calls=1)
    async with asyncio.timeout(120):
        while sandbox.pool.ready(walls) < count:  # noqa: ASYNC110  no event tells
            await asyncio.sleep(0.01)


def everywhere() -> list[Program]:
    """The walls of each level under each shipped profile, and some others."""
    limits = {read_profile(name).run for name in SHIPPED_PROFILES}
    limits.add(ResourceLimits(memory_bytes=32 * MIB, pids=4, tmp_files=16, open_files=32))
    return [
        Program(
            code="def f():\n    return 1\n",
            function="f",
            level=level,
            limits=each,
            sockets=level is LintLevel.L3,
        )
        for each in sorted(limits, key=lambda each: each.memory_bytes)
        for level in LintLevel
    ]


async def test_walls_are_the_same_pooled_and_cold(sandbox: DockerSandbox) -> None:
    places = asyncio.Semaphore(4)

    async def both(wanted: Program) -> tuple[ExecutionResult, ExecutionResult]:
        async with places:
            cold = await sandbox.run(wanted, {})
            await ready(sandbox, wanted)
            return cold, await sandbox.run(wanted, {})

    for cold, pooled in await asyncio.gather(*map(both, everywhere())):
        assert (cold.pool_hit, pooled.pool_hit) == (False, True)
        assert cold.container != pooled.container
        assert cold.posture == pooled.posture
        assert cold.outcome is pooled.outcome is Outcome.RETURNED


async def test_no_call_sees_a_trace_of_another(sandbox: DockerSandbox) -> None:
    wanted = program(MARKS, LintLevel.L2)
    await ready(sandbox, wanted, 2)

    results = [await sandbox.run(wanted, {}) for _ in range(4)]

    assert [result.pool_hit for result in results[:2]] == [True, True]
    assert [result.value for result in results] == [[]] * 4
    assert len({result.container for result in results}) == 4


async def test_a_burst_takes_what_is_ready_and_starts_the_rest(sandbox: DockerSandbox) -> None:
    wanted = program(ADD)
    await ready(sandbox, wanted, 4)

    results = await asyncio.gather(*(sandbox.run(wanted, {"a": n, "b": 1}) for n in range(8)))

    assert [result.value for result in results] == [{"sum": n + 1} for n in range(8)]
    assert sum(result.pool_hit for result in results) >= 4
    assert len({result.container for result in results}) == 8


async def test_neither_descriptors_nor_folders_are_left(sandbox: DockerSandbox) -> None:
    wanted = program(ADD)
    await sandbox.run(wanted, {"a": 1, "b": 1})
    await sandbox.pool.close()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  as the kernel counts them

    async with asyncio.timeout(120):
        other = DockerSandbox(sandbox.engine, image_digest=sandbox.image_digest)
        results = await asyncio.gather(*(other.run(wanted, {"a": n, "b": 1}) for n in range(12)))
        folders = other._launcher._folders
        assert folders is not None
        root = folders.root
        await other.close()

    assert {result.outcome for result in results} == {Outcome.RETURNED}
    assert not root.exists()
    # The engine's client keeps its own connections for the next call.
    assert len(os.listdir("/proc/self/fd")) <= before + 12  # noqa: PTH208  as above


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("def f():\n    print('said')\n    return 'x' * 100_000\n", Outcome.RETURNED),
        ("def f():\n    print('said')\n    raise ValueError('no')\n", Outcome.RAISED),
        ("import os\ndef f():\n    print('said')\n    os._exit(3)\n", Outcome.CRASHED),
        ("def f():\n    print('said')\n    while True: pass\n", Outcome.TIMED_OUT),
    ],
)
async def test_where_no_pipe_passes_the_engine_carries_the_same(
    sandbox: DockerSandbox, code: str, outcome: Outcome
) -> None:
    sandbox._launcher._folders = None  # as for an engine behind an address

    wall_seconds = 2.0 if outcome is Outcome.TIMED_OUT else 60.0
    result = await sandbox.run(program(code, LintLevel.L2, wall_seconds=wall_seconds), {})

    assert (result.outcome, result.output) == (outcome, "said\n"), result.error_message


async def test_an_engine_that_sees_other_folders_is_talked_to_through_itself(
    sandbox: DockerSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As when this process runs in a container that was only handed the engine's socket.
    def elsewhere(**facts: Any) -> JsonObject:
        folder = facts.pop("channel_folder")
        return container_options(**facts, channel_folder=folder and f"/nowhere{folder}")

    monkeypatch.setattr("sandbox.launcher.container_options", elsewhere)

    result = await sandbox.run(program(ADD), {"a": 1, "b": 2})

    assert result.value == {"sum": 3}

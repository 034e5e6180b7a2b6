"""The process tier: right outcomes, the same walls, and never a trace of another call."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import select
import signal
from collections.abc import AsyncIterator

import pytest
from pydantic import JsonValue

from policies.limits import MIB, ResourceLimits
from policies.permissions import LintLevel
from sandbox.base import ApprovedVersion, CallOptions, ExecutionResult, Outcome, Program, Tier
from sandbox.docker_sandbox import DockerSandbox, SandboxCapacity
from sandbox.engine import Engine
from sandbox.errors import SandboxLostError
from sandbox.identity import OWNER_LABEL
from sandbox.process_tier import ProcessSettings, TierRefusedError

VERSION = ApprovedVersion(version_digest="sha256:1", policy_digest="sha256:2", tenant="one")
APPROVED = CallOptions(approved=VERSION)
BOUND_SECONDS = 60.0
ONE = SandboxCapacity(processes=ProcessSettings(at_once=1, most=1))
"""With one container, each call has the traces of the last before it, if there are any."""


@pytest.fixture
async def sandbox(engine: Engine, owner: str, image_digest: str) -> AsyncIterator[DockerSandbox]:
    async with DockerSandbox(
        engine, image_digest=image_digest, owner=owner, capacity=ONE
    ) as sandbox:
        yield sandbox
    assert not await engine.list_by_label(f"{OWNER_LABEL}={owner}")


def program(code: str, /, *, level: LintLevel = LintLevel.L2, **limits: float) -> Program:
    wanted = {"wall_seconds": 60.0, **limits}
    return Program(
        code=code, function="f", level=level, limits=ResourceLimits.model_validate(wanted)
    )


async def call(
    sandbox: DockerSandbox,
    what: Program,
    /,
    wall_seconds: float | None = None,
    **arguments: JsonValue,
) -> ExecutionResult:
    options = dataclasses.replace(APPROVED, wall_seconds=wall_seconds)
    result = await sandbox.run(what, arguments, options)
    assert result.tier is Tier.PROCESS, result.error_message
    return result


OUTCOMES = program(
    """
import os, sys, time
def f(how):
    print("doing", how)
    if how == "return":
        return {"how": how}
    if how == "raise":
        raise KeyError(how)
    if how == "exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), 9)
    if how == "sleep":
        time.sleep(60)
    if how == "spin":
        while True:
            pass
    if how == "memory":
        return len(bytearray(b"x") * (500 << 20))
    if how == "result":
        return "x" * (20 << 20)
    if how == "print":
        while True:
            print("x" * 1000)
    if how == "file":
        open("/tmp/big", "wb").write(b"x" * (8 << 20))
    if how == "half":
        os.write(4, b"\\x04\\x00\\x00\\x00\\x01\\x00\\x00\\x10\\x00half")
        os._exit(0)
    if how == "garbage":
        os.write(4, b"\\xff" * 64)
    if how == "forged end":
        os.write(4, bytes((14, 0, 0, 0, 0, 0, 0, 0, 17)) + bytes(17))
    if how == "two answers":
        os.write(4, b"\\x04\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x011")
""",
    wall_seconds=60.0,
    file_bytes=4 * MIB,
)


ENDINGS = [
    ("return", Outcome.RETURNED, None),
    ("raise", Outcome.RAISED, None),
    ("exit", Outcome.CRASHED, None),
    ("kill", Outcome.CRASHED, None),
    ("sleep", Outcome.TIMED_OUT, "wall_time"),
    ("spin", Outcome.TIMED_OUT, "wall_time"),
    ("memory", Outcome.OUT_OF_MEMORY, "memory"),
    ("result", Outcome.LIMIT_EXCEEDED, "result"),
    ("print", Outcome.LIMIT_EXCEEDED, "output"),
    ("half", Outcome.PROTOCOL_BROKEN, None),
    ("garbage", Outcome.PROTOCOL_BROKEN, None),
    ("forged end", Outcome.PROTOCOL_BROKEN, None),
    ("two answers", Outcome.PROTOCOL_BROKEN, None),
]


async def test_outcomes_are_those_of_a_container_and_the_next_call_works(
    sandbox: DockerSandbox,
) -> None:
    for how, outcome, limit in ENDINGS:
        wall_seconds = 1.0 if outcome is Outcome.TIMED_OUT else None
        result = await call(sandbox, OUTCOMES, wall_seconds, how=how)
        after = await call(sandbox, OUTCOMES, how="return")

        assert (how, result.outcome, result.limit) == (how, outcome, limit), result.error_message
        assert (after.outcome, after.value) == (Outcome.RETURNED, {"how": "return"})
        assert (after.container == result.container) is (how in ("return", "raise")), how
        assert after.output == "doing return\n"


async def test_a_call_says_what_it_was_and_what_it_used(sandbox: DockerSandbox) -> None:
    what = program("def f(a, b):\n    return a + b\n", level=LintLevel.L0)

    first = await call(sandbox, what, a=1, b=2)
    second = await call(sandbox, what, a=3, b=4)

    assert [first.value, second.value] == [3, 7]
    assert [first.pool_hit, second.pool_hit] == [False, True]
    assert second.container == first.container
    assert MIB < (second.usage.memory_peak_bytes or 0) < 64 * MIB
    assert 0 < (second.usage.cpu_seconds or 0) < 1
    posture = second.posture
    assert posture.uid not in (0, 65534)
    assert (posture.landlock, posture.seccomp_filters, posture.seccomp_mode) == (True, 2, 2)
    assert posture.capabilities_effective == posture.capabilities_bounding == "0" * 16


LOOK = program(
    """
import gc, os, sys
def f(mark):
    seen = {
        "counted": [gc.get_count(), gc.get_freeze_count()],
        "tmp": sorted(os.listdir("/tmp")),
        "tmp times": [os.stat("/tmp").st_mtime_ns, os.stat("/tmp").st_ctime_ns],
        "environment": sorted(os.environ),
        "modules": sorted(name for name in sys.modules if "mark" in name),
        "descriptors": [os.fstat(n).st_mode for n in range(100) if is_open(n)],
        "ends": [[os.fstat(n).st_atime_ns, os.fstat(n).st_size] for n in (1, 3, 4)],
        "written": [os.fstat(n).st_mtime_ns for n in (1, 4)],
        "builtins": "mark" in __builtins__,
        "argv": list(sys.argv),
        "limit": sys.getrecursionlimit(),
        "folder": os.getcwd(),
        "mask": os.umask(0o077),
    }
    leave(mark)
    return [seen, os.getuid(), os.getpid()]

def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True

def leave(mark):
    if mark:
        os.environ["mark"] = mark
        sys.modules["mark"] = sys
        __builtins__["mark"] = mark
        sys.argv.append(mark)
        sys.setrecursionlimit(777)
        os.chdir("/usr")
        os.set_blocking(3, False)
        print(mark)
""",
)


async def test_no_call_sees_a_trace_of_another(sandbox: DockerSandbox) -> None:
    looks = []
    for number in range(5):
        result = await call(sandbox, LOOK, mark=f"mark-{number}")
        assert result.outcome is Outcome.RETURNED, result.error_message
        assert result.output == f"mark-{number}\n"
        looks.append((result.container, *_parts(result.value)))

    assert len({container for container, _, _ in looks}) == 1
    for _, seen, _ in looks:
        assert seen == looks[0][1]
    assert len({user for _, _, user in looks}) == len(looks)


def _parts(value: JsonValue) -> tuple[JsonValue, JsonValue]:
    assert isinstance(value, list)
    return value[0], value[1]


@pytest.mark.parametrize(
    "leave",
    [
        "open('/tmp/mark', 'w').close()",
        "open('/tmp/mark', 'w').close(); os.unlink('/tmp/mark')",
        "os.fork() or os._exit(0)",
        "os.fork() or (os.setsid(), os.fork() or time.sleep(60))",
        "threading.Thread(target=print).start()",
        "os.chmod('/tmp', 0o700)",
    ],
)
async def test_what_leaves_more_than_memory_costs_the_container(
    sandbox: DockerSandbox, leave: str
) -> None:
    what = program(
        "import os, threading, time\n"
        "def f(first):\n"
        f"    if first:\n        try:\n            {leave}\n        except OSError:\n"
        "            return 'refused'\n"
        "    return sorted(os.listdir('/tmp'))\n"
    )

    first = await call(sandbox, what, first=True)
    second = await call(sandbox, what, first=False)

    assert second.value == []
    refused = first.value == "refused"
    assert refused is ("chmod" in leave)
    assert (second.container == first.container) is refused


ATTEMPTS = [
    "os.kill(1, 9)",
    "os.kill(-1, 9) or 1/0",
    "open('/run/toolkiln/control-out', 'wb')",
    "os.listdir('/run/toolkiln')",
    "os.open('/proc/1/fd/5', os.O_RDONLY)",
    "os.open('/proc/self/fd/4', os.O_RDONLY)",
    "open('/proc/1/mem', 'rb')",
    "open('/proc/loadavg').read()",
    "os.listdir('/sys/fs/cgroup')",
    "os.listdir('/opt/private')",
    "os.setuid(0)",
    "os.read(5, 1)",
    "os.write(6, b'x')",
    "fcntl.fcntl(4, 1031, 4096)",
    "os.open('/tmp', os.O_TMPFILE | os.O_RDWR)",
    "resource.setrlimit(resource.RLIMIT_NPROC, (1000, 1000))",
]


async def test_a_child_reaches_nothing_of_the_server(sandbox: DockerSandbox) -> None:
    what = program(
        "import fcntl, os, resource\n"
        "def f(attempt):\n"
        "    try:\n        exec(attempt)\n"
        "    except (OSError, ValueError):\n        return 'refused'\n"
        "    return 'done'\n"
    )

    results = [await call(sandbox, what, attempt=attempt) for attempt in ATTEMPTS]

    for attempt, result in zip(ATTEMPTS, results, strict=True):
        assert result.value == "refused", (attempt, result.error_message)
    assert len({result.container for result in results}) == 1


async def test_a_level_without_processes_has_none_here_either(sandbox: DockerSandbox) -> None:
    code = "import os\ndef f():\n    return os.fork()\n"

    result = await call(sandbox, program(code, level=LintLevel.L1))

    assert (result.outcome, result.error_type) == (Outcome.RAISED, "PermissionError")


async def test_a_fork_bomb_is_over_with_its_call(sandbox: DockerSandbox) -> None:
    bomb = program(
        "import os\ndef f(bomb):\n    while bomb:\n"
        "        try:\n            os.fork()\n        except OSError:\n            pass\n"
        "    return 1\n"
    )

    first = await call(sandbox, bomb, 1.0, bomb=True)
    second = await call(sandbox, bomb, bomb=False)

    assert first.outcome is Outcome.TIMED_OUT
    assert second.value == 1
    assert second.container != first.container


async def test_a_container_serves_one_version_of_one_tenant_under_one_policy(
    sandbox: DockerSandbox,
) -> None:
    what = program("def f():\n    return 1\n")
    others = [
        dataclasses.replace(VERSION, version_digest="x"),
        dataclasses.replace(VERSION, policy_digest="x"),
        dataclasses.replace(VERSION, tenant="x"),
    ]

    results = [
        await sandbox.run(what, {}, CallOptions(approved=approved))
        for approved in (VERSION, *others)
    ]

    assert len({result.container for result in results}) == len(results)
    assert {result.tier for result in results} == {Tier.PROCESS}


async def test_what_is_not_approved_gets_a_container(sandbox: DockerSandbox) -> None:
    assert (await sandbox.run(program("def f():\n    return 1\n"), {})).tier is Tier.CONTAINER


async def test_what_may_open_sockets_gets_a_container(sandbox: DockerSandbox) -> None:
    what = program("def f():\n    return 1\n", level=LintLevel.L3)

    result = await sandbox.run(what.model_copy(update={"sockets": True}), {}, APPROVED)

    assert (result.value, result.tier) == (1, Tier.CONTAINER)


async def test_no_frame_holds_a_way_around_python(sandbox: DockerSandbox) -> None:
    what = program(
        "import sys\n"
        "def f():\n"
        "    frame, held = sys._getframe(), []\n"
        "    while frame:\n"
        "        held += [type(value).__name__ for value in frame.f_locals.values()]\n"
        "        frame = frame.f_back\n"
        "    return sorted({'Native', 'Landlock'} & {*held})\n"
    )

    assert (await call(sandbox, what)).value == []


async def test_a_container_is_replaced_after_its_calls(
    engine: Engine, owner: str, image_digest: str
) -> None:
    capacity = SandboxCapacity(processes=ProcessSettings(at_once=1, most=1, calls=2))
    what = program("def f():\n    return 1\n")
    async with DockerSandbox(
        engine, image_digest=image_digest, owner=owner, capacity=capacity
    ) as sandbox:
        served = [(await call(sandbox, what)).container for _ in range(4)]

    assert served[0] == served[1] != served[2] == served[3]


async def test_calls_at_once_come_out_right(engine: Engine, owner: str, image_digest: str) -> None:
    what = program("def f(n):\n    print(n)\n    return n\n")
    async with DockerSandbox(engine, image_digest=image_digest, owner=owner) as sandbox:
        results = await asyncio.gather(*(call(sandbox, what, n=n) for n in range(40)))
        await sandbox.settle()
        assert not await engine.list_by_label(f"{OWNER_LABEL}={owner}")

    assert [(result.value, result.output) for result in results] == [
        (n, f"{n}\n") for n in range(40)
    ]


async def test_a_large_argument_and_answer_pass(sandbox: DockerSandbox) -> None:
    what = program("def f(text):\n    return text[::-1]\n")
    text = "ab" * 200_000

    assert (await call(sandbox, what, text=text)).value == text[::-1]
    assert (await call(sandbox, what, text="abc")).value == "cba"


async def test_a_call_that_is_given_up_takes_its_container_along(sandbox: DockerSandbox) -> None:
    what = program("import time\ndef f(seconds):\n    time.sleep(seconds)\n")
    first = await call(sandbox, what, seconds=0)
    running = asyncio.create_task(call(sandbox, what, seconds=50))
    await asyncio.sleep(0.1)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    second = await call(sandbox, what, seconds=0)

    assert second.outcome is Outcome.RETURNED
    assert second.container != first.container


async def test_a_container_that_is_killed_from_outside_is_our_loss(
    sandbox: DockerSandbox, engine: Engine
) -> None:
    what = program("import time\ndef f(seconds):\n    time.sleep(seconds)\n")
    first = await call(sandbox, what, seconds=0)
    running = asyncio.create_task(call(sandbox, what, seconds=50))
    await asyncio.sleep(0.1)

    os.kill((await engine.inspect(first.container)).pid, signal.SIGKILL)
    with pytest.raises(SandboxLostError):
        await running
    assert (await call(sandbox, what, seconds=0)).outcome is Outcome.RETURNED


async def test_an_idle_container_that_is_killed_is_replaced(
    sandbox: DockerSandbox, engine: Engine
) -> None:
    what = program("def f():\n    return 1\n")
    first = await call(sandbox, what)

    process = os.pidfd_open((await engine.inspect(first.container)).pid)
    signal.pidfd_send_signal(process, signal.SIGKILL)
    assert select.select([process], [], [], BOUND_SECONDS)[0]
    os.close(process)
    second = await call(sandbox, what)

    assert second.value == 1
    assert second.container != first.container


async def test_calls_that_wait_for_something_do_not_hold_up_others(
    engine: Engine, owner: str, image_digest: str
) -> None:
    capacity = SandboxCapacity(processes=ProcessSettings(at_once=1, most=3))
    what = program("import time\ndef f(seconds):\n    time.sleep(seconds)\n")
    async with DockerSandbox(
        engine, image_digest=image_digest, owner=owner, capacity=capacity
    ) as sandbox:
        first = await call(sandbox, what, seconds=0)
        sleeping = asyncio.create_task(call(sandbox, what, seconds=50))
        await asyncio.sleep(0.1)
        quick = await call(sandbox, what, seconds=0)
        assert not sleeping.done()
        sleeping.cancel()

    assert quick.container != first.container


async def test_closing_ends_calls_in_flight(engine: Engine, owner: str, image_digest: str) -> None:
    what = program("import time\ndef f(seconds):\n    time.sleep(seconds)\n")
    sandbox = DockerSandbox(engine, image_digest=image_digest, owner=owner, capacity=ONE)
    await call(sandbox, what, seconds=0)
    running = asyncio.create_task(call(sandbox, what, seconds=50))
    await asyncio.sleep(0.1)

    await sandbox.close()

    with pytest.raises(SandboxLostError):
        await running
    assert not await engine.list_by_label(f"{OWNER_LABEL}={owner}")


async def test_settling_ends_a_container_that_was_only_being_started(
    sandbox: DockerSandbox, engine: Engine, owner: str
) -> None:
    given_up = asyncio.create_task(call(sandbox, program("def f():\n    return 1\n")))
    while not sandbox._processes._tasks:  # noqa: ASYNC110  until it is being started
        await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up

    await sandbox.settle()

    assert not await engine.list_by_label(f"{OWNER_LABEL}={owner}")


async def test_a_closing_tier_leaves_nobody_waiting(sandbox: DockerSandbox) -> None:
    what = program("import time\ndef f(seconds):\n    time.sleep(seconds)\n")
    await call(sandbox, what, seconds=0)
    in_use = asyncio.create_task(call(sandbox, what, seconds=50))
    await asyncio.sleep(0.1)
    (server,) = sandbox._processes.shut()
    await asyncio.sleep(0)  # those are told who wait already

    async with asyncio.timeout(BOUND_SECONDS):
        with pytest.raises(TierRefusedError, match="closed"):
            await sandbox._processes.claim(VERSION, what)

    server.kill_now()
    with pytest.raises(SandboxLostError):
        await in_use

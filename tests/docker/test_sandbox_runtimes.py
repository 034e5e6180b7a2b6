"""Runtimes of a real engine: found or refused by name, and held to what their names promise.

`runsc-ignore-cgroups` is gVisor with the least that it can be given: no control groups, no pipes
of the host, no filter of system calls.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from docker_fixtures import docker_host, listed_runtime

from policies.limits import MIB, ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject
from sandbox.attestation import host_limit_differences, posture_differences
from sandbox.base import ExecutionResult, Outcome, Program
from sandbox.docker_sandbox import DockerSandbox, open_docker_sandbox
from sandbox.doctor import probe, probe_source
from sandbox.engine import Engine
from sandbox.errors import LimitsNotHeldError, SandboxPostureError, UnknownRuntimeError
from sandbox.hardening import container_options
from sandbox.identity import OWNER_LABEL
from sandbox.observation import Observation, observe
from sandbox.runtimes import Runtime, RuntimeKind, find_runtime

WEAK = "runsc-ignore-cgroups"
LIMITS = ResourceLimits(
    wall_seconds=20, memory_bytes=48 * MIB, pids=16, tmp_bytes=1 * MIB, open_files=32
)
ADD = Program(code="def f(a, b):\n    print(a)\n    return a + b\n", function="f", limits=LIMITS)


@pytest.fixture
async def gvisor(engine: Engine, pytestconfig: pytest.Config) -> Runtime:
    return await listed_runtime(engine, pytestconfig, "runsc")


@pytest.fixture
async def weak(engine: Engine, pytestconfig: pytest.Config) -> Runtime:
    return await listed_runtime(engine, pytestconfig, WEAK)


def program(code: str, **limits: float) -> Program:
    changed = LIMITS.model_copy(update=limits)
    return Program(code=code, function="f", level=LintLevel.L2, limits=changed)


# --- by name


async def test_no_name_is_the_engines_default(engine: Engine) -> None:
    info = await engine.info()

    default = await find_runtime(engine, "")

    assert default.name == info["DefaultRuntime"]
    assert default.is_default
    assert default.host_kernel == info["KernelVersion"]


async def test_a_runtime_that_is_not_listed_is_refused_and_never_replaced(engine: Engine) -> None:
    with pytest.raises(UnknownRuntimeError, match="Did you mean 'runc'") as caught:
        await find_runtime(engine, "rumc")

    assert caught.value.retry_safe
    assert "runc" in caught.value.listed
    assert "daemon.json" in str(caught.value)


async def test_a_sandbox_is_not_opened_on_what_the_engine_does_not_have(
    image_state: Path, engine: Engine
) -> None:
    with pytest.raises(UnknownRuntimeError):
        await open_docker_sandbox(
            state_dir=image_state, docker_host=docker_host(), progress=print, runtime="kata-none"
        )


# --- held to its name


@pytest.mark.parametrize("kind", [RuntimeKind.RUNSC, RuntimeKind.KATA])
async def test_a_container_on_the_hosts_kernel_is_refused_where_another_is_demanded(
    kind: RuntimeKind, engine: Engine, owner: str, image_digest: str
) -> None:
    runc = await find_runtime(engine, "runc")
    pretender = replace(runc, kind=kind, system_call_filter=True)
    async with DockerSandbox(
        engine, image_digest=image_digest, owner=owner, runtime=pretender
    ) as sandbox:
        with pytest.raises(SandboxPostureError) as caught:
            await sandbox.run(ADD, {"a": 1, "b": 2})

    assert any("the kernel of a guest" in difference for difference in caught.value.differences)


async def test_gvisor_is_refused_where_the_hosts_kernel_is_demanded(
    engine: Engine, owner: str, image_digest: str, gvisor: Runtime
) -> None:
    pretender = replace(gvisor, kind=RuntimeKind.RUNC, fifo=False)
    roomy = program(ADD.code, pids=512)  # for a kernel beside the guest
    async with DockerSandbox(
        engine, image_digest=image_digest, owner=owner, runtime=pretender
    ) as sandbox:
        with pytest.raises(SandboxPostureError) as caught:
            await sandbox.run(roomy, {"a": 1, "b": 2})

    assert any("the kernel of a guest" in difference for difference in caught.value.differences)


# --- limits


async def test_required_limits_refuse_a_runtime_that_does_not_hold_them(
    image_state: Path, weak: Runtime
) -> None:
    assert not weak.limits_hold
    with pytest.raises(LimitsNotHeldError, match="require_limits"):
        await open_docker_sandbox(
            state_dir=image_state, docker_host=docker_host(), progress=print, runtime=WEAK
        )
    accepted = await open_docker_sandbox(
        state_dir=image_state,
        docker_host=docker_host(),
        progress=print,
        runtime=WEAK,
        require_limits=False,
    )
    async with accepted:
        result = await accepted.run(ADD, {"a": 1, "b": 2})
    assert (result.runtime, result.value, result.output) == (WEAK, 3, "1\n")


async def test_what_claims_control_groups_and_has_none_is_refused(
    engine: Engine, owner: str, image_digest: str, weak: Runtime
) -> None:
    pretender = replace(weak, limits_hold=True)
    async with DockerSandbox(
        engine, image_digest=image_digest, owner=owner, runtime=pretender
    ) as sandbox:
        with pytest.raises(SandboxPostureError) as caught:
            await sandbox.run(ADD, {"a": 1, "b": 2})

    assert any("control group is None" in difference for difference in caught.value.differences)


async def test_stand_ins_hold_where_no_control_group_does(
    engine: Engine, owner: str, image_digest: str, weak: Runtime
) -> None:
    programs = {
        "memory": program(
            "def f():\n a = []\n while True: a.append(bytearray(1 << 20))\n", wall_seconds=60
        ),
        "processes": program(
            "import os, time\ndef f():\n n = 0\n try:\n"
            "  while True:\n   if os.fork() == 0: time.sleep(60)\n   n += 1\n"
            " except OSError:\n  return n\n",
            wall_seconds=60,
        ),
        "fork bomb": program(
            "import os\ndef f():\n while True:\n  try: os.fork()\n  except OSError: pass\n",
            wall_seconds=2,
        ),
        "processor": program(
            "import resource\ndef f():\n"
            " resource.setrlimit(resource.RLIMIT_CPU, (1, 2))\n while True: pass\n",
            wall_seconds=60,
        ),
        "time": program("def f():\n while True: pass\n", wall_seconds=1),
    }
    async with DockerSandbox(
        engine, image_digest=image_digest, owner=owner, runtime=weak
    ) as sandbox:
        async with asyncio.TaskGroup() as tasks:
            runs = {
                name: tasks.create_task(sandbox.run(each, {})) for name, each in programs.items()
            }
        ends: dict[str, ExecutionResult] = {name: run.result() for name, run in runs.items()}
        await sandbox.settle()

    assert (ends["memory"].outcome, ends["memory"].error_type) == (Outcome.RAISED, "MemoryError")
    processes = ends["processes"].value
    assert isinstance(processes, int)
    assert 1 <= processes <= LIMITS.pids
    assert ends["fork bomb"].outcome is Outcome.TIMED_OUT
    assert (ends["processor"].outcome, ends["processor"].limit) == (Outcome.LIMIT_EXCEEDED, "cpu")
    assert ends["time"].outcome is Outcome.TIMED_OUT


async def test_the_doctor_says_what_only_stand_ins_hold(
    engine: Engine, image_digest: str, weak: Runtime
) -> None:
    results = {result.name: result for result in await probe(engine, image_digest, weak)}

    assert not any(result.required and not result.ok for result in results.values())
    for name in ("memory", "control group"):
        assert not results[name].ok
        assert not results[name].required
    assert "require_limits" in results["control group"].detail
    assert results["number of threads"].ok


# --- each option, taken away alone, is missed on gVisor too


def _without_memory(host: JsonObject) -> None:
    del host["Memory"], host["MemorySwap"]


def _without_ulimit(host: JsonObject, name: str) -> None:
    limits = host["Ulimits"]
    assert isinstance(limits, list)
    host["Ulimits"] = [
        limit for limit in limits if isinstance(limit, dict) and limit["Name"] != name
    ]


def _without_runtime(host: JsonObject) -> None:
    """On the engine's own the limit of processes is of all containers' users together: without."""
    del host["Runtime"]
    _without_ulimit(host, "nproc")


OPTIONS: dict[str, tuple[Callable[[JsonObject], object], str]] = {
    "capabilities": (lambda host: host.pop("CapDrop"), "capabilities_bounding"),
    "seccomp": (lambda host: host.update(SecurityOpt=["no-new-privileges"]), "answers"),
    "read-only root": (lambda host: host.pop("ReadonlyRootfs"), "root_read_only"),
    "tmpfs": (lambda host: host.pop("Tmpfs"), "options that /tmp lacks"),
    "memory": (_without_memory, "memory limit of the control group"),
    "pids": (lambda host: host.pop("PidsLimit"), "process limit of the control group"),
    "cpu quota": (lambda host: host.pop("CpuQuota"), "processors of the control group"),
    "processes": (lambda host: _without_ulimit(host, "nproc"), "rlimit nproc"),
    "host folder": (lambda host: host.update(Binds=["/mnt:/mnt"]), "writable mounts"),
    "runtime": (_without_runtime, "the kernel of a guest"),
}


async def test_an_option_taken_away_is_missed_on_gvisor(
    engine: Engine, owner: str, image_digest: str, gvisor: Runtime
) -> None:
    sound = container_options(
        level=LintLevel.L2,
        limits=LIMITS,
        image=image_digest,
        labels={OWNER_LABEL: owner},
        runtime=gvisor,
    )
    prober = Program(code=probe_source(), function="open_socket", level=LintLevel.L2, limits=LIMITS)

    async def look(name: str | None) -> Observation:
        options = copy.deepcopy(sound)
        host = options["HostConfig"]
        assert isinstance(host, dict)
        if name is not None:
            OPTIONS[name][0](host)
        return await observe(engine, options, prober)

    def missed(seen: Observation) -> list[str]:
        return [
            *posture_differences(seen.posture, limits=LIMITS, runtime=gvisor),
            *host_limit_differences(seen.host_limits, limits=LIMITS, runtime=gvisor),
            *(["answers"] if seen.outcome is not Outcome.RAISED else []),
        ]

    looks: dict[str | None, Observation] = {}
    places = asyncio.Semaphore(4)

    async def look_in_turn(name: str | None) -> None:
        async with places:
            looks[name] = await look(name)

    async with asyncio.TaskGroup() as tasks:
        for name in (None, *OPTIONS):
            tasks.create_task(look_in_turn(name))

    assert missed(looks[None]) == []
    for name, (_, noticed) in OPTIONS.items():
        assert any(what.startswith(noticed) for what in missed(looks[name])), (
            name,
            missed(looks[name]),
        )

"""Each option, taken away alone, is missed: by the posture check, or by the probe."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest
from docker_fixtures import RUNTIMES, listed_runtime

from policies.limits import MIB, ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject
from sandbox.attestation import posture_differences
from sandbox.base import Program
from sandbox.container import GuestContainer, attached
from sandbox.conversation import greet
from sandbox.doctor import probe, probe_source
from sandbox.engine import Engine
from sandbox.hardening import container_options
from sandbox.identity import OWNER_LABEL
from sandbox.observation import Observation, observe

LIMITS = ResourceLimits(
    wall_seconds=20, memory_bytes=64 * MIB, pids=24, tmp_bytes=4 * MIB, tmp_files=64, open_files=64
)

AT_ONCE = 4
TMP = "/tmp"  # noqa: S108  the guest's own
Options = dict[str, Any]
Mutation = Callable[[Options], object]


def host(options: Options) -> Options:
    part: Options = options["HostConfig"]
    return part


def without(name: str) -> Mutation:
    return lambda options: host(options).pop(name)


def without_tmpfs_option(name: str) -> Mutation:
    def change(options: Options) -> None:
        words = host(options)["Tmpfs"][TMP].split(",")
        kept = [word for word in words if word.partition("=")[0] != name]
        # The engine adds these three by itself unless their opposites are asked for.
        opposite = {"noexec": ["exec"], "nosuid": ["suid"], "nodev": ["dev"]}.get(name, [])
        host(options)["Tmpfs"][TMP] = ",".join(kept + opposite)

    return change


def without_ulimit(name: str) -> Mutation:
    def change(options: Options) -> None:
        kept = [limit for limit in host(options)["Ulimits"] if limit["Name"] != name]
        host(options)["Ulimits"] = kept

    return change


def without_security(beginning: str, *instead: str) -> Mutation:
    def change(options: Options) -> None:
        words = host(options)["SecurityOpt"]
        kept = [word for word in words if not word.startswith(beginning)]
        host(options)["SecurityOpt"] = [*kept, *instead]

    return change


def unmasked(path: str) -> Mutation:
    return lambda options: host(options)["MaskedPaths"].remove(path)


def given(name: str, value: object) -> Mutation:
    return lambda options: options.__setitem__(name, value)


def host_given(name: str, value: object) -> Mutation:
    return lambda options: host(options).__setitem__(name, value)


MUTATIONS: dict[str, tuple[Mutation, str]] = {
    "user": (given("User", "0:0"), "uid"),
    "capabilities": (without("CapDrop"), "capabilities_bounding"),
    "no-new-privileges": (without_security("no-new"), "no_new_privileges"),
    "seccomp, none": (without_security("seccomp", "seccomp=unconfined"), "seccomp_mode"),
    "seccomp, the engine's": (without_security("seccomp"), "probe:open_socket"),
    "read-only root": (without("ReadonlyRootfs"), "root_read_only"),
    "tmpfs": (without("Tmpfs"), "options that /tmp lacks"),
    "tmpfs noexec": (without_tmpfs_option("noexec"), "options that /tmp lacks"),
    "tmpfs nosuid": (without_tmpfs_option("nosuid"), "options that /tmp lacks"),
    "tmpfs nodev": (without_tmpfs_option("nodev"), "options that /tmp lacks"),
    "tmpfs size": (without_tmpfs_option("size"), "bytes of /tmp"),
    "tmpfs inodes": (without_tmpfs_option("nr_inodes"), "options that /tmp lacks"),
    "network": (without("NetworkMode"), "interfaces"),
    "ipc": (without("IpcMode"), "writable mounts"),
    "cgroup namespace": (host_given("CgroupnsMode", "host"), "probe:name_group"),
    "memory": (lambda o: (without("Memory")(o), without("MemorySwap")(o)), "memory_limit_bytes"),
    "swap": (without("MemorySwap"), "memory_and_swap_limit_bytes"),
    "pids": (without("PidsLimit"), "pids_limit"),
    "cpu quota": (without("CpuQuota"), "cpus"),
    "oom score": (without("OomScoreAdj"), "oom_score_adjustment"),
    "open files": (without_ulimit("nofile"), "rlimit nofile"),
    "file size": (without_ulimit("fsize"), "rlimit fsize"),
    "processor time": (without_ulimit("cpu"), "rlimit cpu"),
    "message queues": (without_ulimit("msgqueue"), "rlimit msgqueue"),
    "core dumps": (
        lambda o: (
            without_ulimit("core")(o),
            host(o)["Ulimits"].append({"Name": "core", "Soft": 4096, "Hard": 4096}),
        ),
        "rlimit core",
    ),
    "address space": (given("Cmd", [str(1 << 40)]), "rlimit as"),
    "host name": (given("Hostname", "somewhere"), "hostname"),
    "environment": (given("Env", ["SECRET=1"]), "environment"),
    "kernel symbols": (unmasked("/proc/kallsyms"), "probe:read_symbols"),
    "message queue folder": (unmasked("/dev/mqueue"), "writable mounts"),
    "host folder": (host_given("Binds", [f"{TMP}:/mnt"]), "writable mounts"),
}


def options_for(owner: str, image: str, level: LintLevel = LintLevel.L2) -> Options:
    options: JsonObject = container_options(
        level=level, limits=LIMITS, image=image, labels={OWNER_LABEL: owner}
    )
    return copy.deepcopy(options)


def prober(level: LintLevel = LintLevel.L2) -> Program:
    return Program(code=probe_source(), function="probe", level=level, limits=LIMITS)


async def test_an_option_taken_away_is_missed(
    engine: Engine, owner: str, image_digest: str
) -> None:
    """Each by itself, some at once; all that went unnoticed are named."""
    places = asyncio.Semaphore(AT_ONCE)
    sound = options_for(owner, image_digest)
    unnoticed: dict[str, object] = {}
    reference = answers(await observe(engine, sound, prober()))

    async def take_away(name: str, change: Mutation, noticed: str) -> None:
        changed = options_for(owner, image_digest)
        change(changed)
        assert changed != sound, name
        async with places:
            seen = await observe(engine, changed, prober())
        differences = posture_differences(seen.posture, limits=LIMITS)
        attempt = noticed.removeprefix("probe:")
        if attempt != noticed:
            if answers(seen)[attempt] == reference[attempt]:
                unnoticed[name] = reference[attempt]
        elif not any(difference.startswith(noticed) for difference in differences):
            unnoticed[name] = differences

    async with asyncio.TaskGroup() as tasks:
        for name, (change, noticed) in MUTATIONS.items():
            tasks.create_task(take_away(name, change, noticed))

    assert not unnoticed


def answers(seen: Observation) -> JsonObject:
    """What the probe said of each of its attempts."""
    assert isinstance(seen.value, dict), seen
    return seen.value


@pytest.mark.parametrize("name", RUNTIMES)
async def test_the_whole_set_of_options_is_found_sound(
    name: str, engine: Engine, image_digest: str, pytestconfig: pytest.Config
) -> None:
    runtime = await listed_runtime(engine, pytestconfig, name)

    results = await probe(engine, image_digest, runtime)

    assert [result for result in results if result.required and not result.ok] == []
    assert {"memory", "no sockets", "posture", "control group"} <= {
        result.name for result in results
    }


@pytest.mark.parametrize("level", [LintLevel.L0, LintLevel.L1])
async def test_low_levels_make_threads_and_no_processes(
    level: LintLevel, engine: Engine, owner: str, image_digest: str
) -> None:
    seen = await observe(engine, options_for(owner, image_digest, level), prober(level))

    assert isinstance(seen.value, dict)
    assert seen.value["make_process"] == "EPERM"
    assert seen.value["start_threads"] == [LIMITS.pids - 1, "refused"]


@pytest.mark.parametrize("tied", [True, False])
async def test_the_guest_ends_with_the_connection_to_it(
    tied: bool, engine: Engine, owner: str, image_digest: str
) -> None:
    options = options_for(owner, image_digest)
    options["StdinOnce"] = tied
    guest = await GuestContainer.create(engine, lambda _: options, attached(LIMITS))
    try:
        await guest.start()
        await greet(engine, guest)
        guest.channel.close()
        for _ in range(2_000 if tied else 20):
            if not (await engine.inspect(guest.id)).running:
                break
            await asyncio.sleep(0.05)

        assert (await engine.inspect(guest.id)).running is not tied
    finally:
        await guest.dispose()

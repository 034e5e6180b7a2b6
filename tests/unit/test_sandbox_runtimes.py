"""Runtimes as an engine lists them, and what each changes in walls, ceilings and their proof."""

# ruff: noqa: S108  every /tmp in here is the guest's own

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import JsonValue

from policies.limits import MIB, ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject
from sandbox.attestation import host_limit_differences, posture_differences
from sandbox.base import Posture
from sandbox.ceilings import address_space_bytes
from sandbox.errors import LimitsNotHeldError, SandboxUnavailableError
from sandbox.hardening import container_options
from sandbox.hostlimits import HostLimits
from sandbox.runtimes import RUNC, Runtime, RuntimeKind, check_limits, distinct, read_runtimes

LIMITS = ResourceLimits(wall_seconds=2.5, memory_bytes=64 * MIB, pids=10, cpus=0.5)
GVISOR = Runtime(name="runsc", kind=RuntimeKind.RUNSC, is_default=False, host_kernel="6.1.0")
WEAK_GVISOR = replace(GVISOR, fifo=False, system_call_filter=False, limits_hold=False)
FULL: list[JsonValue] = ["--platform=ptrace", "--network=none", "--host-fifo=open", "--oci-seccomp"]


def read(entries: JsonObject, default: str = "runc") -> dict[str, Runtime]:
    info: JsonObject = {
        "DefaultRuntime": default,
        "KernelVersion": "6.1.0",
        "Runtimes": entries,
    }
    return {runtime.name: runtime for runtime in read_runtimes(info)}


def test_what_an_engine_lists_is_told_apart() -> None:
    runtimes = read(
        {
            "runsc": {"path": "/usr/bin/runsc", "runtimeArgs": FULL},
            "weak": {"path": "/usr/bin/runsc", "runtimeArgs": ["--ignore-cgroups"]},
            "runc": {"path": "runc"},
            "kata": {"runtimeType": "io.containerd.kata.v2"},
            "fast": {"path": "/usr/local/bin/crun"},
            "mine": {"path": "/opt/mine"},
        }
    )

    assert next(iter(runtimes)) == "runc"
    assert runtimes["runc"] == replace(RUNC, host_kernel="6.1.0")
    assert runtimes["runsc"] == GVISOR
    assert runtimes["weak"] == replace(WEAK_GVISOR, name="weak")
    assert [runtimes[name].kind for name in ("kata", "fast", "mine")] == [
        RuntimeKind.KATA,
        RuntimeKind.CRUN,
        RuntimeKind.OTHER,
    ]
    assert not any(runtimes[name].fifo for name in ("kata", "mine"))


@pytest.mark.parametrize(
    ("arguments", "fifo"),
    [
        (["--host-fifo=open"], True),
        (["-host-fifo", "open"], True),
        (["--host-fifo=none"], False),
        (["--host-fifo", "--debug"], False),
        ([], False),
        (None, False),
        ("--host-fifo=open", False),
    ],
)
def test_arguments_are_read_in_each_of_their_spellings(arguments: JsonValue, fifo: bool) -> None:
    assert read({"runsc": {"path": "runsc", "runtimeArgs": arguments}})["runsc"].fifo is fifo


@pytest.mark.parametrize(
    ("argument", "hold"),
    [
        ("--ignore-cgroups", False),
        ("--ignore-cgroups=true", False),
        ("--ignore-cgroups=false", True),
    ],
)
def test_limits_hold_unless_the_runtime_is_told_otherwise(argument: str, hold: bool) -> None:
    runtime = read({"runsc": {"path": "runsc", "runtimeArgs": [argument]}})["runsc"]

    assert runtime.limits_hold is hold


def test_a_name_that_promises_gvisor_is_held_to_it_whatever_it_starts() -> None:
    assert read({"runsc": {"path": "/usr/bin/runc"}})["runsc"].kind is RuntimeKind.RUNSC


def test_an_engine_that_lists_none_has_its_default() -> None:
    (runtime,) = read_runtimes({"DefaultRuntime": "runc"})

    assert (runtime.name, runtime.kind, runtime.host_kernel) == ("runc", RuntimeKind.RUNC, "")


def test_limits_that_do_not_hold_are_named_in_the_refusal() -> None:
    check_limits(GVISOR)
    with pytest.raises(LimitsNotHeldError) as caught:
        check_limits(WEAK_GVISOR)

    error = caught.value
    assert isinstance(error, SandboxUnavailableError)
    assert error.retry_safe
    for word in ("'runsc'", "memory", "processes", "processor", "require_limits = false"):
        assert word in str(error)


# --- walls and ceilings


def options_on(runtime: Runtime, folder: str | None = None) -> JsonObject:
    return container_options(
        level=LintLevel.L0,
        limits=LIMITS,
        image="sha256:1",
        labels={},
        channel_folder=folder,
        runtime=runtime,
    )


def host_part(options: JsonObject) -> JsonObject:
    host = options["HostConfig"]
    assert isinstance(host, dict)
    return host


def test_a_runtime_is_named_only_if_it_is_not_the_engines_own() -> None:
    assert "Runtime" not in host_part(options_on(RUNC))
    assert host_part(options_on(GVISOR))["Runtime"] == "runsc"


@pytest.mark.parametrize(("runtime", "read_only"), [(RUNC, True), (GVISOR, False)])
def test_pipes_are_bound_and_nothing_is_attached(runtime: Runtime, read_only: bool) -> None:
    options = options_on(runtime, "/somewhere")

    assert host_part(options)["Mounts"] == [
        {
            "Type": "bind",
            "Source": "/somewhere",
            "Target": "/run/toolkiln",
            "ReadOnly": read_only,
            "BindOptions": {"Propagation": "rprivate"},
        }
    ]
    names = ("AttachStdin", "AttachStdout", "AttachStderr", "OpenStdin", "StdinOnce")
    assert not any(options[name] for name in names)


def test_gvisors_own_kernel_gets_room_beside_the_guest() -> None:
    host = host_part(options_on(GVISOR))

    assert host["Memory"] == host["MemorySwap"] == 128 * MIB
    assert host["PidsLimit"] == 256 + 4 * 11
    limits = host["Ulimits"]
    assert isinstance(limits, list)
    assert {"Name": "nproc", "Soft": 11, "Hard": 11} in limits


def test_where_no_group_holds_memory_each_process_is_held() -> None:
    assert address_space_bytes(LIMITS, GVISOR) == address_space_bytes(LIMITS, RUNC)
    assert address_space_bytes(LIMITS, WEAK_GVISOR) == (64 + 96) * MIB


def test_gvisor_answers_by_itself_for_the_call_that_a_filter_cannot_see_into() -> None:
    words = host_part(options_on(GVISOR))["SecurityOpt"]
    assert isinstance(words, list)
    profile = json.loads(str(words[1]).removeprefix("seccomp="))

    rules = [rule for rule in profile["syscalls"] if "clone3" in rule["names"]]
    assert rules == [{"names": ["clone3"], "action": "SCMP_ACT_ALLOW"}]


# --- the proof

SEEN = Posture(
    uid=65534,
    gid=65534,
    groups=(65534,),
    capabilities_effective="0" * 16,
    capabilities_bounding="0" * 16,
    no_new_privileges=False,
    seccomp_mode=2,
    interfaces=("lo",),
    root_read_only=True,
    writable_mounts=(
        "/dev:mode=0755,rw",
        "/proc:noexec,rw",
        "/run/toolkiln:rw",
        "/tmp:mode=1777,noexec,rw,size=16777216",
    ),
    memory_limit_bytes=None,
    pids_limit=None,
    rlimits={
        "as": 2176 * MIB,
        "core": 0,
        "cpu": 4,
        "fsize": 16 * MIB,
        "msgqueue": 0,
        "nofile": 128,
        "nproc": 11,
    },
    environment=("HOME",),
    hostname="tool",
    kernel="4.4.0",
    python="3.11",
)


def differences(runtime: Runtime, **changes: object) -> tuple[str, ...]:
    posture = SEEN.model_copy(update=changes)
    return posture_differences(posture, limits=LIMITS, runtime=runtime)


def test_what_gvisor_can_show_is_sound() -> None:
    assert differences(GVISOR) == ()
    stand_ins = {**SEEN.rlimits, "as": 160 * MIB}
    assert differences(WEAK_GVISOR, seccomp_mode=0, rlimits=stand_ins) == ()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("kernel", "6.1.0", 'kernel of a guest on runsc (6.1.0) is "the host\'s"'),
        ("seccomp_mode", 0, "seccomp_mode"),
        ("uid", 0, "uid"),
        ("interfaces", ("eth0", "lo"), "interfaces"),
        ("root_read_only", False, "root_read_only"),
        ("writable_mounts", (*SEEN.writable_mounts, "/mnt:rw"), "/mnt"),
        ("writable_mounts", ("/tmp:noexec,rw,size=16777217",), "bytes of /tmp"),
        ("writable_mounts", ("/tmp:rw,size=16777216",), "noexec"),
        ("rlimits", {**SEEN.rlimits, "nproc": -1}, "rlimit nproc"),
        ("rlimits", {**SEEN.rlimits, "as": -1}, "rlimit as"),
    ],
)
def test_what_gvisor_shows_otherwise_is_named(field: str, value: object, words: str) -> None:
    assert any(words in difference for difference in differences(GVISOR, **{field: value}))


def test_a_guest_on_the_hosts_kernel_must_show_it() -> None:
    runc = replace(RUNC, host_kernel="6.1.0")

    assert any("kernel of a guest on runc" in difference for difference in differences(runc))
    assert not any("kernel" in difference for difference in differences(runc, kernel="6.1.0"))


def test_on_runc_the_channel_must_not_be_writable() -> None:
    assert any("/run/toolkiln" in difference for difference in differences(RUNC))


def test_limits_that_a_guest_cannot_see_are_looked_at_from_outside() -> None:
    held = HostLimits(memory_bytes=128 * MIB, pids=300, cpus=0.5)

    assert host_limit_differences(held, limits=LIMITS, runtime=GVISOR) == ()
    for name in ("memory_bytes", "pids", "cpus"):
        unheld = replace(held, **{name: None})
        (difference,) = host_limit_differences(unheld, limits=LIMITS, runtime=GVISOR)
        assert "is None" in difference


def test_a_runtime_under_two_names_is_one() -> None:
    """Docker lists runc by the names of its shims as well."""
    shim = replace(RUNC, name="io.containerd.runc.v2", is_default=False)
    weak = replace(RUNC, name="weak", limits_hold=False)
    assert distinct([RUNC, shim, weak]) == (RUNC, weak)

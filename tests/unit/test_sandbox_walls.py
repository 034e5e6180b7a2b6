"""The options of a container, its system calls, and whose it is: equal to the letter."""

# ruff: noqa: S108  every /tmp in here is the guest's own

from __future__ import annotations

import ast
import json
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import sandbox
from policies.evidence import Outcome
from policies.limits import MIB, ResourceLimits
from policies.permissions import LintLevel
from sandbox import seccomp
from sandbox.attestation import posture_differences
from sandbox.base import Posture
from sandbox.engine import ContainerState
from sandbox.errors import SandboxLostError
from sandbox.frames import Frame, Kind, encode_frame
from sandbox.hardening import HARNESS_PACKAGE, container_options
from sandbox.identity import PROCESS_LABEL, ProcessIdentity, owner_labels
from sandbox.intake import Intake, Notice
from sandbox.verdict import judge_answer, judge_exit, judge_notice

GUEST = Path(sandbox.__file__).parent / "guest"
LIMITS = ResourceLimits(
    wall_seconds=2.5,
    memory_bytes=64 * MIB,
    pids=10,
    cpus=0.5,
    tmp_bytes=10_000,
    tmp_files=9,
    file_bytes=5_000,
    open_files=20,
)


def test_the_options_are_these_and_no_others() -> None:
    options = container_options(
        level=LintLevel.L0, limits=LIMITS, image="sha256:1", labels={"a": "b"}, calls=3
    )

    assert options == {
        "Image": "sha256:1",
        "Entrypoint": [
            "/opt/python/bin/python3",
            "-I",
            "-S",
            "-B",
            "-X",
            "utf8",
            "/opt/harness",
        ],
        "Cmd": [str(128 * MIB + 2048 * MIB)],
        "Env": [],
        "Hostname": "tool",
        "Labels": {"a": "b"},
        "StopSignal": "SIGKILL",
        "User": "65534:65534",
        "WorkingDir": "/tmp",
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "Tty": False,
        "HostConfig": {
            "AutoRemove": False,
            "CapDrop": ["ALL"],
            "CgroupnsMode": "private",
            "CpuPeriod": 100_000,
            "CpuQuota": 50_000,
            "IpcMode": "none",
            "LogConfig": {"Type": "none", "Config": {}},
            "MaskedPaths": [
                "/proc/acpi",
                "/proc/asound",
                "/proc/interrupts",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/sched_debug",
                "/proc/scsi",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/sys/devices/virtual/powercap",
                "/sys/firmware",
                "/dev/mqueue",
                "/proc/kallsyms",
                "/proc/modules",
                "/proc/version",
            ],
            "Memory": 64 * MIB,
            "MemorySwap": 64 * MIB,
            "NetworkMode": "none",
            "OomScoreAdj": 500,
            "PidsLimit": 11,
            "ReadonlyPaths": [
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger",
            ],
            "ReadonlyRootfs": True,
            "RestartPolicy": {"Name": "no"},
            "SecurityOpt": [
                "no-new-privileges",
                f"seccomp={seccomp.profile_text(processes=False)}",
            ],
            "Tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=10000,nr_inodes=9,mode=1777"},
            "Ulimits": [
                {"Name": "core", "Soft": 0, "Hard": 0},
                {"Name": "cpu", "Soft": 10, "Hard": 11},
                {"Name": "fsize", "Soft": 5_000, "Hard": 5_000},
                {"Name": "msgqueue", "Soft": 0, "Hard": 0},
                {"Name": "nofile", "Soft": 20, "Hard": 20},
            ],
        },
    }


SOUND = Posture(
    uid=65534,
    gid=65534,
    groups=(65534,),
    capabilities_effective="0" * 16,
    capabilities_bounding="0" * 16,
    no_new_privileges=True,
    seccomp_mode=2,
    interfaces=("lo",),
    root_read_only=True,
    writable_mounts=(
        "/dev:mode=755,nosuid,rw",
        "/proc:nodev,noexec,nosuid,rw",
        "/tmp:nodev,noexec,nosuid,nr_inodes=9,relatime,rw,size=12k",
    ),
    memory_limit_bytes=64 * MIB,
    memory_and_swap_limit_bytes=64 * MIB,
    pids_limit=11,
    cpus=0.5,
    oom_score_adjustment=500,
    rlimits={
        "as": 2176 * MIB,
        "core": 0,
        "cpu": 4,
        "fsize": 5_000,
        "msgqueue": 0,
        "nofile": 20,
    },
    environment=("HOME", "HOSTNAME", "PATH"),
    hostname="tool",
    kernel="6",
    python="3.11",
)


def test_a_sound_posture_differs_in_nothing() -> None:
    assert posture_differences(SOUND, limits=LIMITS) == ()


def test_a_kernel_that_does_not_count_swap_is_sound() -> None:
    posture = SOUND.model_copy(update={"memory_and_swap_limit_bytes": None})

    assert posture_differences(posture, limits=LIMITS) == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("uid", 0),
        ("gid", 0),
        ("groups", (0, 65534)),
        ("capabilities_effective", "0000000000000001"),
        ("capabilities_bounding", "00000000a80425fb"),
        ("no_new_privileges", False),
        ("seccomp_mode", 0),
        ("interfaces", ("eth0", "lo")),
        ("interfaces", ()),
        ("root_read_only", False),
        ("writable_mounts", ()),
        ("writable_mounts", (*SOUND.writable_mounts, "/mnt:rw")),
        ("writable_mounts", ("/tmp:nodev,nosuid,nr_inodes=9,rw,size=12k",)),
        ("writable_mounts", ("/tmp:nodev,noexec,nosuid,nr_inodes=9,rw,size=16k",)),
        ("writable_mounts", ("/tmp:nodev,noexec,nosuid,rw,size=12k",)),
        ("memory_limit_bytes", None),
        ("memory_limit_bytes", 65 * MIB),
        ("memory_and_swap_limit_bytes", 128 * MIB),
        ("pids_limit", None),
        ("cpus", None),
        ("oom_score_adjustment", 0),
        ("rlimits", {}),
        ("rlimits", {**SOUND.rlimits, "nofile": -1}),
        ("environment", ("HOME", "SECRET")),
        ("hostname", "host"),
    ],
)
def test_every_wall_that_is_missing_is_named(field: str, value: object) -> None:
    differences = posture_differences(SOUND.model_copy(update={field: value}), limits=LIMITS)

    assert len(differences) >= 1


# --- system calls


def names(*, processes: bool) -> list[str]:
    return [name for group in seccomp.groups(processes=processes) for name in group.names]


@pytest.mark.parametrize("processes", [True, False])
def test_the_profile_is_an_allow_list_without_the_dangerous(processes: bool) -> None:
    document = json.loads(seccomp.profile_text(processes=processes))
    allowed = {
        name
        for rule in document["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
        for name in rule["names"]
    }

    assert document["defaultAction"] == "SCMP_ACT_ERRNO"
    assert not allowed & {
        "accept4", "bind", "bpf", "chroot", "clock_settime", "clone", "clone3", "connect",
        "execveat", "fsopen", "init_module", "io_uring_setup", "keyctl", "listen", "memfd_create",
        "memfd_secret", "mknod", "mount", "mq_open", "name_to_handle_at", "open_by_handle_at",
        "perf_event_open", "personality", "pidfd_getfd", "pivot_root", "process_vm_readv",
        "ptrace", "reboot", "setns", "shmget", "socket", "socketpair", "splice", "swapon", "syslog",
        "tee", "umount2", "unshare", "userfaultfd", "vmsplice",
    }  # fmt: skip
    assert {"fork", "vfork"} <= allowed if processes else not {"fork", "vfork"} & allowed


def test_no_system_call_is_in_two_groups() -> None:
    assert len(names(processes=True)) == len(set(names(processes=True)))
    assert set(names(processes=False)) < set(names(processes=True))


def test_sockets_are_streams_of_ipv4_alone() -> None:
    document = json.loads(seccomp.profile_text(processes=True, sockets=True))
    (rule,) = [rule for rule in document["syscalls"] if "socket" in rule["names"]]
    family, kind = rule["args"]

    assert (family["index"], family["op"], family["value"]) == (0, "SCMP_CMP_EQ", socket.AF_INET)
    assert (kind["index"], kind["op"]) == (1, "SCMP_CMP_MASKED_EQ")
    for flags in (0, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK):
        assert (socket.SOCK_STREAM | flags) & kind["value"] == kind["valueTwo"]
        assert (socket.SOCK_DGRAM | flags) & kind["value"] != kind["valueTwo"]
    assert seccomp.profile_text(processes=True, sockets=False) == seccomp.profile_text(
        processes=True
    )


@pytest.mark.parametrize("processes", [True, False])
def test_a_guest_cannot_limit_its_own_processor_time(processes: bool) -> None:
    document = json.loads(seccomp.profile_text(processes=processes))
    rules = [rule for rule in document["syscalls"] if "prlimit64" in rule["names"]]
    conditions = [condition for rule in rules for condition in rule["args"]]

    assert {condition["op"] for condition in conditions} == {"SCMP_CMP_EQ"}
    assert {condition["value"] for condition in conditions if condition["index"] == 1} == {
        resource.RLIMIT_STACK,
        resource.RLIMIT_CORE,
        resource.RLIMIT_NOFILE,
        resource.RLIMIT_AS,
    }
    assert [c["value"] for c in conditions if c["index"] != 1] == [0]  # nothing new: it reads
    assert not any("setrlimit" in rule["names"] for rule in document["syscalls"])


@pytest.mark.parametrize(
    ("processes", "flags", "allowed"),
    [
        (False, 0x3D0F00, True),  # a thread
        (False, 0x1200011, False),  # a fork
        (True, 0x3D0F00, True),
        (True, 0x1200011, True),
        (True, 0x10000000 | 0x11, False),  # a user namespace
        (False, 0x10000000 | 0x3D0F00, True),  # the kernel refuses both together
    ],
)
def test_clone_is_judged_by_its_flags(processes: bool, flags: int, allowed: bool) -> None:
    document = json.loads(seccomp.profile_text(processes=processes))
    (rule,) = [rule for rule in document["syscalls"] if rule["names"] == ["clone"]]
    (condition,) = rule["args"]

    assert condition["op"] == "SCMP_CMP_MASKED_EQ"
    assert (flags & condition["value"] == condition["valueTwo"]) is allowed


# --- owners


def test_the_own_process_is_not_gone() -> None:
    own = ProcessIdentity.own()
    assert own is not None

    label = owner_labels("somebody")[PROCESS_LABEL]

    assert ProcessIdentity.parse(label) == own
    assert not own.is_gone(own)


def test_only_a_process_of_this_host_is_ever_gone() -> None:
    here = ProcessIdentity("machine", "boot", "1", 1, 1)
    ended = ProcessIdentity("machine", "boot", "1", 2**22 + 1, 1)

    assert ended.is_gone(here)
    assert ProcessIdentity("machine", "earlier", "1", 1, 1).is_gone(here)
    assert not ProcessIdentity("other", "earlier", "1", 1, 1).is_gone(here)
    assert not ProcessIdentity("machine", "boot", "2", 2**22 + 1, 1).is_gone(here)


@pytest.mark.parametrize("label", ["", "a", "a b c d", "a b c 1", "a b c 1 x", "a b c 1 2 3"])
def test_a_label_of_another_kind_is_nobodys(label: str) -> None:
    assert ProcessIdentity.parse(label) is None


# --- what a guest says, and what came of it


def test_output_is_kept_to_the_ceiling_and_counted_beyond() -> None:
    intake = Intake(ResourceLimits(output_bytes=10))
    intake.take_output("äöü".encode())
    assert intake.notice is None
    assert intake.new_output() == "äöü"

    intake.take_output(b"abc" + "ß".encode() + b"x" * 100)

    assert intake.notice is Notice.OUTPUT_FULL
    assert intake.new_output() == "abc"
    assert intake.output_bytes == 6 + 3 + 2 + 100


def test_a_broken_channel_stays_broken() -> None:
    intake = Intake(ResourceLimits())
    intake.take_frames(b"\xff" * 9)
    intake.take_frames(encode_frame(Kind.VALUE, 1, b"1"))

    assert intake.notice is Notice.BROKEN
    assert not intake.frames


@pytest.mark.parametrize(
    ("code", "oom", "half", "outcome", "limit"),
    [
        (0, False, False, Outcome.CRASHED, None),
        (1, False, False, Outcome.CRASHED, None),
        (137, True, False, Outcome.OUT_OF_MEMORY, "memory"),
        (0, True, False, Outcome.CRASHED, None),
        (139, False, False, Outcome.CRASHED, None),
        (152, False, False, Outcome.LIMIT_EXCEEDED, "cpu"),
        (153, False, False, Outcome.LIMIT_EXCEEDED, "file_size"),
        (0, False, True, Outcome.PROTOCOL_BROKEN, None),
        (137, True, True, Outcome.OUT_OF_MEMORY, "memory"),
    ],
)
def test_an_end_without_an_answer(
    code: int, oom: bool, half: bool, outcome: Outcome, limit: str | None
) -> None:
    state = ContainerState(running=False, exit_code=code, oom_killed=oom, error="", pid=0)

    verdict = judge_exit(state, half_a_frame=half, limits=LIMITS)

    assert (verdict.outcome, verdict.limit, verdict.exit_code) == (outcome, limit, code)
    assert verdict.error_message


def test_a_kill_that_the_guest_cannot_have_done_is_not_its_own() -> None:
    state = ContainerState(running=False, exit_code=137, oom_killed=False, error="", pid=0)

    with pytest.raises(SandboxLostError) as caught:
        judge_exit(state, half_a_frame=False, limits=LIMITS)
    own = judge_exit(state, half_a_frame=False, limits=LIMITS, can_kill_itself=True)

    assert not caught.value.retry_safe
    assert own.outcome is Outcome.CRASHED


@pytest.mark.parametrize(
    ("frame", "outcome"),
    [
        (Frame(Kind.VALUE, 1, b"[1]"), Outcome.RETURNED),
        (Frame(Kind.VALUE, 2, b"[1]"), Outcome.PROTOCOL_BROKEN),
        (Frame(Kind.VALUE, 1, b"[1"), Outcome.PROTOCOL_BROKEN),
        (Frame(Kind.POSTURE, 1, b"{}"), Outcome.PROTOCOL_BROKEN),
        (Frame(Kind.ERROR, 1, b"[]"), Outcome.PROTOCOL_BROKEN),
        (Frame(Kind.ERROR, 1, b'{"type":"E","message":"m"}'), Outcome.PROTOCOL_BROKEN),
        (
            Frame(Kind.ERROR, 1, b'{"type":"E","message":"m","traceback":""}'),
            Outcome.RAISED,
        ),
    ],
)
def test_an_answer_is_taken_only_when_it_is_one(frame: Frame, outcome: Outcome) -> None:
    assert judge_answer(frame, call=1, limits=LIMITS).outcome is outcome


@pytest.mark.parametrize("notice", list(Notice))
def test_every_notice_has_its_verdict(notice: Notice) -> None:
    assert judge_notice(notice, limits=LIMITS, problem="why").error_message


# --- what may be loaded


def test_the_guest_imports_nothing_but_the_standard_library() -> None:
    for program in GUEST.glob("*.py"):
        for node in ast.walk(ast.parse(program.read_text())):
            if isinstance(node, ast.Import):
                found = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found = {(node.module or "").partition(".")[0]}
            else:
                continue
            assert found <= sys.stdlib_module_names | {HARNESS_PACKAGE}


def test_importing_the_sandbox_does_not_import_the_engines_sdk() -> None:
    code = "import sys, sandbox.docker_sandbox, sandbox.doctor; print('docker' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"

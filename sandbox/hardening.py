"""From limits to the options of one container.

Pure: the same program gives the same options. Each option has a test that fails without it.
"""

from __future__ import annotations

from typing import Final

from policies.limits import ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject
from sandbox import seccomp
from sandbox.ceilings import (
    CPU_PERIOD_MICROSECONDS,
    OOM_SCORE_ADJUSTMENT,
    address_space_bytes,
    cpu_quota,
    group_memory_bytes,
    group_task_count,
    process_limits,
)
from sandbox.runtimes import RUNC, Runtime, RuntimeKind

__all__ = [
    "CHANNEL_PATH",
    "GUEST_UID",
    "HARNESS_PACKAGE",
    "HARNESS_PATH",
    "HOSTNAME",
    "INTERPRETER_PATH",
    "MASKED_PATHS",
    "PACKAGES_PATH",
    "container_options",
    "may_create_processes",
]

GUEST_UID: Final = 65534
HOSTNAME: Final = "tool"
INTERPRETER_PATH: Final = "/opt/python/bin/python3"
HARNESS_PATH: Final = "/opt/harness"
HARNESS_PACKAGE: Final = "toolkiln_guest"
"""Name of the folder in it that has everything but the entry."""

PACKAGES_PATH: Final = "/opt/packages"
"""Where the guest finds the packages that were added to its image, if any were."""

CHANNEL_PATH: Final = "/run/toolkiln"
"""Where the guest finds the pipes to the host."""


MASKED_PATHS: Final = (
    # What the engine masks when nobody says otherwise,
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
    # and what else tells of the host or can be written by anybody.
    "/dev/mqueue",
    "/proc/kallsyms",
    "/proc/modules",
    "/proc/version",
)

_READ_ONLY_PATHS: Final = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)


def may_create_processes(level: LintLevel) -> bool:
    """Whether a tool of that level may start processes."""
    return level in (LintLevel.L2, LintLevel.L3)


def container_options(  # noqa: PLR0913  each is one fact about the container
    *,
    level: LintLevel,
    limits: ResourceLimits,
    image: str,
    labels: dict[str, str],
    calls: int = 1,
    channel_folder: str | None = None,
    sockets: bool = False,
    runtime: Runtime = RUNC,
) -> JsonObject:
    """The engine's description of the container in which `calls` calls will run.

    With a `channel_folder`, a folder of the host, the guest talks through the pipes in it, and
    has no other input or output. Without one it talks through what the engine attaches. With
    `sockets` it may open connections; there is no interface but loopback in any case.
    """
    host: JsonObject = {
        **_walls(level, sockets=sockets, runtime=runtime),
        **_ceilings(limits, runtime),
        "Ulimits": [
            {"Name": name, "Soft": soft, "Hard": hard}
            for name, (soft, hard) in process_limits(limits, calls, runtime).items()
        ],
        **_channel_mount(channel_folder, runtime),
        **({} if runtime.is_default else {"Runtime": runtime.name}),
    }
    attached = channel_folder is None
    return {
        "Image": image,
        "Entrypoint": [INTERPRETER_PATH, "-I", "-S", "-B", "-X", "utf8", HARNESS_PATH],
        "Cmd": [str(address_space_bytes(limits, runtime))],
        "Env": [],
        "Hostname": HOSTNAME,
        "Labels": {**labels},
        "StopSignal": "SIGKILL",  # an engine that goes down does not wait for what ignores others
        "User": f"{GUEST_UID}:{GUEST_UID}",
        "WorkingDir": "/tmp",  # noqa: S108  the guest's own
        "AttachStdin": attached,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "OpenStdin": attached,
        "StdinOnce": attached,  # the guest's input ends with our connection
        "Tty": False,
        "HostConfig": host,
    }


def _channel_mount(folder: str | None, runtime: Runtime) -> JsonObject:
    """The pipes to the host; a guest can write into them, and not make files beside them.

    gVisor opens a pipe for writing only where the folder can be written, as far as its mode
    lets the guest's user.
    """
    if folder is None:
        return {}
    mount: JsonObject = {
        "Type": "bind",
        "Source": folder,
        "Target": CHANNEL_PATH,
        "ReadOnly": runtime.kind is not RuntimeKind.RUNSC,
        "BindOptions": {"Propagation": "rprivate"},
    }
    return {"Mounts": [mount]}


def _walls(level: LintLevel, *, sockets: bool, runtime: Runtime) -> JsonObject:
    """What is closed, whatever the limits."""
    filter_text = seccomp.profile_text(
        processes=may_create_processes(level),
        sockets=sockets,
        lacks_clone3=runtime.kind is RuntimeKind.RUNSC,
    )
    return {
        "AutoRemove": False,
        "CapDrop": ["ALL"],
        "CgroupnsMode": "private",
        "IpcMode": "none",
        "LogConfig": {"Type": "none", "Config": {}},
        "MaskedPaths": list(MASKED_PATHS),
        "NetworkMode": "none",
        "OomScoreAdj": OOM_SCORE_ADJUSTMENT,
        "ReadonlyPaths": list(_READ_ONLY_PATHS),
        "ReadonlyRootfs": True,
        "RestartPolicy": {"Name": "no"},
        "SecurityOpt": ["no-new-privileges", f"seccomp={filter_text}"],
    }


def _ceilings(limits: ResourceLimits, runtime: Runtime) -> JsonObject:
    """What is counted."""
    memory = group_memory_bytes(limits, runtime)
    return {
        "CpuPeriod": CPU_PERIOD_MICROSECONDS,
        "CpuQuota": cpu_quota(limits),
        "Memory": memory,
        "MemorySwap": memory,
        "PidsLimit": group_task_count(limits, runtime),
        "Tmpfs": {
            "/tmp": (  # noqa: S108  the guest's own
                f"rw,noexec,nosuid,nodev,size={limits.tmp_bytes},"
                f"nr_inodes={limits.tmp_files},mode=1777"
            )
        },
    }

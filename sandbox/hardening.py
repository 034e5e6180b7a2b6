"""From limits to the options of one container, and from a posture to what is wrong with it.

Pure: the same program gives the same options. Each option has a test that fails without it.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

from policies.limits import ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject
from sandbox import seccomp
from sandbox.base import Posture

__all__ = [
    "CHANNEL_PATH",
    "GUEST_UID",
    "HARNESS_PACKAGE",
    "HARNESS_PATH",
    "HOSTNAME",
    "INTERPRETER_PATH",
    "address_space_bytes",
    "container_options",
    "cpu_seconds",
    "may_create_processes",
    "posture_differences",
]

GUEST_UID: Final = 65534
HOSTNAME: Final = "tool"
INTERPRETER_PATH: Final = "/opt/python/bin/python3"
HARNESS_PATH: Final = "/opt/harness"
HARNESS_PACKAGE: Final = "toolkiln_guest"
"""Name of the folder in it that has everything but the entry."""

CHANNEL_PATH: Final = "/run/toolkiln"
"""Where the guest finds the pipes to the host."""


_CPU_PERIOD_MICROSECONDS: Final = 100_000
_OOM_SCORE_ADJUSTMENT: Final = 500
_MESSAGE_QUEUE_BYTES: Final = 0
_ENVIRONMENT: Final = frozenset({"HOME", "HOSTNAME", "LC_CTYPE", "PATH"})
"""What an engine sets by itself; the harness clears it before a tool runs."""

_MASKED_PATHS: Final = (
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

_KERNEL_MOUNTS: Final = frozenset({"/dev", "/dev/pts", "/proc", "/sys/fs/cgroup"})
"""Mounts that the runtime makes writable for root; nobody else can write there."""


def may_create_processes(level: LintLevel) -> bool:
    """Whether a tool of that level may start processes."""
    return level in (LintLevel.L2, LintLevel.L3)


def cpu_seconds(limits: ResourceLimits, calls: int) -> int:
    """Processor time after which the kernel ends the guest: more than its quota can give it."""
    return math.ceil(limits.wall_seconds * max(limits.cpus, 1.0)) * calls + 1


def address_space_bytes(limits: ResourceLimits) -> int:
    """Ceiling of the address space, for engines whose memory limit does not hold.

    Mappings cost no memory until they are used: each thread alone maps 8 MiB of stack and up
    to 64 MiB of heap, so a ceiling near the memory limit would refuse what fits.
    """
    gib = 1024**3
    return 2 * limits.memory_bytes + 2 * gib


def container_options(  # noqa: PLR0913  each is one fact about the container
    *,
    level: LintLevel,
    limits: ResourceLimits,
    image: str,
    labels: dict[str, str],
    calls: int = 1,
    channel_folder: str | None = None,
) -> JsonObject:
    """The engine's description of the container in which `calls` calls will run.

    With a `channel_folder`, a folder of the host, the guest talks through the pipes in it, and
    has no other input or output. Without one it talks through what the engine attaches.
    """
    host: JsonObject = {
        **_walls(level),
        **_ceilings(limits),
        "Ulimits": [*_ulimits(limits, calls)],
        **_channel_mount(channel_folder),
    }
    attached = channel_folder is None
    return {
        "Image": image,
        "Entrypoint": [INTERPRETER_PATH, "-I", "-S", "-B", "-X", "utf8", HARNESS_PATH],
        "Cmd": [str(address_space_bytes(limits))],
        "Env": [],
        "Hostname": HOSTNAME,
        "Labels": {**labels},
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


def _channel_mount(folder: str | None) -> JsonObject:
    """The pipes to the host; a guest can write into them, and not make files beside them."""
    if folder is None:
        return {}
    mount: JsonObject = {
        "Type": "bind",
        "Source": folder,
        "Target": CHANNEL_PATH,
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rprivate"},
    }
    return {"Mounts": [mount]}


def _walls(level: LintLevel) -> JsonObject:
    """What is closed, whatever the limits."""
    filter_text = seccomp.profile_text(processes=may_create_processes(level))
    return {
        "AutoRemove": False,
        "CapDrop": ["ALL"],
        "CgroupnsMode": "private",
        "IpcMode": "none",
        "LogConfig": {"Type": "none", "Config": {}},
        "MaskedPaths": list(_MASKED_PATHS),
        "NetworkMode": "none",
        "OomScoreAdj": _OOM_SCORE_ADJUSTMENT,
        "ReadonlyPaths": list(_READ_ONLY_PATHS),
        "ReadonlyRootfs": True,
        "RestartPolicy": {"Name": "no"},
        "SecurityOpt": ["no-new-privileges", f"seccomp={filter_text}"],
    }


def _ceilings(limits: ResourceLimits) -> JsonObject:
    """What is counted."""
    return {
        "CpuPeriod": _CPU_PERIOD_MICROSECONDS,
        "CpuQuota": _cpu_quota(limits),
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "PidsLimit": _pids(limits),
        "Tmpfs": {
            "/tmp": (  # noqa: S108  the guest's own
                f"rw,noexec,nosuid,nodev,size={limits.tmp_bytes},"
                f"nr_inodes={limits.tmp_files},mode=1777"
            )
        },
    }


def _pids(limits: ResourceLimits) -> int:
    return limits.pids + 1  # the harness listens in a thread of its own


def _cpu_quota(limits: ResourceLimits) -> int:
    least = 1_000  # the kernel refuses less
    return max(least, int(limits.cpus * _CPU_PERIOD_MICROSECONDS))


def _ulimits(limits: ResourceLimits, calls: int) -> list[JsonObject]:
    cpu = cpu_seconds(limits, calls)
    ceilings = {
        "core": (0, 0),
        "cpu": (cpu, cpu + 1),
        "fsize": (limits.file_bytes, limits.file_bytes),
        "msgqueue": (_MESSAGE_QUEUE_BYTES, _MESSAGE_QUEUE_BYTES),
        "nofile": (limits.open_files, limits.open_files),
    }
    return [{"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in ceilings.items()]


def posture_differences(
    posture: Posture, *, limits: ResourceLimits, calls: int = 1
) -> tuple[str, ...]:
    """What the guest sees that is not what was demanded; empty when all is well."""
    return tuple(
        f"{name} is {seen!r}, demanded {demanded!r}"
        for name, seen, demanded in (
            *_identity(posture),
            *_isolation(posture, limits),
            *_limits_seen(posture, limits, calls),
        )
        if seen != demanded
    )


_Check: TypeAlias = tuple[str, object, object]
"""What it is called, what was seen, what was demanded."""


def _identity(posture: Posture) -> list[_Check]:
    nothing = "0" * 16
    groups = sorted({GUEST_UID, *posture.groups})
    return [
        ("uid", posture.uid, GUEST_UID),
        ("gid", posture.gid, GUEST_UID),
        ("groups", groups, [GUEST_UID]),
        ("capabilities_effective", posture.capabilities_effective, nothing),
        ("capabilities_bounding", posture.capabilities_bounding, nothing),
        ("no_new_privileges", posture.no_new_privileges, True),
        ("seccomp_mode", posture.seccomp_mode, 2),
        ("hostname", posture.hostname, HOSTNAME),
        ("environment beyond the engine's own", sorted({*posture.environment} - _ENVIRONMENT), []),
    ]


def _isolation(posture: Posture, limits: ResourceLimits) -> list[_Check]:
    mounts = dict(mount.rpartition(":")[::2] for mount in posture.writable_mounts)
    options = set(mounts.get("/tmp", "").split(","))  # noqa: S108  the guest's own
    demanded = {"noexec", "nosuid", "nodev", "rw", f"nr_inodes={limits.tmp_files}"}
    masks = {path for path in _MASKED_PATHS if path.startswith("/proc/")}  # of nothing, for files
    expected = {"/tmp", CHANNEL_PATH, *_KERNEL_MOUNTS, *masks}  # noqa: S108  the guest's own
    others = sorted(set(mounts) - expected)
    return [
        ("interfaces", posture.interfaces, ("lo",)),
        ("root_read_only", posture.root_read_only, True),
        ("writable mounts beyond /tmp", others, []),
        ("options that /tmp lacks", sorted(demanded - options), []),
        ("size of /tmp", _tmp_size(options), _kibibytes(limits.tmp_bytes)),
    ]


def _tmp_size(options: set[str]) -> str:
    return next((option for option in sorted(options) if option.startswith("size=")), "")


def _kibibytes(size: int) -> str:
    page = 4096  # the kernel rounds up to whole pages, and says kibibytes
    return f"size={-(-size // page) * page // 1024}k"


def _limits_seen(posture: Posture, limits: ResourceLimits, calls: int) -> list[_Check]:
    swap = posture.memory_and_swap_limit_bytes
    page = 4096
    memory = limits.memory_bytes // page * page
    rlimits = {
        "as": address_space_bytes(limits),
        "core": 0,
        "cpu": cpu_seconds(limits, calls),
        "fsize": limits.file_bytes,
        "msgqueue": _MESSAGE_QUEUE_BYTES,
        "nofile": limits.open_files,
    }
    return [
        ("memory_limit_bytes", posture.memory_limit_bytes, memory),
        # A kernel that does not count swap has nothing to show.
        ("memory_and_swap_limit_bytes", memory if swap is None else swap, memory),
        ("pids_limit", posture.pids_limit, _pids(limits)),
        ("cpus", posture.cpus, _cpu_quota(limits) / _CPU_PERIOD_MICROSECONDS),
        ("oom_score_adjustment", posture.oom_score_adjustment, _OOM_SCORE_ADJUSTMENT),
        *((f"rlimit {name}", posture.rlimits.get(name), rlimits[name]) for name in rlimits),
    ]

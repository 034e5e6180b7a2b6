"""From limits to the options of one container, and from a posture to what is wrong with it.

Pure: the same program gives the same options. Each option has a test that fails without it.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

from policies.limits import MIB, ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject
from sandbox import seccomp
from sandbox.base import Posture
from sandbox.hostlimits import HostLimits
from sandbox.runtimes import RUNC, Runtime, RuntimeKind

__all__ = [
    "CHANNEL_PATH",
    "GUEST_UID",
    "HARNESS_PACKAGE",
    "HARNESS_PATH",
    "HOSTNAME",
    "INTERPRETER_PATH",
    "PACKAGES_PATH",
    "address_space_bytes",
    "container_options",
    "cpu_seconds",
    "host_limit_differences",
    "may_create_processes",
    "posture_differences",
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


_CPU_PERIOD_MICROSECONDS: Final = 100_000
_OOM_SCORE_ADJUSTMENT: Final = 500
_MESSAGE_QUEUE_BYTES: Final = 0
_FILTERED: Final = 2
"""What the kernel calls a process with a filter of system calls."""

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

_RUNTIME_MEMORY_BYTES: Final = 64 * MIB
"""For a kernel that runs beside the guest, in its control group: gVisor's takes 30 MiB."""

_RUNTIME_PIDS: Final = 256
"""For that kernel's own threads."""

_PIDS_FOR_ONE: Final = 4
"""What one process of the guest takes of the host, with such a kernel."""

_INTERPRETER_BYTES: Final = 96 * MIB
"""Address space of the idle interpreter, most of it one thread's stack and reserved heap."""

_KERNEL_MOUNTS: Final = frozenset({"/dev", "/dev/pts", "/proc", "/sys/fs/cgroup"})
"""Mounts that the runtime makes writable for root; nobody else can write there."""


def may_create_processes(level: LintLevel) -> bool:
    """Whether a tool of that level may start processes."""
    return level in (LintLevel.L2, LintLevel.L3)


def cpu_seconds(limits: ResourceLimits, calls: int) -> int:
    """Processor time after which the kernel ends the guest: more than its quota can give it."""
    return math.ceil(limits.wall_seconds * max(limits.cpus, 1.0)) * calls + 1


def address_space_bytes(limits: ResourceLimits, runtime: Runtime = RUNC) -> int:
    """Ceiling of the address space of each process.

    Mappings cost no memory until they are used: each thread alone maps 8 MiB of stack and up
    to 64 MiB of heap, so a ceiling near the memory limit would refuse what fits. Where no
    control group holds the memory, that is what stands in for it.
    """
    if not runtime.limits_hold:
        return limits.memory_bytes + _INTERPRETER_BYTES
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
            for name, (soft, hard) in _ulimits(limits, calls, runtime).items()
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
        "MaskedPaths": list(_MASKED_PATHS),
        "NetworkMode": "none",
        "OomScoreAdj": _OOM_SCORE_ADJUSTMENT,
        "ReadonlyPaths": list(_READ_ONLY_PATHS),
        "ReadonlyRootfs": True,
        "RestartPolicy": {"Name": "no"},
        "SecurityOpt": ["no-new-privileges", f"seccomp={filter_text}"],
    }


def _ceilings(limits: ResourceLimits, runtime: Runtime) -> JsonObject:
    """What is counted."""
    memory = _group_memory_bytes(limits, runtime)
    return {
        "CpuPeriod": _CPU_PERIOD_MICROSECONDS,
        "CpuQuota": _cpu_quota(limits),
        "Memory": memory,
        "MemorySwap": memory,
        "PidsLimit": _group_pids(limits, runtime),
        "Tmpfs": {
            "/tmp": (  # noqa: S108  the guest's own
                f"rw,noexec,nosuid,nodev,size={limits.tmp_bytes},"
                f"nr_inodes={limits.tmp_files},mode=1777"
            )
        },
    }


def _pids(limits: ResourceLimits) -> int:
    return limits.pids + 1  # the harness listens in a thread of its own


def _cpus(limits: ResourceLimits) -> float:
    return _cpu_quota(limits) / _CPU_PERIOD_MICROSECONDS


def _cpu_quota(limits: ResourceLimits) -> int:
    least = 1_000  # the kernel refuses less
    return max(least, int(limits.cpus * _CPU_PERIOD_MICROSECONDS))


def _group_memory_bytes(limits: ResourceLimits, runtime: Runtime) -> int:
    extra = _RUNTIME_MEMORY_BYTES if runtime.kind is RuntimeKind.RUNSC else 0
    return limits.memory_bytes + extra


def _group_pids(limits: ResourceLimits, runtime: Runtime) -> int:
    """In the host's count; what the guest's own kernel counts, `nproc` holds."""
    if runtime.kind is RuntimeKind.RUNSC:
        return _RUNTIME_PIDS + _PIDS_FOR_ONE * _pids(limits)
    return _pids(limits)


def _ulimits(limits: ResourceLimits, calls: int, runtime: Runtime) -> dict[str, tuple[int, int]]:
    """Soft and hard limit by name."""
    cpu = cpu_seconds(limits, calls)
    ceilings = {
        "core": (0, 0),
        "cpu": (cpu, cpu + 1),
        "fsize": (limits.file_bytes, limits.file_bytes),
        "msgqueue": (_MESSAGE_QUEUE_BYTES, _MESSAGE_QUEUE_BYTES),
        "nofile": (limits.open_files, limits.open_files),
    }
    if runtime.kind is RuntimeKind.RUNSC:
        # Counted in its own kernel. The host's would count all containers of this user together.
        ceilings["nproc"] = (_pids(limits), _pids(limits))
    return ceilings


def posture_differences(
    posture: Posture, *, limits: ResourceLimits, calls: int = 1, runtime: Runtime = RUNC
) -> tuple[str, ...]:
    """What the guest sees that is not what was demanded; empty when all is well."""
    return _differences(
        *_identity(posture, runtime),
        *_kernel(posture, runtime),
        *_isolation(posture, limits, runtime),
        *_group_limits(posture, limits, runtime),
        *_process_limits(posture, limits, calls, runtime),
    )


def host_limit_differences(
    seen: HostLimits, *, limits: ResourceLimits, runtime: Runtime
) -> tuple[str, ...]:
    """What the host's kernel does not hold a container to as demanded, whatever the guest sees."""
    page = 4096
    return _differences(
        (
            "memory limit of the control group",
            seen.memory_bytes,
            _group_memory_bytes(limits, runtime) // page * page,
        ),
        ("process limit of the control group", seen.pids, _group_pids(limits, runtime)),
        ("processors of the control group", seen.cpus, _cpus(limits)),
    )


_Check: TypeAlias = tuple[str, object, object]
"""What it is called, what was seen, what was demanded."""


def _differences(*checks: _Check) -> tuple[str, ...]:
    return tuple(
        f"{name} is {seen!r}, demanded {demanded!r}"
        for name, seen, demanded in checks
        if seen != demanded
    )


def _identity(posture: Posture, runtime: Runtime) -> list[_Check]:
    nothing = "0" * 16
    groups = sorted({GUEST_UID, *posture.groups})
    # gVisor never grants privileges on execution, and its status has no line that says so.
    no_new_privileges = posture.no_new_privileges or runtime.kind is RuntimeKind.RUNSC
    filtered = posture.seccomp_mode if runtime.system_call_filter else _FILTERED
    return [
        ("uid", posture.uid, GUEST_UID),
        ("gid", posture.gid, GUEST_UID),
        ("groups", groups, [GUEST_UID]),
        ("capabilities_effective", posture.capabilities_effective, nothing),
        ("capabilities_bounding", posture.capabilities_bounding, nothing),
        ("no_new_privileges", no_new_privileges, True),
        ("seccomp_mode", filtered, _FILTERED),
        ("hostname", posture.hostname, HOSTNAME),
        ("environment beyond the engine's own", sorted({*posture.environment} - _ENVIRONMENT), []),
    ]


def _kernel(posture: Posture, runtime: Runtime) -> list[_Check]:
    """A guest that sees the host's kernel has none of its own, whatever the runtime is called."""
    if not runtime.host_kernel or runtime.kind is RuntimeKind.OTHER:
        return []
    shown = "the host's" if posture.kernel == runtime.host_kernel else "its own"
    demanded = "its own" if runtime.own_kernel else "the host's"
    return [(f"the kernel of a guest on {runtime.name} ({posture.kernel})", shown, demanded)]


def _isolation(posture: Posture, limits: ResourceLimits, runtime: Runtime) -> list[_Check]:
    gvisor = runtime.kind is RuntimeKind.RUNSC
    mounts = dict(mount.rpartition(":")[::2] for mount in posture.writable_mounts)
    options = set(mounts.get("/tmp", "").split(","))  # noqa: S108  the guest's own
    # gVisor has no devices to open there, no programs that change users, and no count of files.
    demanded = {"noexec", "rw"} | (
        set() if gvisor else {"nosuid", "nodev", f"nr_inodes={limits.tmp_files}"}
    )
    masks = {path for path in _MASKED_PATHS if path.startswith("/proc/")}  # of nothing, for files
    channel = {CHANNEL_PATH} if gvisor else set()
    expected = {"/tmp", *channel, *_KERNEL_MOUNTS, *masks}  # noqa: S108  the guest's own
    others = sorted(set(mounts) - expected)
    return [
        ("interfaces", posture.interfaces, ("lo",)),
        ("root_read_only", posture.root_read_only, True),
        ("writable mounts beyond /tmp", others, []),
        ("options that /tmp lacks", sorted(demanded - options), []),
        ("bytes of /tmp", _tmp_bytes(options), _whole_pages(limits.tmp_bytes)),
    ]


def _tmp_bytes(options: set[str]) -> int | None:
    """Linux says kibibytes, gVisor bytes."""
    size = next((option[5:] for option in sorted(options) if option.startswith("size=")), "")
    number, unit = (size[:-1], 1024) if size.endswith("k") else (size, 1)
    return _whole_pages(int(number) * unit) if number.isdigit() else None


def _whole_pages(size: int) -> int:
    page = 4096
    return -(-size // page) * page


def _group_limits(posture: Posture, limits: ResourceLimits, runtime: Runtime) -> list[_Check]:
    if not runtime.limits_seen_inside:
        return []
    swap = posture.memory_and_swap_limit_bytes
    page = 4096
    memory = limits.memory_bytes // page * page
    return [
        ("memory_limit_bytes", posture.memory_limit_bytes, memory),
        # A kernel that does not count swap has nothing to show.
        ("memory_and_swap_limit_bytes", memory if swap is None else swap, memory),
        ("pids_limit", posture.pids_limit, _pids(limits)),
        ("cpus", posture.cpus, _cpus(limits)),
        ("oom_score_adjustment", posture.oom_score_adjustment, _OOM_SCORE_ADJUSTMENT),
    ]


def _process_limits(
    posture: Posture, limits: ResourceLimits, calls: int, runtime: Runtime
) -> list[_Check]:
    ulimits = {name: soft for name, (soft, _) in _ulimits(limits, calls, runtime).items()}
    demanded = {"as": address_space_bytes(limits, runtime), **ulimits}
    return [(f"rlimit {name}", posture.rlimits.get(name), demanded[name]) for name in demanded]

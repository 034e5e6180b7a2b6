"""Whether a container stands as demanded: what it sees of its walls, and what its host holds."""

from __future__ import annotations

from typing import Final, TypeAlias

from policies.limits import ResourceLimits
from sandbox.base import Posture
from sandbox.ceilings import (
    OOM_SCORE_ADJUSTMENT,
    address_space_bytes,
    cpus,
    group_memory_bytes,
    group_task_count,
    process_limits,
    task_count,
    whole_pages,
)
from sandbox.hardening import CHANNEL_PATH, GUEST_UID, HOSTNAME, MASKED_PATHS
from sandbox.hostlimits import HostLimits
from sandbox.runtimes import RUNC, Runtime, RuntimeKind

__all__ = ["host_limit_differences", "posture_differences"]

_FILTERED: Final = 2
"""What the kernel calls a process with a filter of system calls."""

_ENVIRONMENT: Final = frozenset({"HOME", "HOSTNAME", "LC_CTYPE", "PATH"})
"""What an engine sets by itself; the harness clears it before a tool runs."""

_KERNEL_MOUNTS: Final = frozenset({"/dev", "/dev/pts", "/proc", "/sys/fs/cgroup"})
"""Mounts that the runtime makes writable for root; nobody else can write there."""


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
            group_memory_bytes(limits, runtime) // page * page,
        ),
        ("process limit of the control group", seen.pids, group_task_count(limits, runtime)),
        ("processors of the control group", seen.cpus, cpus(limits)),
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
    masks = {path for path in MASKED_PATHS if path.startswith("/proc/")}  # of nothing, for files
    channel = {CHANNEL_PATH} if gvisor else set()
    expected = {"/tmp", *channel, *_KERNEL_MOUNTS, *masks}  # noqa: S108  the guest's own
    others = sorted(set(mounts) - expected)
    return [
        ("interfaces", posture.interfaces, ("lo",)),
        ("root_read_only", posture.root_read_only, True),
        ("writable mounts beyond /tmp", others, []),
        ("options that /tmp lacks", sorted(demanded - options), []),
        ("bytes of /tmp", _tmp_bytes(options), whole_pages(limits.tmp_bytes)),
    ]


def _tmp_bytes(options: set[str]) -> int | None:
    """Linux says kibibytes, gVisor bytes."""
    size = next((option[5:] for option in sorted(options) if option.startswith("size=")), "")
    number, unit = (size[:-1], 1024) if size.endswith("k") else (size, 1)
    return whole_pages(int(number) * unit) if number.isdigit() else None


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
        ("pids_limit", posture.pids_limit, task_count(limits)),
        ("cpus", posture.cpus, cpus(limits)),
        ("oom_score_adjustment", posture.oom_score_adjustment, OOM_SCORE_ADJUSTMENT),
    ]


def _process_limits(
    posture: Posture, limits: ResourceLimits, calls: int, runtime: Runtime
) -> list[_Check]:
    ulimits = {name: soft for name, (soft, _) in process_limits(limits, calls, runtime).items()}
    demanded = {"as": address_space_bytes(limits, runtime), **ulimits}
    return [(f"rlimit {name}", posture.rlimits.get(name), demanded[name]) for name in demanded]

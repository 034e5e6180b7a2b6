"""How much of everything one container gets: numbers alone, for its options and their proof."""

from __future__ import annotations

import math
from typing import Final

from policies.limits import MIB, ResourceLimits
from sandbox.runtimes import RUNC, Runtime, RuntimeKind

__all__ = [
    "CPU_PERIOD_MICROSECONDS",
    "OOM_SCORE_ADJUSTMENT",
    "address_space_bytes",
    "cpu_quota",
    "cpu_seconds",
    "cpus",
    "group_memory_bytes",
    "group_task_count",
    "process_limits",
    "task_count",
    "whole_pages",
]

CPU_PERIOD_MICROSECONDS: Final = 100_000
OOM_SCORE_ADJUSTMENT: Final = 500
_MESSAGE_QUEUE_BYTES: Final = 0

_RUNTIME_MEMORY_BYTES: Final = 64 * MIB
"""For a kernel that runs beside the guest, in its control group: gVisor's takes 30 MiB."""

_RUNTIME_PIDS: Final = 256
"""For that kernel's own threads."""

_PIDS_FOR_ONE: Final = 4
"""What one process of the guest takes of the host, with such a kernel."""

_INTERPRETER_BYTES: Final = 96 * MIB
"""Address space of the idle interpreter, most of it one thread's stack and reserved heap."""


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


def task_count(limits: ResourceLimits) -> int:
    """Processes and threads together."""
    return limits.pids + 1  # the harness listens in a thread of its own


def cpus(limits: ResourceLimits) -> float:
    """Processors, as the control group counts them."""
    return cpu_quota(limits) / CPU_PERIOD_MICROSECONDS


def cpu_quota(limits: ResourceLimits) -> int:
    """Microseconds of processor time in each period."""
    least = 1_000  # the kernel refuses less
    return max(least, int(limits.cpus * CPU_PERIOD_MICROSECONDS))


def group_memory_bytes(limits: ResourceLimits, runtime: Runtime) -> int:
    """Ceiling of the control group's memory."""
    extra = _RUNTIME_MEMORY_BYTES if runtime.kind is RuntimeKind.RUNSC else 0
    return limits.memory_bytes + extra


def group_task_count(limits: ResourceLimits, runtime: Runtime) -> int:
    """In the host's count; what the guest's own kernel counts, `nproc` holds."""
    if runtime.kind is RuntimeKind.RUNSC:
        return _RUNTIME_PIDS + _PIDS_FOR_ONE * task_count(limits)
    return task_count(limits)


def process_limits(
    limits: ResourceLimits, calls: int, runtime: Runtime
) -> dict[str, tuple[int, int]]:
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
        ceilings["nproc"] = (task_count(limits), task_count(limits))
    return ceilings


def whole_pages(size: int) -> int:
    """Rounded up, as the kernel does."""
    page = 4096
    return -(-size // page) * page

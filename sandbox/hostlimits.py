"""The limits of a container's control group as this host's kernel has them.

For runtimes whose guests have a kernel of their own: they see nothing of the group that holds
them, so the host looks instead, where it is the engine's host too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["HostLimits", "read_host_limits"]

_ROOT: Final = Path("/sys/fs/cgroup")
_GROUPS: Final = ("docker/{id}", "system.slice/docker-{id}.scope")
"""Where the engine puts a container's group, with either of its two drivers."""


@dataclass(frozen=True, kw_only=True)
class HostLimits:
    """What the kernel holds a container to; None where it does not hold it, or cannot be read."""

    memory_bytes: int | None = None
    pids: int | None = None
    cpus: float | None = None


def read_host_limits(container: str) -> HostLimits:
    """Of a container that runs. One whose processes are not in a group is held to nothing."""
    for pattern in _GROUPS:
        group = pattern.format(id=container)
        unified = _ROOT / group
        if _has_processes(unified):
            quota, _, period = _text(unified / "cpu.max").partition(" ")
            return HostLimits(
                memory_bytes=_number(unified / "memory.max"),
                pids=_number(unified / "pids.max"),
                cpus=_ratio(quota, period),
            )
        limits = HostLimits(
            memory_bytes=_held(_ROOT / "memory" / group, "memory.limit_in_bytes"),
            pids=_held(_ROOT / "pids" / group, "pids.max"),
            cpus=_cpus(_ROOT / "cpu" / group),
        )
        if limits != HostLimits():
            return limits
    return HostLimits()


def _held(group: Path, name: str) -> int | None:
    return _number(group / name) if _has_processes(group) else None


def _cpus(group: Path) -> float | None:
    if not _has_processes(group):
        return None
    return _ratio(_text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us"))


def _has_processes(group: Path) -> bool:
    return bool(_text(group / "cgroup.procs"))


def _number(file: Path) -> int | None:
    text = _text(file)
    return int(text) if text.isdigit() else None


def _ratio(quota: str, period: str) -> float | None:
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""

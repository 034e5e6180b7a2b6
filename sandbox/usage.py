"""What a container used, as the host's kernel counts it, where this host is the engine's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sandbox.base import Usage

__all__ = ["read_usage"]

_ROOT: Final = Path("/sys/fs/cgroup")
_GROUPS: Final = ("docker/{id}", "system.slice/docker-{id}.scope")
"""Where the engine puts a container's group, with either of its two drivers."""


def read_usage(container: str) -> Usage:
    """Memory peak and processor time of a container that still runs."""
    groups = [group.format(id=container) for group in _GROUPS]
    return Usage(
        memory_peak_bytes=_memory_peak(groups),
        cpu_seconds=_cpu_seconds(groups),
    )


def _memory_peak(groups: Iterable[str]) -> int | None:
    for group in groups:
        for path in (
            _ROOT / "memory" / group / "memory.max_usage_in_bytes",
            _ROOT / group / "memory.peak",
        ):
            text = _read(path)
            if text.isdigit():
                return int(text)
    return None


def _cpu_seconds(groups: Iterable[str]) -> float | None:
    for group in groups:
        nanoseconds = _read(_ROOT / "cpuacct" / group / "cpuacct.usage")
        if nanoseconds.isdigit():
            return int(nanoseconds) / 1e9
        for line in _read(_ROOT / group / "cpu.stat").splitlines():
            name, _, microseconds = line.partition(" ")
            if name == "usage_usec":
                return int(microseconds) / 1e6
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""

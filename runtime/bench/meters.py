"""Processor time and memory, as this machine's kernel counts them; None where it does not."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.bench.report import CpuPerCall

__all__ = ["CpuReading", "OwnMemory", "container_memory", "cpu_per_call", "read_cpu"]

_ROOT: Final = Path("/sys/fs/cgroup")
_GROUPS: Final = ("docker/{id}", "system.slice/docker-{id}.scope")
"""Where the engine puts a container's group, with either of its two drivers."""

_KIB: Final = 1024


@dataclass(frozen=True)
class CpuReading:
    """Seconds of processor time that have gone by, of which only differences say anything."""

    machine: float | None
    host: float
    guest: float | None

    def since(self, earlier: CpuReading) -> CpuReading:
        """What has gone by since `earlier`."""
        return CpuReading(
            machine=_difference(self.machine, earlier.machine),
            host=self.host - earlier.host,
            guest=_difference(self.guest, earlier.guest),
        )

    def plus(self, other: CpuReading) -> CpuReading:
        """Both together."""
        return CpuReading(
            machine=_sum(self.machine, other.machine),
            host=self.host + other.host,
            guest=_sum(self.guest, other.guest),
        )


def read_cpu() -> CpuReading:
    """All three counters as they stand."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return CpuReading(
        machine=_machine_seconds(_read(Path("/proc/stat"))),
        host=sum(usage.ru_utime + usage.ru_stime for usage in spent),
        guest=_guest_seconds(),
    )


def cpu_per_call(spent: CpuReading, calls: int) -> CpuPerCall | None:
    """Processor time of one of `calls` alike; None where there was none."""
    if calls <= 0:
        return None
    each = 1_000 / calls
    # Exactly nothing means that the runtime keeps its guests out of the engine's group.
    return CpuPerCall(
        machine_ms=None if spent.machine is None else spent.machine * each,
        host_ms=spent.host * each,
        guest_ms=spent.guest * each if spent.guest else None,
    )


def _machine_seconds(stat: str) -> float | None:
    """Busy time of all processors; what a host above this machine took is not ours."""
    fields = stat.partition("\n")[0].split()
    if len(fields) < 8 or fields[0] != "cpu":  # noqa: PLR2004  up to and with softirq
        return None
    user, nice, system, _idle, _waiting, irq, softirq = map(int, fields[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _guest_seconds() -> float | None:
    """Of the group in which the engine has its containers, those that have ended included."""
    nanoseconds = _read(_ROOT / "cpuacct" / "docker" / "cpuacct.usage").strip()
    if nanoseconds.isdigit():
        return int(nanoseconds) / 1e9
    for line in _read(_ROOT / "docker" / "cpu.stat").splitlines():
        name, _, microseconds = line.partition(" ")
        if name == "usage_usec":
            return int(microseconds) / 1e6
    return None


@dataclass(frozen=True)
class OwnMemory:
    """What one container needs for itself."""

    size_bytes: int
    how: str


def container_memory(container: str) -> OwnMemory | None:
    """Memory of a container's own: not the image's files, which all containers share.

    From its control group; where the runtime leaves that empty, the proportional share of the
    processes whose command line names the container.
    """
    for group in _GROUPS:
        own = _group_memory(group.format(id=container))
        if own:
            return OwnMemory(own, "control group: usage - page cache + tmpfs")
    share = _share_of_processes(container, _processes())
    return OwnMemory(share, "proportional share (PSS) of its processes") if share else None


def _group_memory(group: str) -> int | None:
    first = _ROOT / "memory" / group
    old = _own(_read(first / "memory.usage_in_bytes"), _read(first / "memory.stat"), "total_cache")
    if old is not None:
        return old
    second = _ROOT / group
    return _own(_read(second / "memory.current"), _read(second / "memory.stat"), "file")


def _own(usage: str, stat: str, cache: str) -> int | None:
    """Usage without page cache; tmpfs and shared memory count as cache, but are its own."""
    if not usage.strip().isdigit():
        return None
    numbers = dict(line.split() for line in stat.splitlines() if line.count(" ") == 1)
    shared = "total_shmem" if cache.startswith("total_") else "shmem"
    return int(usage) - int(numbers.get(cache, 0)) + int(numbers.get(shared, 0))


def _processes() -> Iterable[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdigit())


def _share_of_processes(container: str, processes: Iterable[Path]) -> int:
    return sum(
        _proportional_share(_read(process / "smaps_rollup"))
        for process in processes
        if _is_of(container, _read(process / "cmdline").split("\0"))
    )


def _is_of(container: str, words: Sequence[str]) -> bool:
    """Whether it is the runtime's process for it; the engine's shim names it too, but is not."""
    return Path(words[0]).name.startswith("runsc") and any(container in word for word in words[1:])


def _proportional_share(rollup: str) -> int:
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * _KIB
    return 0


def _difference(now: float | None, earlier: float | None) -> float | None:
    return None if now is None or earlier is None else now - earlier


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

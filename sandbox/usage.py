"""A container's control group: what it used, whether memory killed it, and a quick end of it.

Only where this host is the engine's. The engine tells of a kill for memory by an event that it
loses when the control group is gone before it has read it; whoever holds the group's files open
reads the same count from the kernel itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

from sandbox.base import Usage

__all__ = ["CgroupFiles", "GroupReading"]

_ROOT: Final = Path("/sys/fs/cgroup")
_GROUPS: Final = ("docker/{id}", "system.slice/docker-{id}.scope")
"""Where the engine puts a container's group, with either of its two drivers."""

_BYTES: Final = 1 << 16
"""More than any of the files holds."""

_PEAK: Final = "peak"
_KILLS: Final = "kills"
_CPU: Final = "cpu"
_PROCESSES: Final = "processes"
_LEVERS: Final = (
    ("cgroup.kill", b"1"),
    ("cpu.max", b"max"),
    ("cpu.cfs_quota_us", b"-1"),
    ("cpu.weight", b"10000"),
    ("cpu.shares", b"262144"),
)
"""What hastens the end of a group, in either version; only root may."""


@dataclass(frozen=True)
class GroupReading:
    """What the kernel counted for one container so far; None where it does not tell."""

    memory_peak_bytes: int | None = None
    cpu_seconds: float | None = None
    """Of all processes together, since the container started."""

    oom_kills: int | None = None
    """Processes that the kernel killed for memory."""

    @property
    def usage(self) -> Usage:
        """The part of it that a result tells."""
        return Usage(memory_peak_bytes=self.memory_peak_bytes, cpu_seconds=self.cpu_seconds)


class CgroupFiles:
    """The files of one container's control group, held open from its start to its end.

    A container that has ended loses its group within some ten milliseconds, so read it as soon
    as its streams end.
    """

    def __init__(self, group: str, files: Mapping[str, int], alarm: _OomAlarm | None) -> None:
        self._group = group
        self._files = dict(files)
        self._levers = _open_levers(group)
        self._alarm = alarm
        self._last = GroupReading()

    @classmethod
    def open(cls, container: str) -> Self | None:
        """Of a container that runs; None where this host does not have its group."""
        for pattern in _GROUPS:
            group = pattern.format(id=container)
            files = _open_all(_places(group))
            if _PROCESSES in files:
                return cls(group, files, _OomAlarm.set(files, group))
            _close_all(files.values())
        return None

    def read(self) -> GroupReading:
        """The counts of now, in microseconds; those of the last time for what is gone by now."""
        peak, cpu, kills = self._text(_PEAK), _cpu_seconds(self._text(_CPU)), self._kills()
        last = self._last
        self._last = GroupReading(
            memory_peak_bytes=int(peak) if peak.isdigit() else last.memory_peak_bytes,
            cpu_seconds=last.cpu_seconds if cpu is None else cpu,
            oom_kills=last.oom_kills if kills is None else kills,
        )
        return self._last

    def _kills(self) -> int | None:
        for line in self._text(_KILLS).splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
        return 1 if self._alarm is not None and self._alarm.rang else None

    def first_pid(self) -> int | None:
        """The container's first process, by its number on this host; None if it has none.

        None as well for a container with several: those of a kernel of its own (gVisor).
        """
        pids = self._pids()
        if len(pids) <= 1:
            return pids[0] if pids else None
        first = [pid for pid in pids if _is_first(pid)]
        return first[0] if len(first) == 1 else None

    def _pids(self) -> list[int]:
        return [int(line) for line in self._text(_PROCESSES).split() if line.isdigit()]

    def hasten_end(self) -> None:
        """Let all its processes die at once, after the first has been killed.

        They need processor time for it. A group that is at its quota would not get any for
        most of a second, and one of many groups on a busy host would wait for its turn.
        """
        for descriptor, word in self._levers:
            with contextlib.suppress(OSError):  # the group is gone
                os.write(descriptor, word)
        for pid in self._pids():
            with contextlib.suppress(OSError):  # dead, or not ours to kill
                os.kill(pid, signal.SIGKILL)

    @property
    def frozen(self) -> bool:
        """Whether the group is being kept from running."""
        first = _read(_ROOT / "freezer" / self._group / "freezer.state")
        return first.startswith("FR") or "frozen 1" in _read(_ROOT / self._group / "cgroup.events")

    def close(self) -> None:
        """Give the files back. May be called twice."""
        if self._alarm is not None:
            self._alarm.close()
        files, self._files = self._files, {}
        levers, self._levers = self._levers, ()
        _close_all([*files.values(), *(descriptor for descriptor, _ in levers)])

    def _text(self, name: str) -> str:
        descriptor = self._files.get(name)
        if descriptor is None:
            return ""
        try:
            return os.pread(descriptor, _BYTES, 0).decode("ascii").strip()
        except (OSError, UnicodeDecodeError):  # the group is gone
            return ""


class _OomAlarm:
    """Remembers a kill for memory past the end of the group (the first version of groups only).

    The kernel rings once for each such kill, and once more when the group goes.
    """

    def __init__(self, bell: int) -> None:
        self._bell: int | None = bell
        self._rings = 0

    @classmethod
    def set(cls, files: Mapping[str, int], group: str) -> Self | None:
        """On that group; None where the kernel has no such alarm."""
        control = _ROOT / "memory" / group / "cgroup.event_control"
        if _KILLS not in files or not control.exists():
            return None
        try:
            bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError:  # no descriptor is left, say
            return None
        try:
            control.write_text(f"{bell} {files[_KILLS]}", encoding="ascii")
        except OSError:
            os.close(bell)
            return None
        return cls(bell)

    @property
    def rang(self) -> bool:
        """Whether it did for a kill; to be asked when the group is gone."""
        if self._bell is not None:
            with contextlib.suppress(BlockingIOError):
                self._rings += os.eventfd_read(self._bell)
        return self._rings > 1

    def close(self) -> None:
        bell, self._bell = self._bell, None
        if bell is not None:
            os.close(bell)


def _places(group: str) -> Mapping[str, tuple[Path, Path]]:
    """Each file in the first and in the second version of control groups."""
    memory, cpu, unified = _ROOT / "memory" / group, _ROOT / "cpuacct" / group, _ROOT / group
    return MappingProxyType(
        {
            _PEAK: (memory / "memory.max_usage_in_bytes", unified / "memory.peak"),
            _KILLS: (memory / "memory.oom_control", unified / "memory.events"),
            _CPU: (cpu / "cpuacct.usage", unified / "cpu.stat"),
            _PROCESSES: (memory / "cgroup.procs", unified / "cgroup.procs"),
        }
    )


def _open_all(places: Mapping[str, tuple[Path, Path]]) -> dict[str, int]:
    return {name: descriptor for name, paths in places.items() for descriptor in _open_first(paths)}


def _open_first(paths: tuple[Path, Path]) -> Iterator[int]:
    for path in paths:
        try:
            yield os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        return


def _open_levers(group: str) -> tuple[tuple[int, bytes], ...]:
    found = []
    for name, word in _LEVERS:
        for folder in (_ROOT / "cpu" / group, _ROOT / group):
            with contextlib.suppress(OSError):
                found.append((os.open(folder / name, os.O_WRONLY | os.O_CLOEXEC), word))
    return tuple(found)


def _close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _cpu_seconds(text: str) -> float | None:
    if text.isdigit():  # nanoseconds, in the first version
        return int(text) / 1e9
    for line in text.splitlines():
        name, _, microseconds = line.partition(" ")
        if name == "usage_usec":
            return int(microseconds) / 1e6
    return None


def _is_first(pid: int) -> bool:
    """Whether it is number 1 among its own."""
    return any(
        line.startswith("NSpid:") and line.split()[-1] == "1"
        for line in _read(Path(f"/proc/{pid}/status")).splitlines()
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""

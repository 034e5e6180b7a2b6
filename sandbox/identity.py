"""Whose a container is: the labels that say so, and whether the process they name still lives."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

__all__ = ["OWNER_LABEL", "PROCESS_LABEL", "ProcessIdentity", "new_owner", "owner_labels"]

OWNER_LABEL: Final = "toolkiln.owner"
"""One sandbox of one process."""

PROCESS_LABEL: Final = "toolkiln.process"
"""The process that made the container, so that a later one can tell whether it is gone."""

_START_TIME_FIELD: Final = 19  # of /proc/PID/stat, counted after the name, which may hold anything


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, told apart from every other that had or will have its number."""

    machine: str
    boot: str
    pid_namespace: str
    pid: int
    start_ticks: int

    @classmethod
    def own(cls) -> Self | None:
        """Of this process; None where the host does not tell."""
        pid = os.getpid()
        start = _start_ticks(pid)
        machine, boot = _machine(), _read(Path("/proc/sys/kernel/random/boot_id"))
        if start is None or not machine or not boot:
            return None
        namespace = str(Path("/proc/self/ns/pid").readlink())
        return cls(machine, boot, namespace.strip("pid:[]"), pid, start)

    @classmethod
    def parse(cls, label: str) -> Self | None:
        """What a label says; None for one that this version did not write."""
        machine, _, rest = label.partition(" ")
        fields = rest.split(" ")
        if len(fields) != 4 or not (fields[2].isdecimal() and fields[3].isdecimal()):  # noqa: PLR2004
            return None
        return cls(machine, fields[0], fields[1], int(fields[2]), int(fields[3]))

    def __str__(self) -> str:
        return f"{self.machine} {self.boot} {self.pid_namespace} {self.pid} {self.start_ticks}"

    def is_gone(self, here: ProcessIdentity) -> bool:
        """Whether the process has certainly ended, as far as `here` can know.

        A process of another machine, or of another container's process numbers, is never
        judged: the engine may serve several.
        """
        if self.machine != here.machine:
            return False
        if self.boot != here.boot:
            return True
        if self.pid_namespace != here.pid_namespace:
            return False
        start = _start_ticks(self.pid)
        if start is None:  # hidden from this user, or this process has no descriptor left to look
            return not _exists(self.pid)
        return start != self.start_ticks


def new_owner() -> str:
    """A name for one sandbox, never used before."""
    return uuid.uuid4().hex


def owner_labels(owner: str) -> dict[str, str]:
    """The labels of every container that `owner` makes."""
    identity = ProcessIdentity.own()
    labels = {OWNER_LABEL: owner}
    return labels if identity is None else {**labels, PROCESS_LABEL: str(identity)}


def _start_ticks(pid: int) -> int | None:
    text = _read(Path(f"/proc/{pid}/stat"))
    fields = text.rpartition(")")[2].split()
    return int(fields[_START_TIME_FIELD]) if len(fields) > _START_TIME_FIELD else None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _machine() -> str:
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        if text := _read(Path(path)):
            return text
    return os.uname().nodename


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

"""Looks around in a sandbox, whoever's it is: guest source, read as text and never imported.

Sends nothing anywhere: whether there is a way out is asked of the routing table alone.
"""

from __future__ import annotations

import os
import socket
from typing import Any

_NOWHERE = ("192.0.2.1", 9)  # reserved for documents; asking for the way to it sends nothing
_TOLD_BY_PROC = (
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/sys/firmware",
)
_DISKS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "9p", "virtiofs", "fuse")
_OF_THE_CONTAINER = ("/", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
_UNLIMITED = 1 << 60


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123  as small as can be
            return file.read(1 << 20)
    except OSError:
        return ""


def _limit(*paths: str) -> int | str | None:
    """The limit that the first of these files tells; None where none of them is there."""
    for path in paths:
        text = _text(path).strip()
        if text == "max" or (text.isdigit() and int(text) >= _UNLIMITED):
            return "unlimited"
        if text.isdigit():
            return int(text)
    return None


def _cpus() -> float | str | None:
    quota, _, period = _text("/sys/fs/cgroup/cpu.max").strip().partition(" ")
    if not quota:
        quota = _text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").strip()
        period = _text("/sys/fs/cgroup/cpu/cpu.cfs_period_us").strip()
    if quota.isdigit() and period.isdigit():
        return int(quota) / int(period)
    return "unlimited" if quota else None


def _word(error: OSError) -> str:
    return "" if error.errno is None else os.strerror(error.errno)


def _way_out() -> str:
    """`route` where a packet would leave, else why it would not.

    The table of routes is asked too, because a filter may let some kinds of socket through.
    """
    if len(_text("/proc/net/route").splitlines()) > 1:
        return "route"
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(_NOWHERE)
    except OSError as error:
        return _word(error)
    return "route"


def _writable_root() -> bool:
    try:
        descriptor = os.open("/mark-of-the-probe", os.O_CREAT | os.O_WRONLY)
    except OSError:
        return False
    os.close(descriptor)
    os.unlink("/mark-of-the-probe")  # noqa: PTH108  as small as can be
    return True


def _interfaces() -> list[str] | None:
    """All but loopback; None where they cannot be seen."""
    lines = _text("/proc/net/dev").splitlines()
    names = (line.partition(":")[0].strip() for line in lines[2:])
    return sorted(name for name in names if name != "lo") if lines else None


def _mounts_of_the_host() -> list[str] | None:
    """Folders of the host's disk that can be written to, but for the files each container gets.

    None where they cannot be seen.
    """
    found = []
    lines = _text("/proc/self/mountinfo").splitlines()
    for line in lines:
        own, _, shared = line.partition(" - ")
        path, kind = own.split(" ")[4], shared.split(" ")[0]
        if path not in _OF_THE_CONTAINER and kind in _DISKS and os.access(path, os.W_OK):
            found.append(path)
    return sorted(found) if lines else None


def _readable(path: str) -> bool:
    """Whether it tells anything: a mask is an empty file or folder."""
    try:
        if os.path.isdir(path):  # noqa: PTH112  as small as can be
            return bool(os.listdir(path))  # noqa: PTH208  same
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        head = os.read(descriptor, 64)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return bool(head) and not head.startswith(b"0000000000000000")


def _can_fork() -> bool:
    try:
        child = os.fork()
    except OSError:
        return False
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True


def _processes() -> int | None:
    try:
        return sum(name.isdigit() for name in os.listdir("/proc"))  # noqa: PTH208  as above
    except OSError:
        return None


def probe() -> dict[str, Any]:
    """Everything that can be seen from here."""
    status = dict(
        line.split(":\t", 1) for line in _text("/proc/self/status").splitlines() if ":\t" in line
    )
    group = "/sys/fs/cgroup"
    return {
        "uid": os.getuid(),
        "capabilities": status.get("CapEff", "").strip(),
        "bounding": status.get("CapBnd", "").strip(),
        "no_new_privileges": status.get("NoNewPrivs", "").strip(),
        "seccomp": status.get("Seccomp", "").strip(),
        "interfaces": _interfaces(),
        "way_out": _way_out(),
        "writable_root": _writable_root(),
        "host_mounts": _mounts_of_the_host(),
        "memory_bytes": _limit(group + "/memory/memory.limit_in_bytes", group + "/memory.max"),
        "pids": _limit(group + "/pids/pids.max", group + "/pids.max"),
        "cpus": _cpus(),
        "engine_socket": any(
            os.access(path, os.F_OK) for path in ("/var/run/docker.sock", "/run/docker.sock")
        ),
        "environment": sorted(os.environ),
        "kernel": os.uname().release,
        "told_by_proc": [path for path in _TOLD_BY_PROC if _readable(path)],
        "can_fork": _can_fork(),
        "shell": os.access("/bin/sh", os.X_OK),
        "processes": _processes(),
    }

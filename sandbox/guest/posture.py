"""The walls as seen from inside: told before any byte of a tool has come in."""

# ruff: noqa: ANN001, ANN002, ANN201  annotations cost start time; types are plain
# ruff: noqa: PTH123  pathlib alone takes as long to load as the interpreter

import os
import resource
import sys
from _json import encode_basestring_ascii


def read_text(path):
    """What a file of the kernel's says, or nothing where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def read_number(*paths):
    """The number in the first of `paths` that has one."""
    for path in paths:
        text = read_text(path).strip()
        if text.isdigit():
            return int(text)
    return None


def read_cpus():
    """How many processors' worth of time the control group allows."""
    quota, _, period = read_text("/sys/fs/cgroup/cpu.max").strip().partition(" ")
    if not quota:
        quota = read_text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").strip()
        period = read_text("/sys/fs/cgroup/cpu/cpu.cfs_period_us").strip()
    if quota.isdigit() and period.isdigit():
        return int(quota) / int(period)
    return None


def read_mounts():
    """Options by path, those of the file system included; of mounts over mounts the topmost."""
    mounts = {}
    for line in read_text("/proc/self/mountinfo").splitlines():
        own, _, shared = line.partition(" - ")
        fields, tail = own.split(" "), shared.split(" ")
        path, of_mount, of_system = fields[4], fields[5].split(","), tail[2].split(",")
        options = {*of_mount, *of_system}
        if "ro" in options:
            options.discard("rw")
        mounts[path] = options
    return mounts


def read_interfaces():
    """Names of the network interfaces."""
    lines = read_text("/proc/net/dev").splitlines()[2:]
    return sorted(line.partition(":")[0].strip() for line in lines)


def read_rlimits():
    """The soft limits that the host asks about; -1 is unlimited."""
    names = ("as", "core", "cpu", "fsize", "msgqueue", "nofile", "nproc")
    return {
        name: resource.getrlimit(getattr(resource, "RLIMIT_" + name.upper()))[0] for name in names
    }


def read_posture(environment):
    """The walls as seen from inside."""
    status = dict(
        line.split(":\t", 1)
        for line in read_text("/proc/self/status").splitlines()
        if ":\t" in line
    )
    mounts = read_mounts()
    memory, shared = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
    swap = read_number(shared + "/memory.swap.max")
    limit = read_number(memory + "/memory.limit_in_bytes", shared + "/memory.max")
    if swap is not None and limit is not None:
        swap += limit
    host = os.uname()
    return {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": sorted(os.getgroups()),
        "capabilities_effective": status.get("CapEff", "?").strip(),
        "capabilities_bounding": status.get("CapBnd", "?").strip(),
        "no_new_privileges": status.get("NoNewPrivs", "0").strip() == "1",
        "seccomp_mode": int(status.get("Seccomp", "0")),
        "interfaces": read_interfaces(),
        "root_read_only": "ro" in mounts.get("/", ()),
        "writable_mounts": sorted(
            path + ":" + ",".join(sorted(options))
            for path, options in mounts.items()
            if "rw" in options
        ),
        "memory_limit_bytes": limit,
        "memory_and_swap_limit_bytes": swap
        if swap is not None
        else read_number(memory + "/memory.memsw.limit_in_bytes"),
        "pids_limit": read_number("/sys/fs/cgroup/pids/pids.max", shared + "/pids.max"),
        "cpus": read_cpus(),
        "oom_score_adjustment": int(read_text("/proc/self/oom_score_adj") or 0),
        "rlimits": read_rlimits(),
        "environment": sorted(environment),
        "hostname": host.nodename,
        "kernel": host.release,
        "python": ".".join(map(str, sys.version_info[:3])),
    }


def plain_json(value):
    """JSON of the posture's few kinds of value, without loading the json package."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ",".join(f"{plain_json(k)}:{plain_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(plain_json, value)) + "]"
    return encode_basestring_ascii(value) if isinstance(value, str) else repr(value)

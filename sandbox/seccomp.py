"""The system calls that a guest may make: an allow-list for a Python without a network.

Everything that is not named here answers EPERM. The list is for pure Python and its standard
library; it is narrower than the engine's default, which leaves `io_uring_setup`, `AF_VSOCK`,
`AF_NETLINK`, `ptrace`, `memfd_secret`, `vmsplice` and `personality` within reach even of a
process without any capability.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policies.value import JsonObject, canonical_json

__all__ = ["Group", "groups", "profile", "profile_text"]

_EPERM: Final = 1
_ENOSYS: Final = 38
_AF_UNIX: Final = 1
_AF_INET: Final = 2
_SOCK_STREAM: Final = 1
_SOCK_TYPE_MASK: Final = 0xF
"""The type of a socket without the flags that come with it."""

_CLONE_THREAD: Final = 0x0001_0000
_CLONE_NAMESPACES: Final = 0x7E02_0000
"""All `CLONE_NEW*` flags: a new namespace would hand the guest capabilities inside it."""


@dataclass(frozen=True)
class Group:
    """System calls that are allowed for one reason."""

    reason: str
    names: tuple[str, ...]


def _group(reason: str, names: str) -> Group:
    return Group(reason, tuple(names.split()))


_ALWAYS: Final = (
    _group(
        "a process begins, sets up its threads and memory, and ends",
        "arch_prctl brk execve exit exit_group futex get_robust_list madvise membarrier mincore "
        "mmap mprotect mremap msync munmap prctl restart_syscall rseq sched_getaffinity "
        "sched_yield set_robust_list set_tid_address getcpu",
    ),
    _group(
        "the runtime drops to the guest's user after the filter stands, on engines that "
        "do not set no-new-privileges first; without capabilities none of these changes anything",
        "capget capset setgid setgroups setresgid setresuid setuid",
    ),
    _group(
        "files are opened, read, written, looked at and listed",
        "access chdir close close_range copy_file_range dup dup2 dup3 faccessat faccessat2 "
        "fadvise64 fallocate fchdir fcntl fdatasync flock fstat fstatfs fsync ftruncate getcwd "
        "getdents getdents64 ioctl lseek lstat newfstatat open openat pread64 preadv pwrite64 "
        "pwritev read readlink readlinkat readv sendfile stat statfs statx truncate umask write "
        "writev",
    ),
    _group(
        "names and modes are changed in the one folder that can be written",
        "chmod fchmod fchmodat fchmodat2 fchown link linkat mkdir mkdirat rename renameat "
        "renameat2 rmdir symlink symlinkat unlink unlinkat utimensat",
    ),
    _group(
        "event loops wait; a pair of connected sockets wakes them (`socket` itself stands below)",
        "epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd2 "
        "getsockname getsockopt pipe pipe2 poll ppoll pselect6 recvfrom recvmsg select sendmsg "
        "sendto setsockopt shutdown timerfd_create timerfd_gettime timerfd_settime",
    ),
    _group(
        "clocks are read and waited for; none can be set",
        "alarm clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep pause "
        "setitimer time times",
    ),
    _group(
        "signals are handled, and sent to one's own threads",
        "rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait "
        "sigaltstack tgkill tkill",
    ),
    _group(
        "a process asks who it is and what it used",
        "getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getrandom getresgid "
        "getresuid getrlimit getrusage getsid gettid getuid sysinfo uname",
    ),
)

_PROCESSES: Final = (
    _group(
        "subprocesses are started, led, waited for and ended",
        "fork kill setpgid setsid vfork wait4 waitid",
    ),
)

_SOCKETS: Final = (
    _group(
        "clients speak to the proxy, which listens on loopback; there is no other interface",
        "accept accept4 bind connect getpeername listen",
    ),
)


_FORK_SERVER: Final = (
    _group(
        "a fork server waits for one process among others, and walls its children in further",
        "landlock_add_rule landlock_create_ruleset landlock_restrict_self pidfd_open",
    ),
    _group("it lowers the limits of its children", "prlimit64 setrlimit"),
)

_LOWERED_LIMITS: Final = (3, 4, 7, 9)
"""Of the stack, of core dumps, of open files, and of the address space."""


def groups(
    *, processes: bool, sockets: bool = False, fork_server: bool = False
) -> tuple[Group, ...]:
    """The groups that are allowed without a condition on their arguments."""
    return (
        *_ALWAYS,
        *(_PROCESSES if processes else ()),
        *(_SOCKETS if sockets else ()),
        *(_FORK_SERVER if fork_server else ()),
    )


def profile(
    *,
    processes: bool,
    sockets: bool = False,
    lacks_clone3: bool = False,
    fork_server: bool = False,
) -> JsonObject:
    """The filter in the engine's format.

    With `processes` a guest may fork, though never into a new namespace; without, `clone` makes
    threads only. `clone3` answers ENOSYS in both, since its flags lie in memory, where a filter
    cannot see them: the C library then falls back to `clone`. With `sockets` it may open stream
    sockets of IPv4, and none of any other family or type. gVisor `lacks_clone3` and says ENOSYS
    by itself; from a filter it takes EPERM alone, which the C library does not fall back from.
    A `fork_server` may do what its children, behind a filter of their own, may not. Nobody else
    may change the limit on processor time: with it a first process could have itself killed as
    only somebody outside can, and the call would count as lost.
    """
    mask, value = (_CLONE_NAMESPACES, 0) if processes else (_CLONE_THREAD, _CLONE_THREAD)
    rules: list[JsonObject] = [
        {"names": [*sorted(group.names)], "action": "SCMP_ACT_ALLOW"}
        for group in groups(processes=processes, sockets=sockets, fork_server=fork_server)
    ]
    rules += [
        {
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}],
        },
        _CLONE3_LET_THROUGH if lacks_clone3 else _CLONE3_REFUSED,
        {
            "names": ["socketpair"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": _AF_UNIX, "op": "SCMP_CMP_EQ"}],
        },
    ]
    if sockets:
        rules.append(_stream_sockets())
    if not fork_server:
        rules += _limits()
    document: JsonObject = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        # No sub-architectures: 32-bit entry points would be a second, unfiltered table.
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
        ],
        "syscalls": [*rules],
    }
    return document


_CLONE3_REFUSED: Final[JsonObject] = {
    "names": ["clone3"],
    "action": "SCMP_ACT_ERRNO",
    "errnoRet": _ENOSYS,
}
_CLONE3_LET_THROUGH: Final[JsonObject] = {"names": ["clone3"], "action": "SCMP_ACT_ALLOW"}


def _limits() -> list[JsonObject]:
    """Limits are read, and some are lowered; the whole register is compared, not half of it."""
    conditions: list[JsonObject] = [{"index": 2, "value": 0, "op": "SCMP_CMP_EQ"}]  # reading
    conditions += [{"index": 1, "value": limit, "op": "SCMP_CMP_EQ"} for limit in _LOWERED_LIMITS]
    return [
        {"names": ["prlimit64"], "action": "SCMP_ACT_ALLOW", "args": [condition]}
        for condition in conditions
    ]


def _stream_sockets() -> JsonObject:
    family: JsonObject = {"index": 0, "value": _AF_INET, "op": "SCMP_CMP_EQ"}
    kind: JsonObject = {
        "index": 1,
        "value": _SOCK_TYPE_MASK,
        "valueTwo": _SOCK_STREAM,
        "op": "SCMP_CMP_MASKED_EQ",
    }
    return {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [family, kind]}


def profile_text(
    *,
    processes: bool,
    sockets: bool = False,
    lacks_clone3: bool = False,
    fork_server: bool = False,
) -> str:
    """`profile` as the text of a `seccomp=` option; the same bytes every time."""
    document = profile(
        processes=processes,
        sockets=sockets,
        lacks_clone3=lacks_clone3,
        fork_server=fork_server,
    )
    return canonical_json(document).decode()

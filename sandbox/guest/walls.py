"""The walls that the child of the fork server builds around itself before it takes a call.

They stand inside those of the container, which must let the fork server do what its children
may not: start processes, and change users. All of them are inherited by whatever the child
starts, and none can be taken down again.
"""

# ruff: noqa: ANN001, ANN201, ANN204  annotations cost start time; types are plain

import os
import struct

PR_SET_DUMPABLE, PR_CAPBSET_DROP = 4, 24
CAPABILITIES = 64
CAPABILITY_VERSION = 0x20080522
KILL_SETGID_SETUID = 1 << 5 | 1 << 6 | 1 << 7

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
ASK_VERSION = 1
PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
RIGHTS_BY_VERSION = (0, 13, 14, 15, 15, 16)
"""How many rights on files each version of Landlock knows; later ones know as many as the last."""

NET_SINCE, SCOPE_SINCE = 4, 6
TCP_BIND_CONNECT, ABSTRACT_SOCKETS_SIGNALS = 3, 3

CLOSED_FOLDERS = ("dev", "proc", "run", "sys", "tmp")
"""Those of the root folder of which a tool sees only what is named below."""

DEVICES = ("/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero")
READABLE = ("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu")
"""What a tool may want to know of the machine, and what tells nothing of earlier calls."""


def drop_privileges(native, machine):
    """Keep what a fork server needs, and let nobody have more, ever."""
    for capability in range(CAPABILITIES):
        native.prctl(PR_CAPBSET_DROP, capability)
    header = struct.pack("=II", CAPABILITY_VERSION, 0)
    low = KILL_SETGID_SETUID
    native.syscall(NUMBERS[machine]["capset"], header, struct.pack("=6I", low, low, 0, 0, 0, 0))
    native.prctl(PR_SET_DUMPABLE, 0)


class Landlock:
    """Which files a child may reach; the paths are opened once, for all children."""

    def __init__(self, native, *, sockets):
        self.native = native
        self.version = max(native.syscall(CREATE_RULESET, None, 0, ASK_VERSION), 0)
        rights = RIGHTS_BY_VERSION[min(self.version, len(RIGHTS_BY_VERSION) - 1)]
        every = (1 << rights) - 1
        network = TCP_BIND_CONNECT if self.version >= NET_SINCE and not sockets else 0
        scopes = ABSTRACT_SOCKETS_SIGNALS if self.version >= SCOPE_SINCE else 0
        self.attributes = struct.pack("=QQQ", every, network, scopes)
        self.attributes_size = 24 if scopes else 16 if network else 8
        self.rules = []
        if self.version:
            self.allow("/tmp", every & ~(EXECUTE | MAKE_CHAR | MAKE_BLOCK))  # noqa: S108
            for name in sorted(os.listdir("/")):  # noqa: PTH208  pathlib costs start time
                if name not in CLOSED_FOLDERS:
                    self.allow("/" + name, EXECUTE | READ_FILE | READ_DIR)
            for path in DEVICES:
                self.allow(path, READ_FILE | WRITE_FILE)
            for path in READABLE:
                self.allow(path, READ_FILE | READ_DIR)

    def allow(self, path, rights):
        """Let children do that to `path` and what lies beneath."""
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        if not os.path.isdir(path):  # noqa: PTH112  pathlib alone takes as long as all of this
            rights &= ~READ_DIR
        self.rules.append(struct.pack("=Qi", rights, descriptor))

    def steps(self, free):
        """What closes everything but the allowed to whoever takes them all.

        `free` is the lowest descriptor that is not in use by then.
        """
        if not self.version:
            return []
        step, own = self.native.syscall_step, free + 1
        rights = struct.pack("=Qi", READ_FILE | READ_DIR, own)
        return [
            step(CREATE_RULESET, self.attributes, self.attributes_size, 0),
            *(step(ADD_RULE, free, PATH_BENEATH, rule, 0) for rule in self.rules),
            (os.open, ("/proc/self", os.O_PATH)),
            step(ADD_RULE, free, PATH_BENEATH, rights, 0),
            step(RESTRICT_SELF, free, 0),
        ]


NUMBERS = {
    "x86_64": {
        "audit": 0xC000003E,
        "open": (2,),
        "openat": (257,),
        "clone": 56,
        "fork": (57, 58, 62),  # fork, vfork, kill
        "users": (105, 106, 113, 114, 116, 117, 119, 126),
        "fcntl": 72,
        "server": (434, 444, 445, 446),
        "capset": 126,
    },
    "aarch64": {
        "audit": 0xC00000B7,
        "open": (),
        "openat": (56,),
        "clone": 220,
        "fork": (129,),  # kill
        "users": (91, 143, 144, 145, 146, 147, 149, 159),
        "fcntl": 25,
        "server": (434, 444, 445, 446),
        "capset": 91,
    },
}
"""System calls by machine: their numbers, for the few that the filter names."""

LOAD, JUMP_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM, EOPNOTSUPP = 1, 95
NUMBER_AT, MACHINE_AT, ARGUMENT_AT = 0, 4, 16
CLONE_THREAD = 0x10000
TEMPORARY_FILE = 0x400000
SET_PIPE_SIZE = 1031


class Filter:
    """A program of the kernel's packet filter, written from its end."""

    def __init__(self):
        self.steps = []

    def add(self, code, constant, yes=0, no=0):
        """One more step."""
        self.steps.append(struct.pack("=HBBI", code, yes, no, constant & 0xFFFFFFFF))

    def refuse(self, number, error=EPERM):
        """Answer a system call with an error, whatever its arguments."""
        self.add(JUMP_EQUAL, number, 0, 1)
        self.add(RETURN, REFUSE | error)

    def refuse_bits(self, number, argument, bits, error, *, unset=False):
        """Answer it with an error when an argument has, or lacks, one of `bits`."""
        self.add(JUMP_EQUAL, number, 0, 4)
        self.add(LOAD, ARGUMENT_AT + 8 * argument)
        self.add(JUMP_SET, bits, int(unset), int(not unset))
        self.add(RETURN, REFUSE | error)
        self.add(RETURN, ALLOW)

    def refuse_value(self, number, argument, value, error):
        """Answer it with an error when an argument is `value`."""
        self.add(JUMP_EQUAL, number, 0, 4)
        self.add(LOAD, ARGUMENT_AT + 8 * argument)
        self.add(JUMP_EQUAL, value, 0, 1)
        self.add(RETURN, REFUSE | error)
        self.add(RETURN, ALLOW)

    @property
    def program(self):
        """Its bytes."""
        return b"".join(self.steps)


def system_call_filter(machine, *, processes):
    """What a child may not do although the container may.

    Files without a name leave a trace in the numbers of later files; the size of a pipe
    outlives the process that set it.
    """
    numbers = NUMBERS[machine]
    made = Filter()
    made.add(LOAD, MACHINE_AT)
    made.add(JUMP_EQUAL, numbers["audit"], 1, 0)
    made.add(RETURN, KILL)
    made.add(LOAD, NUMBER_AT)
    for number in numbers["openat"]:
        made.refuse_bits(number, 2, TEMPORARY_FILE, EOPNOTSUPP)
    for number in numbers["open"]:
        made.refuse_bits(number, 1, TEMPORARY_FILE, EOPNOTSUPP)
    made.refuse_value(numbers["fcntl"], 1, SET_PIPE_SIZE, EPERM)
    if not processes:
        made.refuse_bits(numbers["clone"], 0, CLONE_THREAD, EPERM, unset=True)
    for number in (*numbers["users"], *numbers["server"], *(() if processes else numbers["fork"])):
        made.refuse(number)
    made.add(RETURN, ALLOW)
    return made.program

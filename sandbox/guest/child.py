"""The process of one call: it walls itself in, takes the arguments, answers, and ends."""

# ruff: noqa: ANN001, ANN201, ANN204  annotations cost start time; types are plain

import gc
import json
import os
import resource

from toolkiln_guest.calls import answer, flush
from toolkiln_guest.channel import ARGUMENTS, GRANTS, POSTURE, Inbox, Reader, write_frame
from toolkiln_guest.posture import plain_json, read_posture, read_rlimits, read_text
from toolkiln_guest.program import Program
from toolkiln_guest.results import ResultEncoder
from toolkiln_guest.services import Granted
from toolkiln_guest.walls import install_filter

INCOMING, OUTGOING = 3, 4
LAST_CLOSED = 4096
OOM_SCORE = b"1000"
EXIT_UNWALLED = 71
CLOSED_FILES = ("/proc/1/stat", "/sys/fs/cgroup", "/run/toolkiln")
"""What Landlock must keep from a child, all of it readable without."""

REHEARSAL = Program('def f(a):\n    return {"sum": a}\n', "f")


class Child:
    """What every child does first; made once, by the fork server."""

    def __init__(self, native, landlock, program, *, first_user, limits):
        self.native = native
        self.landlock = landlock
        self.filter = program
        self.first_user = first_user
        self.limits = limits

    def become(self):
        """Be somebody else, whom no other process ever was, with pipes of one's own."""
        open_own_ends()
        go_first_when_memory_ends()
        os.setsid()
        user = self.first_user + os.getpid()
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)

    def close_in(self):
        """Put up the walls that no process can take down."""
        self.landlock.build()
        os.closerange(OUTGOING + 1, LAST_CLOSED)
        for name, values in self.limits:
            resource.setrlimit(name, values)
        if not install_filter(self.native, self.filter):
            os._exit(EXIT_UNWALLED)
        self.native = self.landlock = self.filter = None

    def serve(self, program, encoder):
        """Take one call and answer it."""
        self.become()
        self.close_in()
        rehearse()
        gc.freeze()  # the collector counts from zero, whatever there was before
        one_call(program, encoder)


def open_own_ends():
    """Open the pipes anew: flags that a tool sets on its ends end with it."""
    for path, flags, target in (
        ("/dev/null", os.O_RDONLY, 0),
        ("/proc/self/fd/1", os.O_WRONLY, 1),
        ("/proc/self/fd/3", os.O_RDONLY, INCOMING),
        ("/proc/self/fd/4", os.O_WRONLY, OUTGOING),
    ):
        own = os.open(path, flags)
        os.dup2(own, target, target < INCOMING)
        os.close(own)
    os.dup2(1, 2)


def go_first_when_memory_ends():
    """The kernel shall end this process rather than the fork server."""
    score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    os.write(score, OOM_SCORE)
    os.close(score)


def one_call(program, encoder):
    """Take the grants, if there are any, and the arguments; answer; end."""
    process = os.getpid()
    source, granted = Reader(INCOMING), Granted()
    take = source.read
    while True:
        kind, call, payload = take()
        content = json.loads(payload)
        if kind == GRANTS:
            inbox = Inbox(INCOMING)
            inbox.reader = source
            inbox.hand_over()
            take = inbox.get
            granted.open(content, lambda kind, data: write_frame(OUTGOING, kind, 0, data), inbox)
        elif kind == ARGUMENTS:
            kind, reply = answer(program, content, encoder, granted)
            flush()
            if os.getpid() == process:  # else a child that the tool forked came back
                write_frame(OUTGOING, kind, call, reply)
            os._exit(0)


def rehearse():
    """Do once what a call does: it makes the pages its own before anybody waits for it."""
    answer(REHEARSAL, json.loads('{"a": [1.5, "x"]}'), ResultEncoder(8), Granted())


def attest(child, environment):
    """Tell the walls as a child sees them, before the fork server has had anything of a tool."""
    child.become()
    posture = read_posture(environment)
    child.close_in()
    posture["rlimits"] = read_rlimits()
    status = read_text("/proc/self/status")
    posture["landlock"] = bool(status) and not any(map(readable, CLOSED_FILES))
    posture["seccomp_filters"] = int(status.partition("Seccomp_filters:")[2].split()[0])
    write_frame(OUTGOING, POSTURE, 0, plain_json(posture).encode())
    os._exit(0)


def readable(path):
    """Whether this process may open a file or folder."""
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return False
    return True

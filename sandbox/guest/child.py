"""The process of one call: it walls itself in, takes the arguments, answers, and ends."""

# ruff: noqa: ANN001, ANN201, ANN204  annotations cost start time; types are plain

import json
import os
import resource
import sys

from toolkiln_guest.calls import answer, flush
from toolkiln_guest.channel import ARGUMENTS, GRANTS, POSTURE, Inbox, Reader, write_frame
from toolkiln_guest.posture import plain_json, read_posture
from toolkiln_guest.program import Program
from toolkiln_guest.results import ResultEncoder
from toolkiln_guest.services import Granted
from toolkiln_guest.walls import install_filter

INCOMING, OUTGOING = 3, 4
FIRST_CLOSED, LAST_CLOSED = 5, 4096
OOM_SCORE = b"1000"


class Child:
    """What every child does first; made once, by the fork server."""

    def __init__(self, native, landlock, program, *, first_user, limits):
        self.native = native
        self.landlock = landlock
        self.filter = program
        self.first_user = first_user
        self.limits = limits

    def close_in(self, number):
        """Become somebody else, with no way to the fork server; whether Landlock stands."""
        self.open_own_ends()
        self.go_first_when_memory_ends()
        os.setsid()
        user = self.first_user + number
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        for name, values in self.limits:
            resource.setrlimit(name, values)
        locked = self.landlock.build()
        os.closerange(FIRST_CLOSED, LAST_CLOSED)
        if not install_filter(self.native, self.filter):
            os._exit(71)
        self.native = self.landlock = self.filter = None
        return locked

    def open_own_ends(self):
        """Open the pipes anew: flags that a tool sets on its ends end with it."""
        for path, flags, target, inherited in (
            ("/dev/null", os.O_RDONLY, 0, True),
            ("/proc/self/fd/1", os.O_WRONLY, 1, True),
            (f"/proc/self/fd/{INCOMING}", os.O_RDONLY, INCOMING, False),
            (f"/proc/self/fd/{OUTGOING}", os.O_WRONLY, OUTGOING, False),
        ):
            own = os.open(path, flags)
            os.dup2(own, target, inherited)
            os.close(own)
        os.dup2(1, 2)

    def go_first_when_memory_ends(self):
        """The kernel shall end this process rather than the fork server."""
        try:
            score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        except OSError:
            return
        try:
            os.write(score, OOM_SCORE)
        finally:
            os.close(score)

    def serve(self, number, program, encoder):
        """Take one call and answer it."""
        self.close_in(number)
        rehearse()
        one_call(program, encoder)


def one_call(program, encoder):
    """Take the grants, if there are any, and the arguments; answer; end."""
    process = os.getpid()
    source, granted = Reader(INCOMING), Granted()
    while True:
        kind, call, payload = source.read() if isinstance(source, Reader) else source.get()
        content = json.loads(payload)
        if kind == GRANTS:
            inbox = Inbox(INCOMING)
            inbox.reader = source
            inbox.hand_over()
            source = inbox
            granted.open(content, lambda kind, data: write_frame(OUTGOING, kind, 0, data), inbox)
        elif kind == ARGUMENTS:
            kind, reply = answer(program, content, encoder, granted)
            flush()
            if os.getpid() == process:  # else a child that the tool forked came back
                write_frame(OUTGOING, kind, call, reply)
            os._exit(0)


REHEARSAL = Program('def f(a):\n    return {"sum": a}\n', "f")


def rehearse():
    """Do once what a call does: it makes the pages its own before anybody waits for it."""
    encoder = ResultEncoder(8)
    answer(REHEARSAL, json.loads('{"a": [1.5, "x"]}'), encoder, Granted())
    sys.modules.pop("tool", None)


def attest(child, number, environment):
    """Tell the walls as a child sees them, before the fork server has had anything of a tool."""
    locked = child.close_in(number)
    posture = read_posture(environment)
    posture["landlock"] = locked
    write_frame(OUTGOING, POSTURE, 0, plain_json(posture).encode())
    os._exit(0)

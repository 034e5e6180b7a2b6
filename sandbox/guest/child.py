"""The process of one call: it walls itself in, takes the arguments, answers, and ends.

A child shares its memory with the fork server until one of them writes to it. Python writes
whenever it looks at an object, and each page so copied takes the kernel some 2 microseconds,
more than anything else does here. So what every child does is prepared and tried beforehand in
the server: steps that are a function and its arguments, code that has been through its warming,
classes whose attributes have been looked up.
"""

# ruff: noqa: ANN001, ANN201, ANN204  annotations cost start time; types are plain

import gc
import json
import os
import resource
import select

from toolkiln_guest.calls import answer, flush
from toolkiln_guest.channel import ARGUMENTS, POSTURE, Reader, write_frame
from toolkiln_guest.posture import plain_json, read_posture, read_rlimits, read_text
from toolkiln_guest.program import Program
from toolkiln_guest.results import ResultEncoder
from toolkiln_guest.services import Granted

INCOMING, OUTGOING = 3, 4
FIRST_FREE = 5
"""From here on a child has nothing open when it takes its call."""

OWN_PRINT, OWN_IN, OWN_OUT = 7, 8, 9
"""Where the fork server keeps the pipes that a child opens anew."""

LAST_CLOSED = 4096
OOM_SCORE = b"1000"
EXIT_UNWALLED = 71
CLOSED_FILES = ("/proc/1/stat", "/sys/fs/cgroup", "/run/toolkiln")
"""What Landlock must keep from a child, all of it readable without."""

REHEARSAL = Program('def f(a):\n    return {"sum": a}\n', "f")
REHEARSED = b'{"a":[1.5,"x"]}'
REHEARSAL_ENCODER = ResultEncoder(8)
ENOUGH = 40
"""After so many rounds the interpreter changes nothing of a function any more."""

NOTHING_GRANTED = Granted()
decode = json.JSONDecoder().raw_decode


def take(steps):
    """Do all of them; without one of them there is no call."""
    for function, arguments in steps:
        if function(*arguments) == -1:
            os._exit(EXIT_UNWALLED)


class Child:
    """What every child does first; made once, by the fork server."""

    def __init__(self, native, landlock, program, *, first_user, cpu_seconds):
        self.first_user = first_user
        self.filter = program
        self.first = first_steps()
        self.walls = [
            *landlock.steps(FIRST_FREE),
            (os.closerange, (FIRST_FREE, LAST_CLOSED)),
            (resource.setrlimit, (resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))),
            native.filter_step(program),
        ]
        self.walls.append((len, (self.walls,)))  # see `close_in`
        self.arrivals = select.poll()
        self.arrivals.register(INCOMING, select.POLLIN)

    def become(self):
        """Be somebody else, whom no other process ever was, with pipes of one's own."""
        take(self.first)
        user = self.first_user + os.getpid()
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)

    def close_in(self):
        """Put up the walls that no process can take down.

        The way to the kernel that the steps hold must not be found in the frames of those who
        call a tool. The list holds itself, so nothing is freed when it is let go: to free
        would be to write.
        """
        take(self.walls)
        self.walls = None

    def serve(self, program, encoder, reader):
        """Take one call and answer it."""
        self.become()
        self.close_in()
        if not self.arrivals.poll(0):
            rehearse()  # nobody waits yet: make those pages one's own now
        gc.freeze()  # the collector counts from zero, whatever there was before
        one_call(program, encoder, reader, OUTGOING)
        os._exit(0)


def first_steps():
    """Pipes opened anew, since flags that a tool sets on its ends end with it; and other marks.

    A new descriptor is the lowest that is free, so each of these is known beforehand.
    """
    score = FIRST_FREE
    return [
        (os.closerange, (0, OWN_PRINT)),
        (os.open, ("/dev/null", os.O_RDONLY)),
        (os.open, (f"/proc/self/fd/{OWN_PRINT}", os.O_WRONLY)),
        (os.dup2, (1, 2)),
        (os.open, (f"/proc/self/fd/{OWN_IN}", os.O_RDONLY)),
        (os.open, (f"/proc/self/fd/{OWN_OUT}", os.O_WRONLY)),
        (os.set_inheritable, (0, True)),
        (os.set_inheritable, (1, True)),
        # The kernel shall end this process rather than the fork server.
        (os.open, ("/proc/self/oom_score_adj", os.O_WRONLY)),
        (os.write, (score, OOM_SCORE)),
        (os.close, (score,)),
        (os.setsid, ()),
        (os.setgroups, ((),)),
    ]


def one_call(program, encoder, reader, outgoing):
    """Take the arguments of a call and answer it."""
    process = os.getpid()
    _, call, payload = reader.read()
    kind, reply = answer(program, decode(payload.decode())[0], encoder, NOTHING_GRANTED)
    flush()
    if os.getpid() == process:  # else a child that the tool forked came back
        write_frame(outgoing, kind, call, reply)


def rehearse():
    """Do once what a call does: it makes the pages its own before anybody waits for it."""
    answer(REHEARSAL, decode(REHEARSED.decode())[0], REHEARSAL_ENCODER, NOTHING_GRANTED)


def warm_up():
    """Do in the server, often enough, what each child will do, as far as it may be done there."""
    incoming, arguments = os.pipe()
    answers, outgoing = os.pipe()
    reader = Reader(incoming)
    for _ in range(ENOUGH):
        take(((abs, (1,)), (len, ("ab",))))
        rehearse()
        write_frame(arguments, ARGUMENTS, 1, REHEARSED)
        one_call(REHEARSAL, REHEARSAL_ENCODER, reader, outgoing)
        os.read(answers, 100)
    for end in (incoming, arguments, answers, outgoing):
        os.close(end)


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

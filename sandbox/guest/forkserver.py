"""The first process of a warm container: it starts a fresh process for each call.

It keeps the compiled program and nothing of any call: arguments go past it, from the host to
the child, and it does not even count. What it says goes over pipes of its own, which no child
can reach, so the host can believe that a call is over and what was left of it.
"""

# ruff: noqa: ANN001, ANN201, ANN204  annotations cost start time; types are plain

import gc
import json
import os
import resource
import select
import signal
import struct
import sys
import time

sys.path.insert(0, "/opt/harness")

from toolkiln_guest.channel import (
    END,
    FOLDER,
    POSTURE,
    PROGRAM,
    Reader,
    write_frame,
)
from toolkiln_guest.child import ENOUGH, INCOMING, Child, attest, warm_up
from toolkiln_guest.imports import load_modules
from toolkiln_guest.native import Native
from toolkiln_guest.packages import offer_packages
from toolkiln_guest.posture import plain_json, read_posture, read_text
from toolkiln_guest.program import Program
from toolkiln_guest.results import ResultEncoder
from toolkiln_guest.walls import Landlock, drop_privileges, system_call_filter

REPORT = struct.Struct(">iBIQ")
"""Of an END frame: wait status, flags, largest memory in KiB, processor time in microseconds."""

FOLDER_USED, MORE_PROCESSES, OUT_OF_MEMORY = 1, 2, 4
"""Flags: what a later call could see, and why the process was killed."""

MAY_START_PROCESSES, MAY_OPEN_SOCKETS = 1, 2
EXIT_CPU_LIMIT = 152  # 128 + SIGXCPU
EXIT_CONFUSED = 70
CONTROL_IN, CONTROL_OUT = 5, 6
HIGH = 40
"""From here on descriptors are out of the way while the low ones are put in order."""

SCRATCH_OBJECTS = 64
THREAD_SECONDS = 0.0005


def stop_for_cpu(_number, _frame):
    """The soft limit on processor time is used up."""
    os._exit(EXIT_CPU_LIMIT)


def count_memory_kills():
    """How many processes of this container the kernel has killed for memory."""
    for path in ("/sys/fs/cgroup/memory/memory.oom_control", "/sys/fs/cgroup/memory.events"):
        for line in read_text(path).splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0


class ForkServer:
    """Starts a process for each call, and ends everything that it leaves."""

    def __init__(self, control_in, control_out):
        self.control_in = control_in
        self.control_out = control_out
        self.poller = select.poll()
        self.poller.register(control_in, select.POLLIN)
        self.load = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
        self.folder_changed = os.stat("/tmp").st_ctime_ns  # noqa: PTH116, S108
        self.memory_kills = count_memory_kills()

    def perform(self, work):
        """Have a new process do `work`, wait until nothing of it is left, and tell the host."""
        write_frame(self.control_out, END, 0, self.carry_out(work))

    def carry_out(self, work):
        """Have a new process do `work`; how it went, when nothing of it is left."""
        pid = os.fork()
        if pid == 0:
            try:
                work()
            finally:
                os._exit(EXIT_CONFUSED)
        self.wait(pid)
        _, status, usage = os.wait4(pid, 0)
        seconds = usage.ru_utime + usage.ru_stime + self.end_others()
        flags = self.look_around(pid, status)
        return REPORT.pack(status, flags, usage.ru_maxrss, int(seconds * 1e6))

    def wait(self, pid):
        """Wait for the end of that process, or for that of the host."""
        process = os.pidfd_open(pid)
        self.poller.register(process, select.POLLIN)
        ready = self.poller.poll()
        if ready != [(process, select.POLLIN)]:
            os._exit(0)  # the host has ended: it sends nothing else while a call runs
        self.poller.unregister(process)
        os.close(process)

    def end_others(self):
        """Kill whatever else runs here and wait until none of it is left; what time it used."""
        seconds = 0.0
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:  # there is nobody, as there should be
            return seconds
        try:
            while True:
                usage = os.wait4(-1, 0)[2]
                seconds += usage.ru_utime + usage.ru_stime
        except ChildProcessError:
            return seconds

    def look_around(self, pid, status):
        """What the call has changed that a later one could see, and whether memory ran out."""
        flags = 0
        if os.stat("/tmp").st_ctime_ns != self.folder_changed:  # noqa: PTH116, S108
            flags |= FOLDER_USED
        if int(os.pread(self.load, 100, 0).rpartition(b" ")[2]) != pid:
            flags |= MORE_PROCESSES  # threads have numbers as well, and the next one is seen
        if status and count_memory_kills() != self.memory_kills:
            flags |= OUT_OF_MEMORY
        return flags

    def wait_for_host(self):
        """Until the host wants another call; ends everything when the host has ended."""
        if not os.read(self.control_in, 1):
            os._exit(0)


def forget():
    """Write over the freed objects that held what the last call used, and over the count of them.

    The child is a copy of this process, down to its unused memory.
    """
    for value in range(SCRATCH_OBJECTS):
        value + 0.5, value + 10**6
    gc.freeze()


def skip_numbers():
    """Use up some process numbers, so that a number does not tell how many calls came before."""
    import _thread  # noqa: PLC0415  needed here only

    for _ in range(os.urandom(1)[0]):
        try:
            _thread.start_new_thread(int, ())
        except RuntimeError:  # as many at once as may be
            time.sleep(THREAD_SECONDS)
    os._exit(0)


def open_ends():
    """The two pipes of this process; those of its children lie where each expects them."""
    nothing = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    control_out = os.open(FOLDER + "control-out", os.O_WRONLY | os.O_CLOEXEC)
    control_in = os.open(FOLDER + "control-in", os.O_RDONLY | os.O_CLOEXEC)
    outgoing = os.open(FOLDER + "out", os.O_WRONLY | os.O_CLOEXEC)
    incoming = os.open(FOLDER + "in", os.O_RDONLY | os.O_CLOEXEC)
    printed = os.open(FOLDER + "print", os.O_WRONLY | os.O_CLOEXEC)
    own = (printed, incoming, outgoing)  # `OWN_PRINT` and those after it
    ends = (nothing, printed, printed, incoming, outgoing, control_in, control_out, *own)
    high = [os.dup2(end, HIGH + place, inheritable=False) for place, end in enumerate(ends)]
    for place, end in enumerate(high):
        os.dup2(end, place, place < INCOMING)
    os.closerange(len(ends), HIGH + len(ends))
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    return CONTROL_IN, CONTROL_OUT


def take_program(reader):
    """The program that all calls are of, compiled, with what it imports of the library."""
    kind, _, payload = reader.read()
    if kind != PROGRAM:
        os._exit(EXIT_CONFUSED)
    content = json.loads(payload)
    program = Program(content["code"], content["function"])
    try:
        program.compile()
        load_modules(program.source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        program.code = None  # each call will say so
    return program, ResultEncoder(content["max_depth"])


def end_at_once():
    """What the child of a rehearsal does."""
    os._exit(0)


def make_child(first_user, cpu_seconds, processes, open_files, flags):
    """Give up what is not needed; what children do first, with all that they need for it.

    The way to the kernel stays in here: a tool can look into the frames of those who called it.
    """
    native = Native()
    machine = os.uname().machine
    drop_privileges(native, machine)
    for name, most in ((resource.RLIMIT_NPROC, processes), (resource.RLIMIT_NOFILE, open_files)):
        # What is open already stays so, and the number of user 0's processes has no limit.
        resource.setrlimit(name, (most, most))
    return Child(
        native,
        Landlock(native, sockets=bool(flags & MAY_OPEN_SOCKETS)),
        system_call_filter(machine, processes=bool(flags & MAY_START_PROCESSES)),
        first_user=first_user,
        cpu_seconds=cpu_seconds,
    )


def main():
    """Tell the walls, show those of a child, then serve."""
    address_space, *demands = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    signal.signal(signal.SIGXCPU, stop_for_cpu)
    environment = list(os.environ)
    os.environ.clear()
    sys.argv[:] = ["tool"]
    offer_packages()
    control_in, control_out = open_ends()
    child = make_child(*demands)
    write_frame(control_out, POSTURE, 0, plain_json(read_posture(environment)).encode())
    server = ForkServer(control_in, control_out)
    server.carry_out(skip_numbers)
    server.perform(lambda: attest(child, environment))
    warm_up()
    program, encoder = take_program(Reader(control_in))
    reader = Reader(INCOMING)
    gc.collect()
    for _ in range(ENOUGH):  # what early calls leave of spare objects and the like, before them
        server.carry_out(end_at_once)
    while True:
        forget()
        server.perform(lambda: child.serve(program, encoder, reader))
        server.wait_for_host()


if __name__ == "__main__":
    main()

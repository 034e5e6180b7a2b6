"""The first process of a warm container: it starts a fresh process for each call.

It keeps the compiled program and nothing of any call: arguments go past it, from the host to
the child. What it says goes over pipes of its own, which no child can reach, so the host can
believe that a call is over and what was left of it.
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

sys.path.insert(0, "/opt/harness")

from toolkiln_guest.channel import (  # noqa: E402  only now can it be found
    END,
    FOLDER,
    POSTURE,
    PROGRAM,
    Reader,
    write_frame,
)
from toolkiln_guest.child import INCOMING, OUTGOING, Child, attest, rehearse  # noqa: E402
from toolkiln_guest.imports import load_modules  # noqa: E402
from toolkiln_guest.native import Native  # noqa: E402
from toolkiln_guest.posture import plain_json, read_posture, read_text  # noqa: E402
from toolkiln_guest.program import Program  # noqa: E402
from toolkiln_guest.results import ResultEncoder  # noqa: E402
from toolkiln_guest.walls import Landlock, drop_privileges, system_call_filter  # noqa: E402

END_PAYLOAD = struct.Struct(">iBIQ")
CLEAN, FOLDER_USED, MORE_PROCESSES, PIPES_CHANGED, OUT_OF_MEMORY = 0, 1, 2, 4, 8
EXIT_CPU_LIMIT = 152
GET_PIPE_SIZE = 1032
SCRUB = 200


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
        self.folder_changed = os.stat("/tmp").st_ctime_ns  # noqa: PTH116, S108
        self.pipe_sizes = self.read_pipe_sizes()
        self.memory_kills = count_memory_kills()
        self.number = 0
        self.last = None

    def read_pipe_sizes(self):
        """How much fits into the pipes that children write to and read from."""
        import fcntl  # noqa: PLC0415  needed here only

        return [fcntl.fcntl(end, GET_PIPE_SIZE) for end in (INCOMING, OUTGOING, 1)]

    def start(self, work):
        """Have a new process do `work`, to which the number of the call is given."""
        self.number += 1
        number = self.number
        pid = os.fork()
        if pid == 0:
            try:
                work(number)
            finally:
                os._exit(70)
        return pid

    def finish(self, pid):
        """Wait until that process has ended, and end what it left; then tell the host."""
        self.wait(pid)
        _, status, usage = os.wait4(pid, 0)
        cpu, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss
        extra_cpu, others = self.end_others()
        flags = self.look_around(pid, status) | (MORE_PROCESSES if others else 0)
        microseconds = int((cpu + extra_cpu) * 1e6)
        write_frame(
            self.control_out,
            END,
            self.number,
            END_PAYLOAD.pack(status, flags, memory, microseconds),
        )
        self.last = pid

    def wait(self, pid):
        """Wait for the end of that process, or for that of the host."""
        process = os.pidfd_open(pid)
        self.poller.register(process, select.POLLIN)
        ready = self.poller.poll()
        if (process, select.POLLIN) not in ready:
            os._exit(0)  # the host has ended: nothing else comes while a call runs
        self.poller.unregister(process)
        os.close(process)

    def end_others(self):
        """Kill whatever else runs in this container, and wait until none of it is left."""
        seconds, count = 0.0, 0
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            pass
        while True:
            try:
                _, _, usage = os.wait4(-1, 0)
            except ChildProcessError:
                return seconds, count
            seconds += usage.ru_utime + usage.ru_stime
            count += 1

    def look_around(self, pid, status):
        """What the call has changed that a later one could see."""
        flags = CLEAN
        if os.stat("/tmp").st_ctime_ns != self.folder_changed:  # noqa: PTH116, S108
            flags |= FOLDER_USED
        if self.last is not None and pid != self.last + 1:
            flags |= MORE_PROCESSES
        if self.read_pipe_sizes() != self.pipe_sizes:
            flags |= PIPES_CHANGED
        if status and count_memory_kills() != self.memory_kills:
            flags |= OUT_OF_MEMORY
        return flags

    def wait_for_host(self):
        """Until the host wants another call; ends everything when the host has ended."""
        if not os.read(self.control_in, 1):
            os._exit(0)


def scrub():
    """Write over the freed objects that held what the last call used."""
    for value in range(SCRUB):
        float(value + 0.5), value + 1000  # noqa: B018


def open_ends():
    """The five pipes to the host, at numbers that are the same in every child."""
    control_in = os.open(FOLDER + "control-in", os.O_RDONLY | os.O_CLOEXEC)
    control_out = os.open(FOLDER + "control-out", os.O_WRONLY | os.O_CLOEXEC)
    outgoing = os.open(FOLDER + "out", os.O_WRONLY | os.O_CLOEXEC)
    incoming = os.open(FOLDER + "in", os.O_RDONLY | os.O_CLOEXEC)
    printed = os.open(FOLDER + "print", os.O_WRONLY | os.O_CLOEXEC)
    nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    ends = [os.dup2(end, 40 + n, False) for n, end in enumerate((control_in, control_out))]
    moved = [os.dup2(end, 42 + n, False) for n, end in enumerate((nothing, printed, incoming, outgoing))]
    os.closerange(0, 40)
    os.dup2(moved[0], 0)
    os.dup2(moved[1], 1)
    os.dup2(moved[1], 2)
    os.dup2(moved[2], INCOMING, False)
    os.dup2(moved[3], OUTGOING, False)
    for end in moved:
        os.close(end)
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    return ends


def take_program(reader):
    """The program that all calls are of, compiled, with what it imports of the library."""
    kind, _, payload = reader.read()
    if kind != PROGRAM:
        os._exit(1)
    content = json.loads(payload)
    program = Program(content["code"], content["function"])
    try:
        program.compile()
        load_modules(program.source)
    except (SyntaxError, ValueError):  # as every call will say
        program.code = None
    return program, ResultEncoder(content["max_depth"])


def main():
    """Give up what is not needed, tell the posture, show that of a child, then serve."""
    address_space, first_user, cpu_seconds, processes, open_files, flags = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    signal.signal(signal.SIGXCPU, stop_for_cpu)
    environment = list(os.environ)
    os.environ.clear()
    sys.argv[:] = ["tool"]
    control_in, control_out = open_ends()
    native = Native()
    machine = os.uname().machine
    drop_privileges(native, machine)
    posture = read_posture(environment)
    child = Child(
        native,
        Landlock(native, sockets=bool(flags & 2)),
        system_call_filter(machine, processes=bool(flags & 1)),
        first_user=first_user,
        limits=(
            (resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1)),
            (resource.RLIMIT_NPROC, (processes, processes)),
            (resource.RLIMIT_NOFILE, (open_files, open_files)),
        ),
    )
    write_frame(control_out, POSTURE, 0, plain_json(posture).encode())
    server = ForkServer(control_in, control_out)
    server.finish(server.start(lambda number: attest(child, number, environment)))
    rehearse()
    program, encoder = take_program(Reader(control_in))
    gc.collect()
    gc.freeze()
    while True:
        server.finish(server.start(lambda number: child.serve(number, program, encoder)))
        scrub()
        server.wait_for_host()


if __name__ == "__main__":
    main()

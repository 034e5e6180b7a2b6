"""The program inside the container: says what walls it sees, then runs a tool's source.

It is read as files and copied into the guest image; nothing on the host imports it, and it
imports nothing but the standard library. What it says before it gets the source (the posture)
can be trusted as far as the image; what it says afterwards is the word of the tool, because the
tool runs in the same process and can do whatever the harness can.
"""

# ruff: noqa: ANN001, ANN201  annotations cost start time; types are plain
# ruff: noqa: PLC0415  slow modules wait until the posture is on its way: the host checks it then

import _signal
import os
import resource
import sys

from toolkiln_guest.channel import (
    ARGUMENTS,
    ERROR,
    GRANTS,
    POSTURE,
    PROGRAM,
    VALUE,
    Inbox,
    open_channel,
    write_frame,
)
from toolkiln_guest.posture import plain_json, read_posture

EXIT_CPU_LIMIT = 152  # 128 + SIGXCPU: as PID 1 the signal itself would be ignored


def flush():
    """Let out what was printed; the tool may have broken the streams."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: BLE001, S112  the tool's own doing, and nothing of ours
            continue


def answer(program, arguments, encoder, granted):
    """Kind and payload of the answer to one call."""
    from toolkiln_guest.results import describe

    try:
        try:
            value = program.call(arguments, granted.names)
        finally:
            granted.finish()
        return VALUE, encoder.encode(value)
    except BaseException as error:  # noqa: BLE001  whatever the tool raises is its answer
        return ERROR, describe(error)


def serve(inbox, channel):
    """Take the program, then answer its calls until the host ends the container."""
    import json

    from toolkiln_guest.program import Program
    from toolkiln_guest.results import ResultEncoder
    from toolkiln_guest.services import Granted

    process = os.getpid()
    granted = Granted()
    program = encoder = None
    while True:
        kind, call, payload = inbox.get()
        content = json.loads(payload)
        if kind == PROGRAM:
            program = Program(content["code"], content["function"])
            encoder = ResultEncoder(content["max_depth"])
        elif kind == GRANTS:
            inbox.hand_over()
            granted.open(content, lambda kind, data: write_frame(channel, kind, 0, data), inbox)
        elif kind == ARGUMENTS:
            inbox.hand_over()
            kind, reply = answer(program, content, encoder, granted)
            flush()
            if os.getpid() != process:
                os._exit(0)  # a child that the tool forked came back: the answer is not its to give
            write_frame(channel, kind, call, reply)


def warm_up():
    """Load what every call needs, while nobody waits."""
    import enum  # noqa: F401
    import gc
    import json  # noqa: F401

    import toolkiln_guest.program
    import toolkiln_guest.results
    import toolkiln_guest.services  # noqa: F401

    gc.collect()
    gc.freeze()


def stop_for_cpu(_number, _frame):
    """The soft limit on processor time is used up."""
    os._exit(EXIT_CPU_LIMIT)


def main():
    """Lower what is left to lower, tell the posture, serve."""
    address_space = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    _signal.signal(_signal.SIGXCPU, stop_for_cpu)
    environment = list(os.environ)
    os.environ.clear()
    sys.argv[:] = ["tool"]
    incoming, outgoing = open_channel()
    write_frame(outgoing, POSTURE, 0, plain_json(read_posture(environment)).encode())
    warm_up()
    serve(Inbox(incoming), outgoing)


if __name__ == "__main__":
    main()

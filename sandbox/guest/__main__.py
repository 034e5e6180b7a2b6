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
    GRANTS,
    POSTURE,
    PROGRAM,
    Inbox,
    open_channel,
    write_frame,
)
from toolkiln_guest.packages import offer_packages
from toolkiln_guest.posture import plain_json, read_posture

REHEARSAL = """
def f(a):
    if not a:
        raise ValueError(a)
    return {"sum": a}
"""

EXIT_CPU_LIMIT = 152  # 128 + SIGXCPU: as PID 1 the signal itself would be ignored


def serve(inbox, channel):
    """Take the program, then answer its calls until the host ends the container."""
    import json

    from toolkiln_guest.calls import answer, flush
    from toolkiln_guest.program import Program
    from toolkiln_guest.results import ResultEncoder
    from toolkiln_guest.services import Granted

    process = os.getpid()
    granted = Granted()
    program = encoder = None
    left = 0
    while True:
        kind, call, payload = inbox.get()
        content = json.loads(payload)
        if kind == PROGRAM:
            program = Program(content["code"], content["function"])
            encoder = ResultEncoder(content["max_depth"])
            left = content["calls"]
        elif kind == GRANTS:
            granted.open(content, lambda kind, data: write_frame(channel, kind, 0, data), inbox)
            inbox.hand_over()  # not before: what comes next may be for a service
        elif kind == ARGUMENTS:
            inbox.hand_over()
            kind, reply = answer(program, content, encoder, granted)
            flush()
            if os.getpid() != process:
                os._exit(0)  # a child that the tool forked came back: the answer is not its to give
            write_frame(channel, kind, call, reply)
            left -= 1
            if not left:
                os.close(channel)  # so that the host sees at once that nothing follows


def warm_up():
    """Do once what every call does, while nobody waits: the second time costs a tenth."""
    import enum  # noqa: F401
    import gc
    import json
    import linecache  # noqa: F401
    import traceback  # noqa: F401

    from toolkiln_guest.calls import answer
    from toolkiln_guest.program import Program
    from toolkiln_guest.results import ResultEncoder
    from toolkiln_guest.services import Granted

    rehearsal = Program(REHEARSAL, "f")
    for arguments in ('{"a": [1.5, "x"]}', '{"a": 0}'):
        answer(rehearsal, json.loads(arguments), ResultEncoder(8), Granted())
    rehearsal.forget()
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
    offer_packages()
    incoming, outgoing = open_channel()
    write_frame(outgoing, POSTURE, 0, plain_json(read_posture(environment)).encode())
    warm_up()
    serve(Inbox(incoming), outgoing)


if __name__ == "__main__":
    main()

"""The two ways to the host: pipes in a folder, or the container's own standard streams.

Wire: frames of kind (1 byte), call number (4), length (4), payload. Whatever the tool prints
goes another way than the frames.
"""

# ruff: noqa: ANN001, ANN201, ANN204  annotations cost start time; types are plain

import _thread
import errno
import os
import sys
from _queue import SimpleQueue

POSTURE, PROGRAM, ARGUMENTS, VALUE, ERROR, GRANTS = 1, 2, 3, 4, 5, 6
INPUT, ARTEFACT, TOOL_CALL, TOOL_ANSWER = 7, 8, 9, 10
STREAM_OPEN, STREAM_DATA, STREAM_CLOSE, END = 11, 12, 13, 14
HEADER_BYTES = 9
PIECE_BYTES = 1 << 16
FOLDER = "/run/toolkiln/"
WRITING = _thread.allocate_lock()
"""Held while a frame is written: services send from threads of their own."""


def open_pipes():
    """The pipes of the folder that the host has bound in, or None where it has not.

    The host waits at the other ends already. Where it has gone meanwhile, this process ends: to
    wait for somebody at the other end would be for ever.
    """
    try:
        outgoing = open_pipe("out", os.O_WRONLY)
    except FileNotFoundError:
        return None
    incoming, printed = open_pipe("in", os.O_RDONLY), open_pipe("print", os.O_WRONLY)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    os.close(printed)
    return incoming, outgoing


def open_pipe(name, way):
    """One end, without waiting for the other."""
    try:
        end = os.open(FOLDER + name, way | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        os._exit(0)  # nobody reads
    os.set_blocking(end, True)
    return end


def take_streams():
    """Move the host's channels away from 0 and 1; what is printed goes to 2 from now on."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return incoming, outgoing


def open_channel():
    """Descriptors of what comes in and what goes out."""
    ends = open_pipes() or take_streams()
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    return ends


def write_frame(channel, kind, call, payload):
    """Send one frame, whole."""
    data = bytes((kind,)) + call.to_bytes(4, "big") + len(payload).to_bytes(4, "big") + payload
    view = memoryview(data)
    with WRITING:
        while view:
            view = view[os.write(channel, view) :]


class Reader:
    """Cuts what the host sends into frames."""

    def __init__(self, channel):
        self.channel = channel
        self.data = bytearray()

    def read(self):
        """Kind, call number and payload of the next frame; ends the process when the host has."""
        data = self.data
        while True:
            if len(data) >= HEADER_BYTES:
                end = HEADER_BYTES + int.from_bytes(data[5:9], "big")
                if len(data) >= end:
                    frame = data[0], int.from_bytes(data[1:5], "big"), bytes(data[HEADER_BYTES:end])
                    del data[:end]
                    return frame
            piece = os.read(self.channel, PIECE_BYTES)
            if not piece:
                os._exit(0)
            data += piece


class Inbox:
    """What the host sends, read by whoever has the time.

    Until a tool runs the main thread reads by itself, so that the first call waits for no
    other thread. From then on a thread reads: it ends the process as soon as the host has gone,
    and gives what belongs to a service to that service while the tool runs.
    """

    def __init__(self, incoming):
        self.reader = Reader(incoming)
        self.frames = SimpleQueue()
        self.handed_over = False
        self.services = {}
        self.turn = _thread.allocate_lock()
        self.turn.acquire()
        _thread.start_new_thread(self.listen, ())

    def listen(self):
        """Read to the end, once it is this thread's turn."""
        self.turn.acquire()
        while True:
            kind, call, payload = self.reader.read()
            service = self.services.get(kind)
            if service is None:
                self.frames.put((kind, call, payload))
            else:
                service.receive(kind, payload)

    def hand_over(self):
        """Let the thread read from now on."""
        if not self.handed_over:
            self.handed_over = True
            self.turn.release()

    def get(self):
        """The next frame that is no service's."""
        return self.frames.get() if self.handed_over else self.reader.read()

"""The proxy as a tool sees it: a listener on loopback whose connections go to the host in frames.

Frames begin with the number of the connection (4 bytes). STREAM_DATA has then how many bytes of
the other side were taken since the last one (4 bytes), and data: neither side sends more than
`WINDOW_BYTES` beyond what was taken, so that nobody has to keep more than that. The guest's
STREAM_CLOSE has one more byte: 0 when the program has no more to say, 1 when it is gone.
"""

# ruff: noqa: ANN001, ANN201, ANN204  annotations cost start time; types are plain
# ruff: noqa: PTH123  pathlib alone takes as long to load as the interpreter

import _socket
import _thread
import os
import select

from toolkiln_guest.channel import STREAM_CLOSE, STREAM_DATA, STREAM_OPEN

WINDOW_BYTES = 1 << 18
PIECE_BYTES = 1 << 15
BACKLOG = 64
LOOPBACK = "127.0.0.1"


class Connection:
    """One connection of a program in the guest to the proxy."""

    def __init__(self, number, descriptor):
        self.number = number
        self.descriptor = descriptor
        self.socket = _socket.socket(fileno=descriptor)
        self.socket.settimeout(0)
        self.outgoing = bytearray()  # from the host, not yet taken by the program
        self.may_send = WINDOW_BYTES
        self.program_ended = False
        self.host_ended = False

    def events(self):
        """What to wait for."""
        events = select.POLLOUT if self.outgoing else 0
        if self.may_send > 0 and not self.program_ended:
            events |= select.POLLIN
        return events


class Service:
    """Listens, and carries; one thread for all connections."""

    names = {}  # noqa: RUF012  what services have; none here

    def __init__(self, grant, send):
        self.send = send
        self.connections = {}  # by number
        self.last_number = 0
        self.lock = _thread.allocate_lock()
        self.listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        self.listener.bind((LOOPBACK, 0))
        self.listener.listen(BACKLOG)
        self.listener.settimeout(0)
        self.woken, self.waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.tell_programs(self.listener.getsockname()[1], grant["authority"])
        _thread.start_new_thread(self.carry, ())

    def tell_programs(self, port, authority):
        """Set the variables that clients look for, and write the authority that they trust."""
        path = f"/tmp/.proxy-{os.getpid()}.pem"  # noqa: S108  the guest's own
        with open(path, "w", encoding="ascii") as file:
            file.write(authority)
        for name in ("http_proxy", "https_proxy"):
            os.environ[name] = os.environ[name.upper()] = f"http://{LOOPBACK}:{port}"
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ""
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            os.environ[name] = path

    def receive(self, kind, payload):
        """Take a frame of the host; whatever is to be written is written by the other thread."""
        with self.lock:
            connection = self.connections.get(int.from_bytes(payload[:4], "big"))
            if connection is None:
                return
            if kind == STREAM_CLOSE:
                connection.host_ended = True
            else:
                connection.may_send += int.from_bytes(payload[4:8], "big")
                connection.outgoing += payload[8:]
        try:
            os.write(self.waker, b"\0")
        except BlockingIOError:
            return  # it has been told often enough

    def finish(self):
        """The tool is done: end what it left open, so that nothing follows its answer."""
        with self.lock:
            for connection in list(self.connections.values()):
                self.end(connection)

    def carry(self):
        """Wait for programs and for the host, and move what each has for the other."""
        try:
            while True:
                with self.lock:
                    known = {each.descriptor: each for each in self.connections.values()}
                    poll = self.register(known)
                ready = poll.poll()
                with self.lock:
                    for descriptor, events in ready:
                        self.look_at(descriptor, events, known.get(descriptor))
                    self.end_the_ended()
        except OSError:
            return  # the channel is closed: nobody is there any more

    def register(self, known):
        """What is waited for now."""
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        poll.register(self.woken, select.POLLIN)
        for descriptor, connection in known.items():
            poll.register(descriptor, connection.events())
        return poll

    def look_at(self, descriptor, events, connection):
        """Do what can be done with one descriptor now."""
        if descriptor == self.woken:
            os.read(self.woken, PIECE_BYTES)
        elif descriptor == self.listener.fileno():
            self.accept()
        elif connection is not None and self.connections.get(connection.number) is connection:
            try:
                self.move(connection, events)
            except BlockingIOError:
                return

    def accept(self):
        """Open a stream for a new connection."""
        try:
            descriptor, _ = self.listener._accept()  # noqa: SLF001  socket.py does the same
        except OSError:
            return  # it has gone again, or there are too many open files
        self.last_number += 1
        self.connections[self.last_number] = Connection(self.last_number, descriptor)
        self.send(STREAM_OPEN, self.last_number.to_bytes(4, "big"))

    def move(self, connection, events):
        """Move bytes between a program and the host."""
        if events & select.POLLOUT and connection.outgoing:
            try:
                taken = connection.socket.send(connection.outgoing)
            except (ConnectionError, TimeoutError):
                self.end(connection)
                return
            del connection.outgoing[:taken]
            self.send_data(connection, taken, b"")
        if events & select.POLLIN and connection.may_send > 0 and not connection.program_ended:
            self.take_in(connection)
        elif events & (select.POLLHUP | select.POLLERR):
            self.end(connection)

    def take_in(self, connection):
        """Give the host what the program wrote."""
        try:
            data = connection.socket.recv(min(PIECE_BYTES, connection.may_send))
        except (ConnectionError, TimeoutError):
            self.end(connection)
            return
        if data:
            connection.may_send -= len(data)
            self.send_data(connection, 0, data)
        else:
            connection.program_ended = True
            self.send_close(connection, b"\0")

    def send_data(self, connection, taken, data):
        """Send one STREAM_DATA."""
        head = connection.number.to_bytes(4, "big") + taken.to_bytes(4, "big")
        self.send(STREAM_DATA, head + data)

    def send_close(self, connection, how):
        """Send one STREAM_CLOSE."""
        self.send(STREAM_CLOSE, connection.number.to_bytes(4, "big") + how)

    def end_the_ended(self):
        """Close what the host has closed, once the program has everything."""
        for connection in list(self.connections.values()):
            if connection.host_ended and not connection.outgoing:
                self.end(connection)

    def end(self, connection):
        """Close a connection; the host is told unless it knows."""
        del self.connections[connection.number]
        connection.socket.close()
        if not connection.host_ended:
            self.send_close(connection, b"\1")

"""Real HTTP and HTTPS servers on loopback, which remember what they were asked."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from policies.network import METHODS
from sandbox.broker.authority import Authority


@dataclass
class Seen:
    """One request as the server got it."""

    method: str
    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass
class WebServer:
    """A running server."""

    scheme: str
    port: int
    seen: list[Seen] = field(default_factory=list)

    def at(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: WebServer

    def answer(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.web.seen.append(Seen(self.command, self.path, self.headers.items(), body))
        what, _, argument = self.path.partition("?")[0].strip("/").partition("/")
        method = getattr(self, f"_give_{what.replace('-', '_')}", None)
        if method is None:
            self._give(f"{self.command} {self.path}".encode())
        else:
            method(argument, body)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _give(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _give_redirect(self, argument: str, _: bytes) -> None:
        place = self.path.partition("?")[2]
        self._give(b"over there", 302, Location=place)

    def _give_headers(self, argument: str, _: bytes) -> None:
        self._give(str(self.headers).encode(), X_Echo=self.headers.get("X-Key", "none"))

    def _give_body(self, argument: str, body: bytes) -> None:
        self._give(body)

    def _give_bytes(self, argument: str, _: bytes) -> None:
        self._give(b"x" * int(argument))

    def _give_chunked(self, argument: str, _: bytes) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _number in range(int(argument)):
                self.wfile.write(b"1000\r\n" + b"y" * 0x1000 + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")

    def _give_drip(self, argument: str, _: bytes) -> None:
        """The key, a few bytes at a time, to an end of the connection."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        text = f"<{self.headers.get('X-Key')}>".encode()
        for place in range(0, len(text), 3):
            self.wfile.write(text[place : place + 3])
            self.wfile.flush()
            time.sleep(0.002)
        self.close_connection = True

    def _give_cut(self, argument: str, _: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True

    def _give_gzip(self, argument: str, _: bytes) -> None:
        self._give(b"\x1f\x8b", Content_Encoding="gzip")

    def _give_hang(self, argument: str, _: bytes) -> None:
        time.sleep(float(argument))
        self._give(b"at last")

    def _give_garbage(self, argument: str, _: bytes) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        self.close_connection = True

    def _give_echo_as_status(self, argument: str, _: bytes) -> None:
        self.wfile.write(f"{self.headers.get('X-Key')}\r\n\r\n".encode())
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def web_server(authority: Authority | None = None) -> Iterator[WebServer]:
    """A server on loopback; with an authority it speaks TLS as 127.0.0.1, or as asked for."""
    web = WebServer("http" if authority is None else "https", 0)
    methods = {f"do_{method}": _Handler.answer for method in METHODS}
    handler = type("Handler", (_Handler,), {"web": web, **methods})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    web.port = server.server_address[1]
    if authority is not None:
        context = authority.context("127.0.0.1")
        context.sni_callback = lambda sock, name, _: _choose(sock, name, authority)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _choose(sock: ssl.SSLObject, name: str | None, authority: Authority) -> None:
    if name and not name.startswith("wrong"):
        sock.context = authority.context(name)


def write_ca(authority: Authority, folder: Path) -> str:
    """A file that says whom to trust."""
    path = folder / "authority.pem"
    path.write_text(authority.pem, encoding="ascii")
    return str(path)

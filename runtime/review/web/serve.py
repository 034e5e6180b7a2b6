"""Serves the review page until it is told to stop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from runtime.errors import UsageError
from runtime.review.desk import ReviewDesk
from runtime.review.web.app import make_app
from runtime.review.web.patience import (
    CONNECTIONS,
    PatientProtocol,
    PatientProtocolBehindProxy,
)
from runtime.review.web.site import Site, address_of, is_loopback, make_site
from runtime.review.web.tokens import TokenBook

_BACKLOG = 64


@dataclass(frozen=True, slots=True)
class Door:
    """Where to listen, and how."""

    host: str
    port: int
    origins: tuple[str, ...] = ()
    """How browsers reach it, where that is not the address itself."""

    tls_certificate: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False
    """Listen for others without TLS: somebody else encrypts, or nobody listens in."""

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self.tls_certificate is not None


def check_door(door: Door) -> None:
    """Refuse what would let others read tokens on their way.

    Raises:
        UsageError: another address than loopback without TLS, or half of TLS.
    """
    if (door.tls_certificate is None) != (door.tls_key is None):
        raise UsageError("give --tls-cert and --tls-key together")
    if door.tls and door.insecure:
        raise UsageError("--insecure and TLS exclude each other; leave --insecure out")
    if not door.tls and not door.insecure and not is_loopback(door.host):
        raise UsageError(
            f"--listen {door.host} can be reached from other machines, and tokens would travel in "
            "the clear: give --tls-cert and --tls-key, or --insecure if something in front of it "
            "speaks TLS"
        )


def open_listener(door: Door) -> tuple[socket.socket, Site]:
    """A socket that listens, and the site that answers there; port 0 takes a free one.

    Raises:
        UsageError: there is no such address here, or it is taken.
    """
    check_door(door)
    try:
        found = socket.getaddrinfo(
            door.host, door.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise UsageError(f"cannot listen at {door.host}:{door.port}: {error.strerror}") from None
    port = int(listener.getsockname()[1])
    try:
        return listener, make_site(door.host, port, origins=door.origins, tls=door.tls)
    except UsageError:
        listener.close()
        raise


async def serve(
    desk: ReviewDesk,
    *,
    door: Door,
    book: TokenBook,
    head: Callable[[], int],
    on_ready: Callable[[str], None],
) -> None:
    """Answer at `door` until interrupted; `on_ready` hears the address.

    Raises:
        UsageError: it cannot listen there, or the files of TLS are of no use.
    """
    listener, site = open_listener(door)
    try:
        ending = _Ending()
        app = make_app(desk, site=site, book=book, head=head, stopping=ending)
        server = ending.server = uvicorn.Server(_config(app, door))
        on_ready(address_of(site, door.host))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            server.should_exit = True  # so that it finishes answers and closes connections
            await running
            raise
    finally:
        listener.close()


@dataclass(slots=True)
class _Ending:
    """Whether a server was told to end; asked by what would else go on for ever."""

    server: uvicorn.Server | None = None

    def __call__(self) -> bool:
        return self.server is not None and self.server.should_exit


def _config(app: ASGIApp, door: Door) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        access_log=False,
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=32 * 1024,
        http=PatientProtocolBehindProxy if door.insecure else PatientProtocol,
        lifespan="off",
        limit_concurrency=CONNECTIONS,
        log_config=None,
        loop="asyncio",
        # Addresses that a client claims to have would get it past the limit on sign-ins.
        proxy_headers=False,
        server_header=False,
        ssl_certfile=door.tls_certificate,
        ssl_keyfile=door.tls_key,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=15,
        ws="none",
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or error
        raise UsageError(f"--tls-cert and --tls-key cannot be used: {reason}") from None
    return config

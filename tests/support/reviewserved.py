"""The review page on a real socket, in the loop of the test."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from httpx2 import AsyncClient, Response
from reviewing import review_desk
from reviewpage import fields

from runtime.review.web.roles import Role
from runtime.review.web.serve import Door, serve
from runtime.review.web.tokens import TokenBook
from toolstore.store import ToolStore

LOOPBACK = Door("127.0.0.1", 0)


@dataclass
class Served:
    """A server that listens."""

    address: str
    store: ToolStore
    book: TokenBook
    task: asyncio.Task[None]

    @property
    def port(self) -> int:
        return int(self.address.rstrip("/").rpartition(":")[2])

    def client(self) -> AsyncClient:
        """A browser that has not signed in."""
        return AsyncClient(base_url=self.address)

    async def stop(self) -> None:
        """Tell it to end, and wait until it has."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def sign_in(self, client: AsyncClient, name: str, *, origin: str = "") -> Response:
        """Sign in with a new token of `name`."""
        _, secret = self.book.add(name, role=Role.REVIEWER, at=datetime.now(UTC))
        form = fields(await client.get("/sign-in"))
        return await client.post(
            "/sign-in",
            data={**form, "name": name, "token": secret},
            headers={"Origin": origin or self.address.rstrip("/")},
        )


@asynccontextmanager
async def served(folder: Path, door: Door = LOOPBACK) -> AsyncIterator[Served]:
    """A server on a new store."""
    book = TokenBook(folder / "review" / "tokens.json", cost=2)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with review_desk(folder / "store") as (desk, store):
        task = asyncio.create_task(
            serve(desk, door=door, book=book, head=store.head, on_ready=ready.set_result)
        )
        task.add_done_callback(lambda _: ready.done() or ready.cancel())
        running = Served(await ready, store, book, task)
        try:
            yield running
        finally:
            await running.stop()


def self_made_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "toolkiln tests")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "chain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "chain.pem", folder / "key.pem"


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def trusting(certificate: Path) -> ssl.SSLContext:
    """What a client needs that knows this certificate alone."""
    return ssl.create_default_context(cafile=str(certificate))

"""The review page on a real socket: TLS, slow clients, many listeners, an end with open streams."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from httpx2 import AsyncClient, HTTPError
from reviewing import changed_tool, files_tool
from reviewserved import Served, free_port, self_made_certificate, served, trusting

from runtime.cli.program import run
from runtime.errors import ExitCode
from runtime.review.web import live
from runtime.review.web.patience import MAX_BYTES_AHEAD, PatientProtocol
from runtime.review.web.serve import Door

PATIENCE_SECONDS = 60


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_SECONDS", 0.05)


# -- TLS -----------------------------------------------------------------------------------------


async def test_with_tls_cookies_are_secure_and_browsers_are_told_to_stay(tmp_path: Path) -> None:
    chain, key = self_made_certificate(tmp_path)
    port, origin = free_port(), "https://review.example.org"
    door = Door("127.0.0.1", port, (origin,), tls_certificate=chain, tls_key=key)
    async with served(tmp_path, door) as server:
        async with AsyncClient(
            base_url=f"https://127.0.0.1:{port}",
            verify=trusting(chain),
            headers={"Host": "review.example.org"},
        ) as client:
            answer = await server.sign_in(client, "bob", origin=origin)
            cookies = answer.headers.get_list("set-cookie")
            unsafe = {"Origin": "http://review.example.org"}
            refused = await client.post("/sign-out", data={"a": "b"}, headers=unsafe)
        async with AsyncClient(base_url=f"http://127.0.0.1:{port}") as plain:
            with pytest.raises(HTTPError):
                await plain.get("/sign-in")

    assert answer.status_code == 303
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert cookies[0].startswith("__Host-toolkiln_review_")
    for cookie in cookies:
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    assert refused.status_code == 403


async def test_names_of_this_machine_are_not_bound_to_tls(tmp_path: Path) -> None:
    chain, key = self_made_certificate(tmp_path)
    door = Door("127.0.0.1", 0, tls_certificate=chain, tls_key=key)
    async with (
        served(tmp_path, door) as server,
        AsyncClient(base_url=server.address, verify=trusting(chain)) as client,
    ):
        answer = await client.get("/sign-in")

    assert server.address.startswith("https://127.0.0.1:")
    assert "strict-transport-security" not in answer.headers
    assert "; Secure" in answer.headers["set-cookie"]


def test_others_are_not_served_in_the_clear_unless_somebody_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--home", str(tmp_path), "review", "serve", "--listen", "0.0.0.0:0"]
    assert run(words) == ExitCode.USAGE
    assert "tokens would travel in the clear" in capsys.readouterr().err
    assert run([*words, "--tls-cert", "nothing.pem", "--tls-key", "nothing.pem"]) == ExitCode.USAGE
    assert run([*words, "--insecure"]) == ExitCode.USAGE  # how do browsers reach it?
    assert "--origin" in capsys.readouterr().err


# -- slow and many -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"GET /sign-in HTTP/1.1\r\nHost: {host}\r\n\r\nGET / HT",
        (
            b"POST /sign-in HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 999\r\n\r\na="
        ),
    ],
    ids=["nothing", "headers", "a second one", "a form"],
)
async def test_a_request_that_trickles_in_is_not_waited_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    beginning: bytes,
) -> None:
    monkeypatch.setattr(PatientProtocol, "request_seconds", 0.2)
    async with served(tmp_path) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(beginning.replace(b"{host}", f"127.0.0.1:{server.port}".encode()))

        async def trickle() -> None:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)

        with pytest.raises(ConnectionError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await trickle()
        async with server.client() as client:
            assert (await client.get("/sign-in")).status_code == 200
    assert [each.message for each in caplog.records if each.levelno >= logging.ERROR] == []


async def test_an_answer_that_is_not_taken_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PatientProtocol, "answer_seconds", 0.1)
    async with served(tmp_path) as server:
        request = f"GET /static/style.css HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"
        requests = request.encode() * (MAX_BYTES_AHEAD // len(request))

        def ask_and_never_read() -> None:
            with narrow_connection(server.port) as connection:
                connection.sendall(requests)
                while True:
                    connection.sendall(b"G")
                    time.sleep(0.02)

        with pytest.raises(ConnectionError):
            await asyncio.to_thread(ask_and_never_read)


async def test_requests_without_end_are_not_remembered_without_end(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        request = f"GET /static/style.css HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"

        def ask_and_ask() -> int:
            sent = 0
            with narrow_connection(server.port) as connection, suppress(ConnectionError):
                while sent < 10 * 2**20:
                    connection.sendall(request.encode() * 100)
                    sent += len(request) * 100
            return sent

        assert await asyncio.to_thread(ask_and_ask) < 10 * 2**20


def narrow_connection(port: int) -> socket.socket:
    """One that takes few bytes of an answer unless it reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.settimeout(PATIENCE_SECONDS)
    connection.connect(("127.0.0.1", port))
    return connection


async def test_one_address_leaves_connections_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PatientProtocol, "of_one_address", 3)
    async with served(tmp_path) as server, AsyncExitStack() as stack:
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.callback(writer.close)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        stack.callback(writer.close)
        with suppress(ConnectionError):
            assert await reader.read(1) == b""


async def listen(stack: AsyncExitStack, client: AsyncClient) -> tuple[int, str]:
    """Open a stream of updates; its status, and what it begins with."""
    answer = await stack.enter_async_context(client.stream("GET", "/queue/events"))
    if answer.status_code != 200:
        return answer.status_code, ""
    lines = answer.aiter_lines()
    stack.push_async_callback(hold, lines)  # so that it stays open until then
    return 200, await next_data(lines)


async def next_data(lines: AsyncIterator[str]) -> str:
    """The next line that says something; nothing where none comes any more."""
    async for line in lines:
        if line.startswith("data: "):
            return line
    return ""


async def hold(_: AsyncIterator[str]) -> None:
    """Keep hold of it."""


async def signed_in(server: Served, stack: AsyncExitStack, name: str) -> AsyncClient:
    client = await stack.enter_async_context(server.client())
    assert (await server.sign_in(client, name)).status_code == 303
    return client


async def test_one_persons_pages_leave_room_for_the_others(tmp_path: Path) -> None:
    async with served(tmp_path) as server, AsyncExitStack() as people:
        bob, carol = [await signed_in(server, people, name) for name in ("bob", "carol")]
        async with AsyncExitStack() as pages:
            heard = await asyncio.gather(*(listen(pages, bob) for _ in range(live.MAX_OF_ONE)))
            assert [status for status, _ in heard] == [200] * live.MAX_OF_ONE
            assert len({data for _, data in heard}) == 1
            assert (await listen(pages, bob))[0] == 429
            assert (await listen(pages, carol))[0] == 200
            assert (await bob.head("/queue/events")).status_code == 200
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:  # a page that is closed is noticed
                async with AsyncExitStack() as pages:
                    if (await listen(pages, bob))[0] == 200:
                        break


async def test_many_pages_at_once_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_LISTENERS", 5)
    async with served(tmp_path) as server, AsyncExitStack() as stack:
        bob = await signed_in(server, stack, "bob")
        heard = await asyncio.gather(*(listen(stack, bob) for _ in range(8)))
        assert sorted(status for status, _ in heard) == [200] * 5 + [503] * 3


async def test_a_page_hears_of_a_change_and_of_a_token_that_was_taken_back(tmp_path: Path) -> None:
    async with served(tmp_path) as server, AsyncExitStack() as stack:
        bob = await signed_in(server, stack, "bob")
        await changed_tool(server.store)
        answer = await stack.enter_async_context(bob.stream("GET", "/queue/events"))
        lines = answer.aiter_lines()
        found = await next_data(lines)
        await files_tool(server.store)
        assert await next_data(lines) not in {found, ""}
        for entry in server.book.entries():
            server.book.remove(entry.id)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await next_data(lines) == ""


async def test_the_server_ends_while_pages_listen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path) as server, AsyncExitStack() as stack:
        bob = await signed_in(server, stack, "bob")
        answers = [
            await stack.enter_async_context(bob.stream("GET", "/queue/events")) for _ in range(3)
        ]
        async with asyncio.timeout(PATIENCE_SECONDS):
            await server.stop()
            texts = [await each.aread() for each in answers]
        assert all(text.startswith(b"retry: 5000") for text in texts)
    assert [each.message for each in caplog.records if each.levelno >= logging.ERROR] == []

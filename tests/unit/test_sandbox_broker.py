"""The broker against real servers: what reaches them, what comes back, what is refused and how.

The guest's side is its real module in a plain process, or bytes fed to the service directly.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from netguest import run_in_guest
from networks import CLIENT, SECRET, key_for, make_service
from webservers import WebServer, web_server, write_ca

from sandbox.broker.authority import Authority
from sandbox.broker.service import NetworkService
from sandbox.frames import Frame, FrameError, Kind
from sandbox.traffic import NetworkEvent


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def plain() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
def tls(authority: Authority) -> Iterator[WebServer]:
    with web_server(authority) as server:
        yield server


async def ask(service: NetworkService, *urls: str) -> list[Any]:
    """What urllib in a guest got for each address."""
    answers: list[Any] = await run_in_guest(f"URLS = {list(urls)!r}\n{CLIENT}", service)
    return answers


# --- bytes fed directly


class Raw:
    """One connection to the proxy, as bytes."""

    def __init__(self, service: NetworkService, number: int) -> None:
        self._service = service
        self._number = number
        self.got = bytearray()
        self.closed = asyncio.Event()

    def write(self, data: bytes) -> None:
        for place in range(0, len(data), 1 << 15):
            payload = struct.pack(">II", self._number, 0) + data[place : place + (1 << 15)]
            self._service.receive(Frame(Kind.STREAM_DATA, 0, payload))

    def take(self, kind: Kind, payload: bytes) -> None:
        if kind is Kind.STREAM_CLOSE:
            self.closed.set()
        elif data := payload[8:]:
            self.got += data
            ack = struct.pack(">II", self._number, len(data))
            self._service.receive(Frame(Kind.STREAM_DATA, 0, ack))

    async def to_the_end(self) -> bytes:
        async with asyncio.timeout(10):
            await self.closed.wait()
        return bytes(self.got)


@asynccontextmanager
async def opened(service: NetworkService) -> AsyncIterator[Callable[[], Raw]]:
    """A way to open connections to the proxy of a running service."""
    raws: dict[int, Raw] = {}

    def send(kind: Kind, payload: bytes) -> None:
        asyncio.get_running_loop().call_soon(
            raws[int.from_bytes(payload[:4], "big")].take, kind, payload
        )

    def connect() -> Raw:
        number = len(raws) + 1
        raws[number] = Raw(service, number)
        service.receive(Frame(Kind.STREAM_OPEN, 0, number.to_bytes(4, "big")))
        return raws[number]

    service.begin(send)
    try:
        yield connect
    finally:
        await service.end()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread or task does."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  a server's thread sets no event
            await asyncio.sleep(0.005)


async def say(service: NetworkService, data: bytes) -> tuple[str, NetworkEvent]:
    """The answer to bytes on one connection, and what was recorded of it last."""
    async with opened(service) as connect:
        raw = connect()
        raw.write(data)
        answer = await raw.to_the_end()
    return answer.decode(), service.events[-1]


# --- what is granted arrives


async def test_http_and_https_through_the_proxy(
    plain: WebServer, tls: WebServer, authority: Authority, tmp_path: Path
) -> None:
    service = make_service(plain.at("/"), tls.at("/"), ca_file=write_ca(authority, tmp_path))

    answers = await ask(service, plain.at("/a?q=1"), tls.at("/b"), tls.at("/bytes/300000"))

    assert answers[:2] == [[200, "GET /a?q=1"], [200, "GET /b"]]
    assert len(answers[2][1]) == 300_000
    assert [(e.method, e.allowed, e.status, e.url) for e in service.events[:2]] == [
        ("GET", True, 200, plain.at("/a?…")),
        ("GET", True, 200, tls.at("/b")),
    ]
    assert plain.seen[0].header("Host") == [f"127.0.0.1:{plain.port}"]
    assert tls.seen[0].header("Connection") == ["close"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_go_both_ways(plain: WebServer, chunked: bool) -> None:
    body = b"abc" * 100_000
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    wire = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    service = make_service(f"POST {plain.at('/')}")
    async with opened(service) as connect:
        raw = connect()
        head = f"POST {plain.at('/body')} HTTP/1.1\r\nHost: {plain.at('')[7:]}\r\n{framing}\r\n"
        raw.write(f"{head}Connection: close\r\n\r\n".encode())
        for place in range(0, len(wire), 100_000):
            raw.write(wire[place : place + 100_000])
            await asyncio.sleep(0.01)
        answer = await raw.to_the_end()

    assert answer.endswith(body)
    assert plain.seen[0].body == body


async def test_one_connection_carries_several_requests(plain: WebServer) -> None:
    service = make_service(plain.at("/"))
    host = plain.at("")[7:]
    two = f"GET {plain.at('/a')} HTTP/1.1\r\nHost: {host}\r\n\r\n"

    answer, _ = await say(
        service,
        (
            two + two.replace("/a", "/b").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
        ).encode(),
    )

    assert "GET /a" in answer
    assert "GET /b" in answer
    assert [seen.line for seen in plain.seen] == ["/a", "/b"]


async def test_a_client_that_waits_for_100_is_told_to_go_on(plain: WebServer) -> None:
    service = make_service(f"POST {plain.at('/')}")
    host = plain.at("")[7:]
    async with opened(service) as connect:
        raw = connect()
        raw.write(
            f"POST {plain.at('/body')} HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\n"
            "Content-Length: 5\r\nConnection: close\r\n\r\n".encode()
        )
        await until(lambda: b"100" in raw.got)
        raw.write(b"hello")
        assert (await raw.to_the_end()).endswith(b"hello")
    assert not plain.seen[0].header("Expect")


# --- what is not granted is told in words


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("DELETE", "/v1/x", "declares only GET, HEAD there"),
        ("GET", "/v2/x", "no grant for GET"),
        ("GET", "/v1", "no grant for GET"),
        ("GET", "/v1/../v2", "segment"),
        ("GET", "/v1/%2e%2e/v2", "segment"),
        ("GET", "/v1/..%2fv2", "escaped slash"),
        ("GET", "/v1/%252e%252e/", "escaped twice"),
        ("TRACE", "/v1/x", "'TRACE' cannot be granted"),
    ],
)
async def test_what_no_grant_covers_never_reaches_the_server(
    plain: WebServer, method: str, path: str, words: str
) -> None:
    service = make_service(plain.at("/v1/"))
    host = plain.at("")[7:]

    answer, event = await say(
        service, f"{method} {plain.at(path)} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    )

    assert answer.startswith("HTTP/1.1 403 ")
    assert words in answer.partition("\r\n")[0]  # clients show the reason and drop the body
    assert words in answer.rpartition("\r\n\r\n")[2]
    assert words in event.reason
    assert not event.allowed
    assert not plain.seen


async def test_a_refusal_says_what_to_declare(plain: WebServer) -> None:
    service = make_service(plain.at("/a/"), allow=(f"GET,POST {plain.at('/')}",))
    host = plain.at("")[7:]

    answer, _ = await say(
        service, f"POST {plain.at('/a/x')} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    )

    assert f"so declare 'GET,HEAD,POST {plain.at('/a/')}'" in answer


async def test_declared_and_no_longer_granted_is_refused(plain: WebServer) -> None:
    service = make_service(plain.at("/"), allow=("https://other.example.com/",))

    ((status, text),) = await ask(service, plain.at("/"))

    assert status == 403
    assert "declared by this tool and not granted by policy local" in text


async def test_a_redirect_off_the_list_is_refused_by_name(plain: WebServer, tls: WebServer) -> None:
    service = make_service(plain.at("/"))

    (off, on) = await ask(
        service, plain.at(f"/redirect?{tls.at('/x')}"), plain.at("/redirect?/there")
    )

    assert off[0] == 403
    assert "a redirect led there" in off[1]
    assert on == [200, "GET /there"]
    assert not tls.seen


async def test_trials_may_be_kept_from_the_network(plain: WebServer) -> None:
    service = make_service(plain.at("/"), in_trial=True, in_trials=False)

    ((status, text),) = await ask(service, plain.at("/"))

    assert status == 403
    assert "network.in_trials" in text


# --- addresses and names


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        (("169.254.169.254",), "link-local"),
        (("10.1.2.3",), "private"),
        (("8.8.8.8", "10.1.2.3"), "private"),
        (("::ffff:127.0.0.1",), "IPv4 address in the form of IPv6"),
        (("0.0.0.0",), "this host"),  # noqa: S104  it must be refused
        (("fe80::1%eth0",), "interface"),
        (("64:ff9b::7f00:1",), "translated"),
    ],
)
async def test_a_name_that_leads_inside_is_refused(addresses: tuple[str, ...], words: str) -> None:
    async def resolver(_host: str) -> tuple[str, ...]:
        return addresses

    service = make_service("http://api.example.com/", resolver=resolver)

    answer, event = await say(
        service, b"GET http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
    )

    assert answer.startswith("HTTP/1.1 403 ")
    assert words in event.reason
    assert "network.private_addresses" in event.reason


async def test_a_name_that_changes_its_address_is_asked_once(plain: WebServer) -> None:
    """Checked and connected to are one address, also for the next request."""
    answers = iter([("127.0.0.1",), ("169.254.169.254",)])

    async def resolver(_host: str) -> tuple[str, ...]:
        return next(answers)

    url = plain.at("/", host="api.example.com")
    service = make_service(url, resolver=resolver)

    assert [status for status, _ in await ask(service, url, url)] == [200, 200]
    assert {event.address for event in service.events} == {"127.0.0.1"}
    assert plain.seen[0].header("Host") == [f"api.example.com:{plain.port}"]


async def test_literal_private_addresses_need_to_be_listed(plain: WebServer) -> None:
    service = make_service(plain.at("/"), private_addresses=[])

    ((status, text),) = await ask(service, plain.at("/"))

    assert status == 403
    assert "127.0.0.1, is a loopback address" in text
    assert not plain.seen


async def test_a_name_without_address_is_no_crash() -> None:
    async def resolver(_host: str) -> tuple[str, ...]:
        raise OSError(-2, "Name or service not known")

    service = make_service("http://api.example.com/", resolver=resolver)

    ((status, text),) = await ask(service, "http://api.example.com/")

    assert status == 502
    assert "Name or service not known" in text
    assert service.events[0].allowed


# --- whom to believe


async def test_a_server_that_nobody_vouches_for_is_refused(tls: WebServer) -> None:
    service = make_service(tls.at("/"))

    ((status, text),) = await ask(service, tls.at("/"))

    assert status == 502
    assert "is not trusted" in text
    assert not tls.seen


async def test_a_certificate_for_another_name_is_refused(
    tls: WebServer, authority: Authority, tmp_path: Path
) -> None:
    async def resolver(_host: str) -> tuple[str, ...]:
        return ("127.0.0.1",)

    urls = [tls.at("/", host=host) for host in ("right.example.com", "wrong.example.com")]
    service = make_service(*urls, resolver=resolver, ca_file=write_ca(authority, tmp_path))

    right, wrong = await ask(service, *urls)

    assert right[0] == 200
    assert wrong[0] == 502
    assert "wrong.example.com" in wrong[1]


# --- smuggling


@pytest.mark.parametrize(
    "head",
    [
        "GET {url} HTTP/1.1\r\nHost: evil.example\r\n",
        "GET {url} HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n",
        "GET {url} HTTP/1.1\r\nHost : {host}\r\n",
        "GET {url} HTTP/1.1\r\nHost: {host}\r\nX: a\x00b\r\n",
        "GET {url} HTTP/1.1\r\nHost: {host}\r\nX Y: a\r\n",
        "GET {url}\t/x HTTP/1.1\r\nHost: {host}\r\n",
        "GET {url} HTTP/1.1 x\r\nHost: {host}\r\n",
        "GET /path HTTP/1.1\r\nHost: {host}\r\n",
        "GET http://a@{host}/ HTTP/1.1\r\nHost: {host}\r\n",
        "GET {url}#x HTTP/1.1\r\nHost: {host}\r\n",
        "POST {url} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\nContent-Length: 4\r\n",
        "POST {url} HTTP/1.1\r\nHost: {host}\r\nContent-Length: +3\r\n",
        "POST {url} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0x3\r\n",
        "POST {url} HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "POST {url} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: gzip, chunked\r\n",
        "POST {url} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: xchunked\r\n",
        "GET {url} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        "PRI * HTTP/2.0\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: {host}\r\n",
        "CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n",
        "CONNECT /x HTTP/1.1\r\nHost: {host}\r\n",
        "\x16\x03\x01\x02\x00",
    ],
)
async def test_requests_that_could_be_read_in_two_ways_are_refused(
    plain: WebServer, head: str
) -> None:
    service = make_service(f"GET,POST,OPTIONS {plain.at('/')}")
    text = head.format(url=plain.at("/x"), host=f"127.0.0.1:{plain.port}")

    answer, event = await say(service, text.encode("latin-1") + b"\r\nGET /smuggled\r\n\r\n")

    assert answer.startswith(("HTTP/1.1 400 ", "HTTP/1.1 403 ", "HTTP/1.1 501 "))
    assert not event.allowed
    assert not plain.seen


async def test_a_tunnel_carries_https_and_nothing_else(plain: WebServer) -> None:
    service = make_service(plain.at("/"))
    host = f"127.0.0.1:{plain.port}"

    answer, event = await say(
        service,
        f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n"
        f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(),
    )

    assert "200 Connection established" in answer
    assert not event.allowed
    assert "nothing but HTTPS" in event.reason
    assert not plain.seen


@pytest.mark.parametrize(
    "inside",
    [
        "GET / HTTP/1.1\\r\\nHost: evil.example\\r\\n\\r\\n",
        "GET https://evil.example/ HTTP/1.1\\r\\nHost: evil.example\\r\\n\\r\\n",
        "CONNECT evil.example:443 HTTP/1.1\\r\\nHost: evil.example\\r\\n\\r\\n",
    ],
)
async def test_a_tunnel_to_one_host_reaches_no_other(
    tls: WebServer, authority: Authority, tmp_path: Path, inside: str
) -> None:
    service = make_service(tls.at("/"), ca_file=write_ca(authority, tmp_path))
    source = f"""
import os, socket, ssl
def run():
    proxy = os.environ["https_proxy"].rpartition(":")[2]
    plain = socket.create_connection(("127.0.0.1", int(proxy)))
    host = "127.0.0.1:{tls.port}"
    plain.sendall(f"CONNECT {{host}} HTTP/1.1\\r\\nHost: {{host}}\\r\\n\\r\\n".encode())
    plain.recv(1000)
    context = ssl.create_default_context()
    secure = context.wrap_socket(plain, server_hostname="127.0.0.1")
    secure.sendall(b"{inside}")
    return secure.recv(1000).decode()
"""

    answer = await run_in_guest(source, service)

    assert answer.startswith("HTTP/1.1 403 ")
    assert not tls.seen


# --- secrets


async def test_a_secret_reaches_the_server_and_never_the_program(
    plain: WebServer, tls: WebServer, authority: Authority, tmp_path: Path
) -> None:
    service = make_service(
        plain.at("/"),
        tls.at("/"),
        ca_file=write_ca(authority, tmp_path),
        secrets=key_for(tls.at("/")),
    )

    answers = await ask(
        service, plain.at("/headers"), tls.at("/headers"), tls.at("/drip"), tls.at("/garbage")
    )

    assert [seen.header("X-Key") for seen in tls.seen[:2]] == [[f"Bearer {SECRET}"]] * 2
    assert plain.seen[0].header("X-Key") == []
    assert SECRET not in json.dumps(answers)
    assert "X-Key: Bearer " + "*" * len(SECRET) in answers[1][1]
    assert answers[2][1] == f"<Bearer {'*' * len(SECRET)}>"
    assert [event.secrets for event in service.events] == [(), ("key",), ("key",), ("key",)]
    assert SECRET not in repr(service.events)


async def test_what_is_wrong_with_an_answer_does_not_show_the_secret_in_it(
    plain: WebServer,
) -> None:
    service = make_service(plain.at("/"), secrets=key_for(plain.at("/")))

    answers = await ask(service, plain.at("/echo-as-status"))

    assert answers[0][0] == 502
    assert SECRET not in repr((answers, service.events))


async def test_a_programs_own_header_gives_way_to_the_secret(plain: WebServer) -> None:
    service = make_service(plain.at("/"), secrets=key_for(plain.at("/")))

    await say(
        service,
        f"GET {plain.at('/')} HTTP/1.1\r\nHost: 127.0.0.1:{plain.port}\r\nx-key: mine\r\n"
        "X_Key: mine\r\nConnection: close, X-Key\r\n\r\n".encode(),
    )

    (seen,) = plain.seen
    assert seen.header("X-Key") == [f"Bearer {SECRET}"]
    assert seen.header("X_Key") == []


async def test_a_compressed_answer_is_refused_where_secrets_are(plain: WebServer) -> None:
    service = make_service(plain.at("/"), secrets=key_for(plain.at("/")))

    ((status, text),) = await ask(service, plain.at("/gzip"))

    assert status == 502
    assert "looked through for secrets" in text


async def test_trials_send_without_secrets_unless_the_policy_says_so(plain: WebServer) -> None:
    without = make_service(plain.at("/"), secrets=key_for(plain.at("/")), in_trial=True)
    having = make_service(
        plain.at("/"), secrets=key_for(plain.at("/"), in_trials=True), in_trial=True
    )

    await ask(without, plain.at("/"))
    await ask(having, plain.at("/"))

    assert [seen.header("X-Key") for seen in plain.seen] == [[], [f"Bearer {SECRET}"]]
    assert "trials do not get" in without.events[0].reason


async def test_a_secret_without_a_value_is_told_before_anything_is_sent(plain: WebServer) -> None:
    service = make_service(plain.at("/"), secrets=key_for(plain.at("/")), value=None)

    ((status, text),) = await ask(service, plain.at("/"))

    assert status == 403
    assert "secret key has no usable value" in text
    assert not plain.seen


# --- bounds


async def test_requests_are_counted_refused_ones_included(plain: WebServer) -> None:
    service = make_service(plain.at("/"), requests=3)

    answers = await ask(service, plain.at("/"), "http://other.example/", *[plain.at("/")] * 3)

    assert [status for status, _ in answers] == [200, 403, 200, 403, 403]
    assert "network.requests" in answers[3][1]


async def test_a_response_that_is_too_long_is_refused_before_it_comes(plain: WebServer) -> None:
    service = make_service(plain.at("/"), response_bytes=10_000)

    answers = await ask(service, plain.at("/bytes/20000"), plain.at("/bytes/5000"))

    assert answers[0][0] == 403
    assert "network.response_bytes" in answers[0][1]
    assert answers[1][0] == 200


async def test_a_response_without_a_length_is_cut_and_the_cut_is_seen(plain: WebServer) -> None:
    service = make_service(plain.at("/"), response_bytes=100_000)

    ((status, text),) = await ask(service, plain.at("/chunked/100"))

    assert status == 0
    assert "IncompleteRead" in text
    assert "network.response_bytes" in service.events[0].reason
    assert service.events[0].response_bytes <= 100_000


async def test_an_upload_is_bounded_whether_announced_or_not(plain: WebServer) -> None:
    host = f"127.0.0.1:{plain.port}"
    head = f"POST {plain.at('/body')} HTTP/1.1\r\nHost: {host}\r\n"
    for framing, body in (
        ("Content-Length: 5000", b"x" * 5000),
        ("Transfer-Encoding: chunked", b"1388\r\n" + b"x" * 5000 + b"\r\n0\r\n\r\n"),
    ):
        service = make_service(f"POST {plain.at('/')}", request_bytes=1000)
        answer, event = await say(service, f"{head}{framing}\r\n\r\n".encode() + body)
        assert answer.startswith("HTTP/1.1 403 ")
        assert "network.request_bytes" in event.reason
    assert not plain.seen


async def test_a_flood_of_refused_requests_is_recorded_with_an_end() -> None:
    service = make_service("http://api.example.com/", requests=5)
    async with opened(service) as connect:
        for _ in range(60):
            raw = connect()
            raw.write(b"nonsense\r\n\r\n")
            await raw.to_the_end()

    assert len(service.events) == 25


async def test_connections_at_once_are_bounded(plain: WebServer) -> None:
    service = make_service(plain.at("/"))
    async with opened(service) as connect:
        raws = [connect() for _ in range(70)]
        await asyncio.sleep(0.05)
        assert sum(raw.closed.is_set() for raw in raws) == 6


async def test_the_end_of_a_call_ends_its_requests(plain: WebServer) -> None:
    service = make_service(plain.at("/"))
    async with opened(service) as connect:
        raw = connect()
        raw.write(
            f"GET {plain.at('/hang/0.5')} HTTP/1.1\r\nHost: 127.0.0.1:{plain.port}\r\n\r\n".encode()
        )
        await until(lambda: bool(plain.seen))

    (event,) = service.events
    assert "the call ended before" in event.reason
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await service.end()


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.STREAM_OPEN, b"\0\0\0\2"),
        (Kind.STREAM_OPEN, b"\0\0\0"),
        (Kind.STREAM_DATA, struct.pack(">II", 1, 0)),
        (Kind.STREAM_DATA, b"\0"),
        (Kind.STREAM_CLOSE, b"\0\0\0\1\0"),
        (Kind.STREAM_CLOSE, b"\0\0\0\1"),
        (Kind.VALUE, b"1"),
    ],
)
async def test_frames_that_no_guest_of_ours_sends_break_the_protocol(
    kind: Kind, payload: bytes
) -> None:
    service = make_service("http://api.example.com/")
    service.begin(lambda _kind, _payload: None)

    with pytest.raises(FrameError):
        service.receive(Frame(kind, 0, payload))
    await service.end()

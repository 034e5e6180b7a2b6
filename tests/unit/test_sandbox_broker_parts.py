"""The broker's parts that need no connection: addresses, redaction, bounds, frames, headers."""

from __future__ import annotations

import asyncio
import base64
import html
import ipaddress
import json
import struct
from collections.abc import Iterator
from urllib.parse import quote

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.network import parse_network, parse_target
from sandbox.broker.addresses import AddressRules
from sandbox.broker.errors import RefusedError, RequestError
from sandbox.broker.gate import Budget, SentSecrets
from sandbox.broker.headers import check_request, outgoing_headers
from sandbox.broker.redaction import Redactor, spellings
from sandbox.broker.streams import WINDOW_BYTES, GuestStream
from sandbox.frames import FrameError, Kind

SECRET = 's3cr3t/va"lue+1&<x>'
NOWHERE = AddressRules()


# --- addresses


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104  it must be refused
        "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1",
        "127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8",
        "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
        "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:2::1", "2001:db8::1",
        "2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1",
        "fe80::1%eth0", "fec0::1", "ff02::1", "1::", "4000::1", "e000::1",
    ],
)  # fmt: skip
def test_what_is_not_the_public_internet_is_refused(address: str) -> None:
    assert NOWHERE.refusal(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1",
     "2606:4700::1111", "2a00:1450:4001::1"],
)  # fmt: skip
def test_what_is_public_is_not(address: str) -> None:
    assert NOWHERE.refusal(ipaddress.ip_address(address)) is None


@given(st.ip_addresses())
def test_nothing_that_the_standard_library_calls_private_is_let_through(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert NOWHERE.refusal(address)


def test_listing_opens_what_is_listed_and_nothing_that_hides_behind_it() -> None:
    rules = AddressRules([parse_network(text) for text in ("127.0.0.0/8", "64:ff9b::/96")])

    assert rules.refusal(ipaddress.ip_address("127.0.0.1")) is None
    assert rules.refusal(ipaddress.ip_address("64:ff9b::808:808")) is None
    for address in ("::ffff:127.0.0.1", "::1", "10.0.0.1", "64:ff9b::a00:1"):
        assert rules.refusal(ipaddress.ip_address(address))


# --- redaction


def through(redactor: Redactor, data: bytes, sizes: Iterator[int]) -> bytes:
    out = b""
    while data:
        size = next(sizes)
        out += redactor.feed(data[:size])
        data = data[size:]
    return out + redactor.end()


@pytest.mark.parametrize(
    "echo",
    [
        SECRET,
        json.dumps({"a": SECRET}),
        json.dumps({"a": SECRET}).replace("/", "\\/"),
        quote(SECRET),
        quote(SECRET, safe="").lower(),
        html.escape(SECRET),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
        base64.urlsafe_b64encode(f"a{SECRET}?".encode()).decode(),
        SECRET.encode().hex(),
    ],
)
def test_a_secret_is_blanked_in_every_common_spelling(echo: str) -> None:
    found = Redactor([SECRET]).whole(echo.encode())

    assert len(found) == len(echo)
    assert b"*" * 8 in found
    for form in spellings(SECRET):
        assert form not in found


@given(
    before=st.binary(max_size=40),
    after=st.binary(max_size=40),
    sizes=st.lists(st.integers(1, 7), min_size=1),
    form=st.sampled_from(sorted(spellings(SECRET))),
)
def test_however_it_is_cut_nothing_of_a_secret_passes(
    before: bytes, after: bytes, sizes: list[int], form: bytes
) -> None:
    data = before + form + after

    def repeated() -> Iterator[int]:
        while True:
            yield from sizes

    found = through(Redactor([SECRET]), data, repeated())

    assert len(found) == len(data)
    assert form not in found
    assert found == Redactor([SECRET]).whole(data)


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_what_is_no_secret_passes_unchanged(pieces: list[bytes]) -> None:
    for redactor in (Redactor([SECRET]), Redactor([])):
        assert b"".join(map(redactor.feed, pieces)) + redactor.end() == b"".join(pieces)


def test_ordinary_pieces_are_not_held_back() -> None:
    assert Redactor([SECRET]).feed(b"data: hello\n\n") == b"data: hello\n\n"


# --- bounds


def test_a_budget_is_used_up_and_says_so() -> None:
    budget = Budget(requests=2, request_bytes=10, response_bytes=10)
    budget.take_request()
    budget.take_request()
    budget.send(10)
    budget.receive(10)

    for refused, words in (
        (budget.take_request, "network.requests"),
        (lambda: budget.send(1), "network.request_bytes"),
        (lambda: budget.receive(1), "network.response_bytes"),
    ):
        with pytest.raises(RefusedError, match=words):
            refused()


# --- streams


class Sent:
    def __init__(self) -> None:
        self.frames: list[tuple[Kind, bytes]] = []

    def __call__(self, kind: Kind, payload: bytes) -> None:
        self.frames.append((kind, payload))

    @property
    def data(self) -> bytes:
        return b"".join(p[8:] for kind, p in self.frames if kind is Kind.STREAM_DATA)


async def test_no_more_than_a_window_waits_for_a_program_that_does_not_read() -> None:
    sent = Sent()
    stream = GuestStream(1, sent)
    writing = asyncio.create_task(stream.write(b"x" * (3 * WINDOW_BYTES)))
    await asyncio.sleep(0)

    assert len(sent.data) == WINDOW_BYTES
    stream.take(1000, b"")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(sent.data) == WINDOW_BYTES + 1000
    stream.take_end(gone=True)
    with pytest.raises(ConnectionError):
        await writing


def test_a_guest_that_goes_beyond_its_window_breaks_the_protocol() -> None:
    with pytest.raises(FrameError, match="window"):
        GuestStream(1, Sent()).take(0, b"x" * (WINDOW_BYTES + 1))
    with pytest.raises(FrameError, match="window"):
        GuestStream(1, Sent()).take(1, b"")


async def test_what_was_read_may_be_sent_again() -> None:
    sent = Sent()
    stream = GuestStream(7, sent)
    stream.take(0, b"abc")

    assert await stream.read() == b"abc"
    assert sent.frames == [(Kind.STREAM_DATA, struct.pack(">II", 7, 3))]
    stream.take_end(gone=False)
    assert await stream.read() == b""


# --- headers


def request(*headers: tuple[str, str], method: str = "GET") -> h11.Request:
    return h11.Request(method=method, target="/", headers=[("Host", "a.example"), *headers])


def sent_headers(
    message: h11.Request, *secrets: tuple[str, str], plain: bool = False
) -> list[tuple[str, str]]:
    target = parse_target("https", "real.example:8443", "/")
    found = outgoing_headers(message, target, SentSecrets(secrets), plain=plain)
    return [(name.decode().lower(), value.decode()) for name, value in found]


@pytest.mark.parametrize(
    "name",
    ["Connection", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "TE", "Trailer",
     "HTTP2-Settings", "Expect"],
)  # fmt: skip
def test_headers_about_the_connection_are_dropped(name: str) -> None:
    found = dict(sent_headers(request((name, "x-other"), ("X-Kept", "1"))))

    assert found == {"host": "real.example:8443", "x-kept": "1", "connection": "close"}


def test_headers_that_connection_names_are_dropped_and_a_secret_is_not() -> None:
    message = request(("Connection", "X-Drop, Authorization"), ("X-Drop", "1"))

    found = dict(sent_headers(message, ("Authorization", "Bearer s")))

    assert "x-drop" not in found
    assert found["authorization"] == "Bearer s"


@pytest.mark.parametrize("name", ["X-Api-Key", "x-api-key", "X_Api_Key", "x-API_key"])
def test_a_header_of_the_programs_never_stands_beside_a_secret(name: str) -> None:
    found = sent_headers(request((name, "mine")), ("X-Api-Key", "real"))

    assert [value for key, value in found if key.replace("_", "-") == "x-api-key"] == ["real"]


def test_with_secrets_answers_come_whole_and_plain() -> None:
    message = request(("Accept-Encoding", "gzip"), ("Range", "bytes=0-3"), ("If-Range", "x"))

    assert dict(sent_headers(message, plain=True)) == {
        "host": "real.example:8443",
        "accept-encoding": "identity",
        "connection": "close",
    }


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (request(method="TRACE"), "TRACE"),
        (request(method="PROPFIND"), "PROPFIND"),
        (request(("Upgrade", "websocket"), ("Connection", "Upgrade")), "websocket"),
        (request(("Upgrade", "h2c")), "upgrade"),
        (request(("Transfer-Encoding", "chunked"), ("Content-Length", "3")), "both"),
    ],
)
def test_what_is_no_ordinary_request_is_refused(message: h11.Request, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        check_request(message)

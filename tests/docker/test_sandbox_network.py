"""The network of a tool in real containers, on both runtimes: what passes, what is refused."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker_fixtures import RUNTIMES, listed_runtime
from networks import CLIENT, SECRET, key_for, make_service
from webservers import WebServer, web_server, write_ca

from policies.limits import ResourceLimits
from policies.permissions import LintLevel
from sandbox.base import CallOptions, ExecutionResult, Outcome, Program
from sandbox.broker.authority import Authority
from sandbox.broker.service import NetworkService
from sandbox.docker_sandbox import DockerSandbox
from sandbox.engine import Engine

LIMITS = ResourceLimits(wall_seconds=60.0)


@pytest.fixture(params=RUNTIMES)
async def either(
    request: pytest.FixtureRequest, engine: Engine, owner: str, image_digest: str
) -> AsyncIterator[DockerSandbox]:
    """A sandbox on each runtime, for what the runtime has a part in."""
    runtime = await listed_runtime(engine, request.config, request.param)
    async with DockerSandbox(
        engine, image_digest=image_digest, owner=owner, runtime=runtime
    ) as sandbox:
        yield sandbox


@pytest.fixture
def plain() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def tls(authority: Authority) -> Iterator[WebServer]:
    with web_server(authority) as server:
        yield server


async def run(
    sandbox: DockerSandbox,
    service: NetworkService,
    body: str,
    *,
    limits: ResourceLimits = LIMITS,
) -> ExecutionResult:
    """Call `run()` with that body, beside a function `get(url)`, with the network granted."""
    code = CLIENT.partition("def run()")[0] + "def run():\n" + textwrap.indent(body, "    ")
    program = Program(code=code, function="run", level=LintLevel.L3, limits=limits, sockets=True)
    return await sandbox.run(program, {}, CallOptions(services=(service,)))


async def test_requests_go_through_the_broker_and_secrets_stay_outside(
    either: DockerSandbox,
    plain: WebServer,
    tls: WebServer,
    authority: Authority,
    tmp_path: Path,
) -> None:
    """The secret arrives at the server, and is found nowhere that the tool can read."""
    service = make_service(
        f"GET,POST {plain.at('/')}",
        tls.at("/"),
        ca_file=write_ca(authority, tmp_path),
        secrets=key_for(tls.at("/")),
    )
    body = f"""
        import os
        answers = [get({plain.at("/a")!r}), get({plain.at("/body")!r}, data=b"sent")]
        answers += [get({tls.at("/headers")!r}), get({tls.at("/bytes/400000")!r})]
        # In two parts and never whole, or the search would find itself.
        backwards = {SECRET[::-1]!r}.encode()
        first, second = backwards[:-7:-1], backwards[-7::-1]
        def holds(data):
            place = data.find(first)
            while place >= 0:
                if data[place + len(first) : place + len(first) + len(second)] == second:
                    return True
                place = data.find(first, place + 1)
            return False
        found = []
        paths = ["/proc/self/environ", "/proc/self/cmdline", "/proc/self/maps"]
        for path in paths + ["/tmp/" + name for name in os.listdir("/tmp")]:
            with open(path, "rb") as file:
                found += [path] * holds(file.read())
        regions = [line.split() for line in open("/proc/self/maps")]
        searched = 0
        with open("/proc/self/mem", "rb", 0) as file:
            for place, rights, *_, name in regions:
                begin, end = (int(each, 16) for each in place.split("-"))
                if "w" in rights and end - begin < 1 << 26:
                    file.seek(begin)
                    data = file.read(end - begin)
                    searched += len(data)
                    found += [place] * holds(data)
        return {{"answers": answers, "found": found, "searched": searched}}
    """

    result = await run(either, service, textwrap.dedent(body))

    assert result.outcome is Outcome.RETURNED, (result.error_message, result.traceback)
    seen: Any = result.value
    assert seen["answers"][:2] == [[200, "GET /a"], [200, "sent"]]
    assert f"X-Key: Bearer {'*' * len(SECRET)}" in seen["answers"][2][1]
    assert len(seen["answers"][3][1]) == 400_000
    assert tls.seen[0].header("X-Key") == [f"Bearer {SECRET}"]
    assert seen["found"] == []
    assert seen["searched"] > 1_000_000
    assert SECRET not in result.model_dump_json()
    assert [event.allowed for event in service.events] == [True] * 4


async def test_refusals_are_told_to_the_tool_in_words(
    sandbox: DockerSandbox, plain: WebServer, tls: WebServer
) -> None:
    service = make_service(
        plain.at("/v1/"), plain.at("/redirect/"), "http://192.168.7.7/", tls.at("/")
    )
    urls = {
        "http://elsewhere.example/": "no grant for GET",
        plain.at("/v2/"): "no grant for GET",
        plain.at("/v1/%2e%2e/v2/"): "segment",
        plain.at("/redirect/?http://169.254.169.254/latest/"): "a redirect led there",
        "http://192.168.7.7/": "is a private address",
        f"http://localhost:{plain.port}/v1/": "no grant for GET",
        tls.at("/"): "is not trusted",
        "https://elsewhere.example/": "no grant for GET https://elsewhere.example/",
        "http://[::1]/": "no grant for GET",
    }
    body = f"answers = [get(url) for url in {list(urls)!r}]\n"
    body += f"return [*answers, get({plain.at('/v1/')!r}, method='DELETE')]"

    result = await run(sandbox, service, body)

    assert isinstance(result.value, list), result.error_message
    for answer, words in zip(
        result.value, [*urls.values(), "declares only GET, HEAD there"], strict=True
    ):
        assert isinstance(answer, list)
        assert answer[0] in (403, 502)
        assert words in str(answer[1])
    assert {seen.line.partition("?")[0] for seen in plain.seen} == {"/redirect/"}
    assert len([event for event in service.events if not event.allowed]) == len(urls)


async def test_there_is_no_way_out_but_the_proxy(either: DockerSandbox, plain: WebServer) -> None:
    """No interface, no family of sockets but one, nothing that answers besides the proxy."""
    service = make_service(plain.at("/"))
    body = f"""
        import errno, os, socket
        def told(attempt):
            try:
                attempt()
            except OSError as error:
                return errno.errorcode.get(error.errno, str(error.errno))
            return "possible"
        def connect(place):
            with socket.socket() as plain:
                plain.settimeout(2)
                plain.connect(place)
        kinds = [(family, kind) for family in (1, 2, 10, 16, 17, 38, 40) for kind in (1, 2, 3, 5)]
        opener = __import__("urllib.request").request.build_opener(
            __import__("urllib.request").request.ProxyHandler({{}})
        )
        def direct():
            opener.open({plain.at("/")!r}, timeout=2)
        return {{
            "interfaces": [name for _, name in socket.if_nameindex()]
            if told(socket.if_nameindex) == "possible" else os.listdir("/sys/class/net"),
            "sockets": [pair for pair in kinds if told(lambda: socket.socket(*pair)) == "possible"],
            "away": [told(lambda: connect((host, port))) for host, port in
                     (("8.8.8.8", 53), ("172.17.0.1", {plain.port}), ("169.254.169.254", 80))],
            "direct": told(direct),
            "names": told(lambda: socket.getaddrinfo("example.com", 80)),
            "proxied": get({plain.at("/")!r})[0],
        }}
    """

    result = await run(either, service, textwrap.dedent(body))

    assert isinstance(result.value, dict), (result.error_message, result.traceback)
    assert result.value["sockets"] == [[2, 1]]
    assert result.posture.interfaces == ("lo",)
    assert "possible" not in str(result.value["away"])
    assert result.value["direct"] != "possible"
    assert result.value["names"] != "possible"
    assert result.value["proxied"] == 200


async def test_without_hosts_no_socket_can_be_opened(sandbox: DockerSandbox) -> None:
    code = "def run():\n    import socket\n    socket.socket()"
    program = Program(code=code, function="run", level=LintLevel.L3, limits=LIMITS)

    result = await sandbox.run(program, {})

    assert result.error_type == "PermissionError"


async def test_bytes_and_time_are_bounded(sandbox: DockerSandbox, plain: WebServer) -> None:
    """A flood is cut, what does not answer ends with the call, and the next call works."""
    small = make_service(plain.at("/"), response_bytes=500_000, requests=4)
    result = await run(
        sandbox,
        small,
        f"return [get(url)[0] for url in [{plain.at('/chunked/10000')!r}, "
        f"{plain.at('/bytes/9000000')!r}] + [{plain.at('/')!r}] * 3]",
    )
    assert isinstance(result.value, list), result.error_message
    assert result.value[1] == 403
    assert result.value[-1] == 403
    assert sum(event.response_bytes for event in small.events) <= 500_000
    assert "network.requests" in small.events[-1].reason

    slow = make_service(plain.at("/"))
    result = await run(
        sandbox,
        slow,
        f"return get({plain.at('/hang/30')!r})",
        limits=ResourceLimits(wall_seconds=2.0),
    )
    assert result.outcome is Outcome.TIMED_OUT
    assert "the call ended before" in slow.events[0].reason

    result = await run(sandbox, make_service(plain.at("/")), f"return get({plain.at('/')!r})")
    assert result.value == [200, "GET /"]


async def test_a_tool_that_leaves_connections_behind_still_answers(
    either: DockerSandbox, plain: WebServer
) -> None:
    """Half a request, a program that never reads, one that resets: none holds up the answer."""
    service = make_service(plain.at("/"))
    body = f"""
        import os, socket
        port = int(os.environ["http_proxy"].rpartition(":")[2])
        kept = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
        kept[0].sendall(b"GET http://")
        ask = "GET {{}} HTTP/1.1\\r\\nHost: 127.0.0.1:{plain.port}\\r\\n\\r\\n"
        kept[1].sendall(ask.format({plain.at("/chunked/2000")!r}).encode())
        kept[2].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
        kept[2].sendall(ask.format({plain.at("/hang/1")!r}).encode())
        kept[2].close()
        globals()["kept"] = kept
        return get({plain.at("/")!r})
    """

    result = await run(either, service, textwrap.dedent(body))

    assert result.value == [200, "GET /"], (result.error_message, result.traceback)


@pytest.mark.parametrize(
    "attack",
    [
        "write(11, b'\\0\\0\\0\\x09')",
        "write(12, b'\\0\\0\\0\\1\\0\\0\\0\\0' + b'x' * 65537)",
        "write(12, b'\\0\\0\\0\\x63\\0\\0\\0\\0')",
        "write(11, number) or write(12, number + b'\\xff' * 4)",
        "write(13, b'')",
    ],
)
async def test_forged_frames_end_the_call_and_nothing_else(
    sandbox: DockerSandbox, plain: WebServer, attack: str
) -> None:
    service = make_service(plain.at("/"))
    body = f"""
        import os, stat, time
        pipes = [n for n in map(int, os.listdir("/proc/self/fd")) if n > 2]
        number = b"\\0\\0\\0\\1"
        def write(kind, payload):
            data = bytes([kind]) + bytes(4) + len(payload).to_bytes(4, "big") + payload
            for descriptor in pipes:
                try:
                    os.write(descriptor, data)
                except OSError:
                    pass
        {attack}
        time.sleep(1)
    """

    result = await run(sandbox, service, textwrap.dedent(body))

    assert result.outcome in (Outcome.PROTOCOL_BROKEN, Outcome.LIMIT_EXCEEDED), result
    assert not plain.seen
    assert not re.search(r"Traceback", json.dumps(result.error_message))

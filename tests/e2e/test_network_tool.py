"""A tool that sends requests, from its definition to its call, under a policy file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from webservers import WebServer, web_server

from policies.source import ToolSource
from runtime.settings import Settings
from runtime.wiring import Runtime, open_runtime
from sandbox.docker_sandbox import DockerSandbox

VALUE = "correct-horse-battery"
POLICY = """
name = "networked"

[admission]
levels = ["L0", "L3"]
automatic_levels = ["L0", "L3"]
review = "never"
author_may_approve = true

[evidence]
examples = 1
runs_per_example = 1
property_runs = 3
property_failures = "allow"

[network]
allow = ["{url}"]
private_addresses = ["127.0.0.1/32"]

[secrets.key]
hosts = ["{url}headers"]
header = "X-Key"
"""
CODE = '''import urllib.request


def fetch(page: int) -> str:
    """Fetch a page.

    Args:
        page: Its number.

    Raises:
        HTTPError: The server or the broker refuses.
    """
    where = {{7: "headers", 9: "redirect?http://10.0.0.1/"}}.get(page, f"pages/{{page}}")
    with urllib.request.urlopen("{url}" + where) as answer:
        return answer.read().decode()
'''


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
async def networked(
    home: Path, tmp_path: Path, sandbox: DockerSandbox, server: WebServer
) -> AsyncIterator[Runtime]:
    policy = tmp_path / "networked.toml"
    policy.write_text(POLICY.format(url=server.at("/")))
    folder = home / "secrets"
    folder.mkdir(parents=True)
    (folder / "key").write_text(VALUE)
    (folder / "key").chmod(0o600)
    settings = Settings(home=home, policy=str(policy))
    async with open_runtime(settings=settings, sandbox=sandbox) as opened:
        yield opened


def source(server: WebServer, *hosts: str) -> ToolSource:
    return ToolSource.model_validate(
        {
            "name": "fetch",
            "description": "Fetch a page.",
            "code": CODE.format(url=server.at("/")),
            "examples": [{"arguments": {"page": 1}, "returns": "GET /pages/1"}],
            "permissions": {"hosts": hosts, "secrets": ["key"]},
        }
    )


async def test_a_tool_is_proven_with_the_network_and_called_with_a_secret(
    networked: Runtime, server: WebServer
) -> None:
    outcome = await networked.define_tool(source(server, server.at("/")))
    assert outcome.admitted, outcome.reasons
    trials = list(server.seen)
    result = await networked.call_tool("fetch", {"page": 7})
    off = await networked.call_tool("fetch", {"page": 9})

    assert any(seen.line == "/pages/1" for seen in trials)
    assert not any(seen.header("X-Key") for seen in trials)
    assert server.seen[len(trials)].header("X-Key") == [VALUE]
    assert "*" * len(VALUE) in str(result.content)
    assert result.execution is not None
    assert [(e.allowed, e.secrets) for e in result.execution.traffic] == [(True, ("key",))]
    assert off.is_error
    assert "no grant for GET http://10.0.0.1/; a redirect led there" in str(off.content)
    left = [path for path in networked.settings.home.rglob("*") if path.is_file()]
    assert [path.name for path in left if VALUE.encode() in path.read_bytes()] == ["key"]


async def test_what_the_policy_does_not_grant_is_never_tried(
    networked: Runtime, server: WebServer
) -> None:
    outcome = await networked.define_tool(source(server, f"GET,POST {server.at('/')}"))

    assert not outcome.admitted
    assert any(
        finding.rule == "RP403" and "the methods POST" in finding.message
        for finding in outcome.findings
    )
    assert not server.seen

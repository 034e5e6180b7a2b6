"""A policy that wants two hosts: the second proves what the first made, each with its own keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from policies.source import Example, ToolSource
from runtime.settings import Settings
from runtime.wiring import open_runtime
from sandbox.docker_sandbox import DockerSandbox
from toolstore.attest.errors import NotInForceError
from toolstore.attest.keys import KeyRing
from toolstore.models import ToolRef

SOURCE = ToolSource(
    name="double",
    description="Double a number.",
    code='def double(number: int) -> int:\n    """Double a number."""\n    return number * 2\n',
    examples=(
        Example.model_validate({"arguments": {"number": 2}, "returns": 4}),
        Example.model_validate({"arguments": {"number": -3}, "returns": -6}),
    ),
)
POLICY = """
name = "two-hosts"

[admission]
levels = ["L0"]
automatic_levels = ["L0"]
review = "never"
author_may_approve = false

[evidence]
examples = 1
runs_per_example = 1
property_runs = 4
property_failures = "allow"

[signatures]
lint = 2
examples = 2
properties = 2
replay = 1
"""


@pytest.fixture
def hosts(tmp_path: Path) -> tuple[Settings, Settings]:
    """Two on one store, which trust each other."""
    (tmp_path / "policy.toml").write_text(POLICY)
    one, other = (
        Settings(
            home=tmp_path / name,
            store=SecretStr(str(tmp_path / "store")),
            policy=str(tmp_path / "policy.toml"),
        )
        for name in ("one", "other")
    )
    rings = [KeyRing(host.home / "keys") for host in (one, other)]
    for host in (one, other):
        host.home.mkdir(mode=0o700)
    rings[0].trust(rings[1].public_keys())
    rings[1].trust(rings[0].public_keys())
    return one, other


async def test_a_second_host_proves_a_version_and_then_it_can_be_called(
    hosts: tuple[Settings, Settings], sandbox: DockerSandbox
) -> None:
    one, other = hosts
    async with open_runtime(settings=one, sandbox=sandbox) as runtime:
        outcome = await runtime.define_tool(SOURCE)
        assert outcome.admitted, outcome.reasons
        with pytest.raises(NotInForceError, match=r"by 1 key.*on another host"):
            await runtime.call_tool("double", {"number": 4})
    async with open_runtime(settings=other, sandbox=sandbox) as runtime:
        done = await runtime.prove("double")
        assert done.proven, done.reasons
        assert done.runs == 6
        assert (await runtime.call_tool("double", {"number": 4})).content == 8
        assert (await runtime.store.verify()).intact


@pytest.mark.heavy
async def test_an_import_of_what_a_trusted_host_proved_counts_for_two(
    hosts: tuple[Settings, Settings], sandbox: DockerSandbox, tmp_path: Path
) -> None:
    one, other = hosts
    apart = other.model_copy(update={"store": SecretStr(str(tmp_path / "apart"))})
    async with open_runtime(settings=one, sandbox=sandbox) as runtime:
        made = await runtime.define_tool(SOURCE)
        bundle = await runtime.store.exchange.export(ToolRef(name="double"))
    async with open_runtime(settings=apart, sandbox=sandbox) as runtime:
        taken = await runtime.import_bundle(bundle)
        assert taken.digest == made.digest
        assert (await runtime.call_tool("double", {"number": 4})).content == 8


@pytest.mark.heavy
async def test_what_does_not_hold_here_is_not_vouched_for(
    hosts: tuple[Settings, Settings], sandbox: DockerSandbox, tmp_path: Path
) -> None:
    one, other = hosts
    (tmp_path / "strict.toml").write_text(POLICY.replace("examples = 1", "examples = 3", 1))
    strict = other.model_copy(update={"policy": str(tmp_path / "strict.toml")})
    async with open_runtime(settings=one, sandbox=sandbox) as runtime:
        await runtime.define_tool(SOURCE)
    async with open_runtime(settings=strict, sandbox=sandbox) as runtime:
        done = await runtime.prove("double")
        events = await runtime.store.events("double")

    assert not done.proven
    assert "2 example(s) given, at least 3 wanted" in done.reasons[0]
    assert "proven" not in [event.type for event in events]

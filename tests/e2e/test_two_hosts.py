"""Two hosts of a team on one PostgreSQL store, each with keys of its own, in real containers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from factories import allowed, make_submission
from hosts import Host, reviewing_policy, two_hosts
from looping import call, calls, results_of, script
from postgres_server import PostgresServer
from toolmaking import adder

from policies.source import Example, ToolSource
from runtime.events import CallStarted
from runtime.messages import UserMessage
from runtime.profiles import read_profile
from runtime.review.item import Vote
from runtime.sessions import Session
from runtime.wiring import Runtime, open_runtime
from sandbox.docker_sandbox import DockerSandbox
from toolstore.attest.keys import KeyRing
from toolstore.models import Lifecycle, ToolRef
from toolstore.store import ToolStore

SPIN = ToolSource(
    name="spin",
    description="Gives a word back.",
    code=(
        'def spin(word: str) -> str:\n    while word == "turn":\n        pass\n    return word\n'
    ),
    examples=(Example(arguments={"word": "a"}, returns="a"),),
)


@pytest.fixture
def team(tmp_path: Path, postgres_url: str) -> tuple[Host, Host]:
    return two_hosts(tmp_path, postgres_url, reviewing_policy(tmp_path / "team.toml"))


@pytest.fixture
async def runtime(team: tuple[Host, Host], sandbox: DockerSandbox) -> AsyncIterator[Runtime]:
    async with open_runtime(settings=team[0].settings, sandbox=sandbox) as opened:
        yield opened


def defines(source: ToolSource, number: str):
    return calls(call(number, "define_tool", json.dumps(source.to_json())))


async def test_what_another_host_approves_is_called_and_what_it_revokes_is_stopped(
    team: tuple[Host, Host], runtime: Runtime, sandbox: DockerSandbox
) -> None:
    running = asyncio.Event()
    model = script(
        defines(SPIN, "1"),
        "It waits.",
        calls(call("2", "spin", '{"word": "b"}')),
        "It works.",
        calls(call("3", "spin", '{"word": "turn"}')),
        "It was taken back.",
    )

    def listen(event: object) -> None:
        if isinstance(event, CallStarted) and "turn" in str(event):
            running.set()

    async with (
        open_runtime(settings=team[1].settings, sandbox=sandbox) as other,
        runtime.session(model=model, on_event=listen) as session,
    ):
        assert (await session.send("make it")).text == "It waits."
        version = await other.store.find(ToolRef(name="spin"))
        await other.desk.decide(version.digest, Vote.APPROVE, principal="bob", reason="fine")
        assert (await session.send("try it")).text == "It works."
        assert '"result":"b"' in results_of(session.messages)[-1].content

        answer = asyncio.create_task(session.send("let it turn"))
        await running.wait()
        await asyncio.sleep(0.3)
        began = time.monotonic()
        await other.store.revoke(version.ref, actor="bob", reason="it hangs")
        assert (await answer).text == "It was taken back."

        assert time.monotonic() - began < 2.0
        assert "stopped: it became revoked" in results_of(session.messages)[-1].content
        news = [each.text for each in session.messages if isinstance(each, UserMessage)]
        assert any("spin@1 is approved by bob" in text for text in news)
        for each in (runtime, other):
            assert (await each.store.verify()).intact


# -- all of it, by commands in processes of their own ----------------------------------------------


async def result(session: Session, prompt: str) -> str:
    """What the last call of a turn came to."""
    await session.send(prompt)
    return results_of(session.messages)[-1].content


async def long_ago(host: Host) -> None:
    """Two tools that nobody has called for months, one of them deprecated."""
    at = datetime.now(UTC) - timedelta(days=200)
    ring = KeyRing(host.home / "keys", clock=lambda: at)
    policy = read_profile(str(host.policy))  # another one would be asked again when it is loaded
    decision = allowed().model_copy(update={"policy_digest": policy.digest})
    async with await ToolStore.open(host.store, keys=ring, clock=lambda: at) as store:
        await store.decisions.keep_policy(policy.text, digest=policy.digest, actor="ada")
        for name in ("idle", "older"):
            submission = make_submission(name, created_at=at, decision=decision)
            await store.admit(submission, actor="ada")
        await store.lifecycle.deprecate(ToolRef(name="older"), actor="ada", reason="old")


async def trust_each_other(ada: Host, bob: Host) -> None:
    """As their people do it."""
    for one, other in ((ada, bob), (bob, ada)):
        keys = await one.answers("store", "keys", "export")
        await other.answers("store", "keys", "trust", "-", "--json", text=json.dumps(keys))


async def approve(host: Host, ref: str) -> None:
    """A person on that host says yes to what is waiting."""
    shown = await host.answers("review", "show", ref, "--json")
    answer = await host.answers("review", "approve", ref, "--digest", shown["digest"], "--json")
    assert answer["state"] == "approved"


async def made(runtime: Runtime, bob: Host, source: ToolSource, ref: str) -> None:
    """A version proposed on one host and approved on the other."""
    assert str((await runtime.define_tool(source, insist=True)).ref) == ref
    await approve(bob, ref)


@pytest.mark.heavy
@pytest.mark.timeout(900)
async def test_a_team_works_on_one_store_by_commands(
    tmp_path: Path, postgres_server: PostgresServer, sandbox: DockerSandbox
) -> None:
    policy = reviewing_policy(
        tmp_path / "team.toml", "\n[lifecycle]\ncanary = { false_alarm = 0.5 }\n"
    )
    url = postgres_server.new_store()
    ada, bob = (Host(tmp_path / name, url, policy, name) for name in ("ada", "bob"))
    await long_ago(ada)
    await trust_each_other(ada, bob)
    async with open_runtime(settings=ada.settings, sandbox=sandbox) as runtime:
        await _define_approve_pin(runtime, bob)
        await _canary(runtime, bob)
        await _retire(runtime, bob)  # what a policy sets aside and lets back is not idle
        await _other_policy(runtime, bob, tmp_path)
        await _revoke(runtime, bob)
    await _verify_and_copy(ada, bob, tmp_path, postgres_server)


async def _define_approve_pin(runtime: Runtime, bob: Host) -> None:
    """A session waits for a tool, stays with it, and another one gets what came after."""
    use = calls(call("c", "plus", '{"a": 40}'))
    model = script(defines(adder("plus", 2), "1"), "waits", use, "ok", use, "ok")
    async with runtime.session(model=model) as session:
        await session.send("make it")
        await approve(bob, "plus@1")
        assert '"result":42' in await result(session, "use it")
        pinned = await bob.answers("tools", "pin", "plus@1", "--session", session.id, "--json")
        assert pinned["ref"] == "plus@1"
        await made(runtime, bob, adder("plus", 3), "plus@2")
        assert '"result":42' in await result(session, "use it again")
    async with runtime.session(model=script(use, "ok")) as another:
        assert '"result":43' in await result(another, "use it")


async def _canary(runtime: Runtime, bob: Host) -> None:
    """A version that fails is tried on the other host's word, and goes by itself."""
    worse = adder("plus", 3, spelling="a + {} + (1 // (a - 7)) * 0")
    await made(runtime, bob, worse, "plus@3")
    await bob.answers("tools", "rollback", "plus", "--to", "plus@2", "--json")
    await bob.answers("tools", "canary", "plus@3", "--weight", "1.0", "--json")
    use = [calls(call(str(n), "plus", '{"a": 7}')) for n in range(6)]
    async with runtime.session(model=script(*use, "ok")) as session:
        assert '"result":10' in await result(session, "use it")
    channels = await bob.answers("tools", "channels", "plus", "--json")
    assert [each["sequence"] for each in channels["versions"]] == [2]
    assert (await runtime.store.find(ToolRef(name="plus", sequence=3))).state is (
        Lifecycle.DEPRECATED
    )


async def _other_policy(runtime: Runtime, bob: Host, folder: Path) -> None:
    """One host has another policy: what it does not let pass is gone for both, and comes back."""
    strict = reviewing_policy(folder / "strict.toml")
    strict.write_text(strict.read_text().replace("examples = 1\n", "examples = 5\n"))
    stricter = Host(bob.home, bob.store, strict, "bob")
    use = calls(call("1", "plus", '{"a": 1}'))
    model = script(use, "ok", use, "ok", use, "ok")
    async with runtime.session(model=model) as session:
        assert '"result":4' in await result(session, "use it")
        applied = await stricter.answers("policy", "apply", "--json")
        assert "set aside" in json.dumps(applied)
        told = await result(session, "use it")
        assert "quarantined" in told or "no tool" in told, told
        back = await bob.answers("policy", "apply", "--json")
        assert "comes back" in json.dumps(back)
        assert '"result":4' in await result(session, "use it")


async def _retire(runtime: Runtime, bob: Host) -> None:
    """What nobody calls goes, one step at a time, and what is called stays."""
    found = await bob.answers("tools", "retire", "--json")
    done = await bob.answers("tools", "retire", "--do", "--json")
    for said in (found, done):
        assert "idle@1" in json.dumps(said)
        assert "older@1" in json.dumps(said)
        assert "plus@2" not in json.dumps(said)
    states = {each.name: each.state for each in await runtime.store.summaries()}
    assert (states["idle"], states["older"]) == (Lifecycle.DEPRECATED, Lifecycle.ARCHIVED)


async def _revoke(runtime: Runtime, bob: Host) -> None:
    """A call that runs ends when another process takes its version back."""
    await made(runtime, bob, SPIN, "spin@1")
    running = asyncio.Event()

    def listen(event: object) -> None:
        if isinstance(event, CallStarted):
            running.set()

    model = script(calls(call("1", "spin", '{"word": "turn"}')), "ok")
    async with runtime.session(model=model, on_event=listen) as session:
        turning = asyncio.create_task(result(session, "turn"))
        await running.wait()
        await bob.answers("tools", "revoke", "spin", "--reason", "it hangs", "--json")
        told = await turning
        stopped_at = datetime.now(UTC)
    assert "it became revoked while it ran: it hangs" in told
    revoked = (await runtime.store.events("spin"))[-1]
    assert (stopped_at - revoked.at).total_seconds() < 2.0


async def _verify_and_copy(ada: Host, bob: Host, folder: Path, server: PostgresServer) -> None:
    """Both hosts find the same, here, in a folder, and on the server again."""
    signed = [await host.answers("store", "checkpoint", "--json") for host in (ada, bob)]
    assert signed[0]["head"] == signed[1]["head"]
    first = await ada.answers("store", "verify", "--json")
    assert first["damage"] == []
    there, back = str(folder / "copy"), server.new_database()
    copies = [
        await bob.answers("store", "copy", source, target, "--json")
        for source, target in ((ada.store, there), (there, back))
    ]
    assert copies[0]["tables"] == copies[1]["tables"]
    for host in (ada, bob):
        for place in (ada.store, there, back):
            assert await host.answers("store", "verify", "--json", store=place) == first

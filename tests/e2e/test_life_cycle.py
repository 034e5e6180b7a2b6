"""Versions for one session, canaries and revocation in mid-call, on the whole path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import pytest
from toolmaking import adder, asks, says

from policies.source import Example, ToolSource
from runtime.events import CallFinished, CallStarted
from runtime.models.scripted import ScriptedModel
from runtime.settings import Settings
from runtime.wiring import Runtime, open_runtime
from sandbox.docker_sandbox import DockerSandbox
from toolstore.models import Lifecycle, ToolRef

LIFECYCLE = """
[lifecycle]
first_channel = "session"
canary = { false_alarm = 0.5 }
"""


@pytest.fixture
async def careful(tmp_path: Path, sandbox: DockerSandbox) -> AsyncIterator[Runtime]:
    """A runtime whose policy gives a tool to the session that wrote it, and to nobody else."""
    policy = tmp_path / "careful.toml"
    policy.write_text((files("policies") / "profiles" / "local.toml").read_text() + LIFECYCLE)
    settings = Settings(home=tmp_path / "home", policy=str(policy))
    async with open_runtime(settings=settings, sandbox=sandbox) as opened:
        yield opened


class Results:
    """What the model read of its calls."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.started = asyncio.Event()

    def __call__(self, event: object) -> None:
        if isinstance(event, CallStarted):
            self.started.set()
        if isinstance(event, CallFinished):
            self.texts.append(event.result.content)


def spinner() -> ToolSource:
    """A tool that never comes back from one word, which no generated argument is."""
    return ToolSource(
        name="spin",
        description="Gives a word back.",
        code=(
            "def spin(word: str) -> str:\n"
            '    while word == "turn":\n'
            "        pass\n"
            "    return word\n"
        ),
        examples=(Example(arguments={"word": "a"}, returns="a"),),
    )


async def test_a_call_in_flight_ends_when_its_version_is_revoked(
    runtime: Runtime, neighbour: Runtime
) -> None:
    assert (await runtime.define_tool(spinner())).admitted
    heard = Results()
    model = ScriptedModel.of([asks("spin", {"word": "turn"}), says("it was taken back")])
    async with runtime.session(model=model, on_event=heard) as session:
        reply = asyncio.create_task(session.send("spin"))
        await heard.started.wait()
        await asyncio.sleep(0.3)

        began = time.monotonic()
        await neighbour.store.revoke(ToolRef(name="spin"), actor="eve", reason="it hangs")
        answer = await reply

    assert time.monotonic() - began < 2.0
    assert answer.text == "it was taken back"
    assert "spin@1 was stopped: it became revoked while it ran: it hangs" in heard.texts[0]


async def test_from_one_session_to_everybody_and_a_canary_that_fails(careful: Runtime) -> None:
    heard = Results()
    model = ScriptedModel.of(
        [
            asks("define_tool", adder("plus_two", 2).to_json()),
            asks("plus_two", {"a": 40}),
            says("42"),
        ]
    )
    async with careful.session(model=model, on_event=heard) as session:
        await session.send("what is 40 plus two?")
    assert '"result":42' in heard.texts[1], heard.texts

    assert "no tool named 'plus_two'" in (await ask(careful, 40))[0]
    promoted = await careful.store.lifecycle.promote(
        ToolRef(name="plus_two", sequence=1), actor="bob", reason="good"
    )
    assert '"result":42' in (await ask(careful, 40))[0]

    worse = adder("plus_two", 2, spelling="a + {} + (1 // (a - 7)) * 0")
    assert (await careful.define_tool(worse)).ref == "plus_two@2"
    await careful.store.rollback("plus_two", actor="bob", reason="try it first", to=promoted.ref)
    await careful.store.lifecycle.canary(
        ToolRef(name="plus_two", sequence=2), weight=1.0, actor="bob", reason="try"
    )
    texts = await ask(careful, *[7] * 6)

    assert "plus_two@2 raised ZeroDivisionError" in texts[0]
    assert '"result":9' in texts[-1]
    failed = await careful.store.find(ToolRef(name="plus_two", sequence=2))
    assert failed.state is Lifecycle.DEPRECATED
    assert "calls of the canary failed" in failed.state_reason


async def ask(runtime: Runtime, *numbers: int) -> list[str]:
    """What a new session reads when it calls the tool with these."""
    heard = Results()
    calls = [asks("plus_two", {"a": number}, f"call_{i}") for i, number in enumerate(numbers)]
    async with runtime.session(model=ScriptedModel.of([*calls, says("ok")]), on_event=heard) as s:
        await s.send("add")
    return heard.texts

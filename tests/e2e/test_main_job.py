"""The main job with every part real: a model server that others wrote, lint, containers, store.

What the model was offered is read from the server's own journal.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aimock import Aimock, Fixture
from toolmaking import adder

from policies.source import ToolSource
from runtime.models.base import ChatModel
from runtime.models.factory import make_model
from runtime.settings import Api, Settings
from runtime.wiring import Runtime, open_runtime
from sandbox.docker_sandbox import DockerSandbox
from toolstore.models import Origin, ToolRef

GOOD = adder("plus_two", 2)
BAD = GOOD.model_copy(update={"code": GOOD.code.replace("return a", "import os\n    return a")})


def asks(when: dict[str, object], name: str, arguments: object) -> Fixture:
    call = {"id": f"call_{len(json.dumps(when))}", "name": name, "arguments": json.dumps(arguments)}
    return {"match": when, "response": {"toolCalls": [call]}}


def says(when: dict[str, object], text: str) -> Fixture:
    return {"match": when, "response": {"content": text}}


def nth(prompt: str, number: int) -> dict[str, object]:
    return {"userMessage": prompt, "sequenceIndex": number}


def definition(source: ToolSource) -> object:
    return {key: value for key, value in source.to_json().items() if key != "permissions"}


FIXTURES: list[Fixture] = [
    asks(nth("add two to forty", 0), "find_tools", {"query": "add two"}),
    asks(nth("add two to forty", 1), "define_tool", definition(BAD)),
    asks(nth("add two to forty", 2), "define_tool", definition(GOOD)),
    asks(nth("add two to forty", 3), "plus_two", {"a": 40}),
    says(nth("add two to forty", 4), "It is 42."),
    asks(nth("add two to five", 0), "plus_two", {"a": 5}),
    says(nth("add two to five", 1), "It is 7."),
]


@pytest.fixture
def server(shared_aimock: Aimock) -> Aimock:
    return shared_aimock.serving(FIXTURES)


@pytest.fixture(params=["responses", "responses-whole", "chat", "chat-whole"])
async def model(request: pytest.FixtureRequest, server: Aimock) -> AsyncIterator[ChatModel]:
    api, _, whole = request.param.partition("-")
    made = make_model("gpt-test", api=Api(api), base_url=server.base_url, stream=not whole)
    yield made
    await made.close()


async def test_a_tool_is_made_mended_used_and_found_again(
    model: ChatModel, server: Aimock, runtime: Runtime, home: Path, sandbox: DockerSandbox
):
    async with runtime.session(model=model) as session:
        reply = await session.send("add two to forty")

    assert (reply.text, reply.turns, reply.stopped) == ("It is 42.", 5, None)
    offered = server.tool_names()
    assert ["plus_two" in names for names in offered] == [False, False, False, True, True]
    refusal, admission, result = tool_results(server)[-3:]
    assert "RP2" in refusal
    assert "line 10" in refusal
    assert "Admitted as plus_two@1" in admission
    assert '"result":42' in result

    version = await runtime.store.get(ToolRef(name="plus_two"))
    assert version.provenance.origin is Origin.AGENT
    assert (version.provenance.session, version.provenance.model) == (session.id, "gpt-test")
    assert version.source.code == GOOD.code

    async with open_runtime(settings=Settings(home=home), sandbox=sandbox) as later:
        async with later.session(model=model) as second:
            reply = await second.send("add two to five")
        assert reply.text == "It is 7."
        assert "plus_two" in server.tool_names()[5]
        assert (await later.store.find(ToolRef(name="plus_two"))).sequence == 1


def tool_results(server: Aimock) -> list[str]:
    """What the last request of the first session answered to the calls, oldest first."""
    messages = server.journal()[4].body["messages"]
    return [str(message["content"]) for message in messages if message["role"] == "tool"]

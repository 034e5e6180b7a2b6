"""The whole loop over the wire: sessions against a server that others wrote."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aimock import Aimock, Fixture
from looping import DictCatalog, SimpleTool, results_of

from policies.value import JsonObject
from runtime.events import RequestRetried, SessionEvent
from runtime.hosttools import tool
from runtime.models.base import ChatModel
from runtime.models.factory import make_model
from runtime.models.retries import RetryPolicy
from runtime.sessions import Session
from runtime.settings import Api
from runtime.tools import ToolAnswer
from runtime.toolset import Toolset
from runtime.transcript import Transcript

SOON = RetryPolicy(requests=3, first_delay_seconds=0.01, jitter=lambda: 0.0)


def asked(prompt: str, turn: int, **response: object) -> Fixture:
    return {"match": {"userMessage": prompt, "turnIndex": turn}, "response": response}


def tool_call(call_id: str, name: str, arguments: str) -> dict[str, str]:
    return {"id": call_id, "name": name, "arguments": arguments}


FIXTURES: list[Fixture] = [
    asked("meet", 0, toolCalls=[tool_call(f"call_{n}", "meet", f'{{"n":{n}}}') for n in range(8)]),
    asked("meet", 1, content="All met."),
    asked("make one", 0, toolCalls=[tool_call("call_1", "define_tool", '{"name":"double"}')]),
    asked("make one", 1, toolCalls=[tool_call("call_2", "double", '{"n":21}')]),
    asked("make one", 2, content="It is 42."),
    asked(
        "wrong",
        0,
        toolCalls=[
            tool_call("call_1", "mete", "{}"),
            tool_call("call_2", "meet", '{"n":"one"}'),
            tool_call("call_3", "meet", "[1]"),
        ],
    ),
    asked("wrong", 1, content="I see."),
    asked("hello", 0, content="Hello to you, whoever you may be."),
    {
        **asked("dropped", 0, content="A text that is sent in several pieces. " * 5),
        "match": {"userMessage": "dropped", "sequenceIndex": 0},
        "latency": 10,
        "truncateAfterChunks": 6,
    },
    asked("dropped", 0, content="Whole this time."),
    asked("goes on", 3, content="So it does."),
    asked("half", 0, toolCalls=[tool_call("call_1", "h\udc00", '{"n":1}')]),
    asked("half", 1, toolCalls=[tool_call("call_2", "half", "{}")]),
    asked("half", 2, content="Still here \ud800"),
]


@pytest.fixture
def server(shared_aimock: Aimock) -> Aimock:
    return shared_aimock.serving(FIXTURES)


@pytest.fixture(params=list(Api), ids=str)
def api(request: pytest.FixtureRequest) -> Api:
    return Api(request.param)


@pytest.fixture(params=[True, False], ids=["streamed", "whole"])
async def model(
    request: pytest.FixtureRequest, api: Api, server: Aimock
) -> AsyncIterator[ChatModel]:
    made = make_model(
        "gpt-test",
        api=api,
        base_url=server.base_url,
        stream=request.param,
        retries=SOON,
    )
    yield made
    await made.close()


async def test_parallel_calls_run_at_once_and_are_all_answered(
    model: ChatModel, server: Aimock
) -> None:
    barrier = threading.Barrier(8)

    @tool(timeout_seconds=30)
    def meet(n: int) -> int:
        """Meet the others."""
        barrier.wait(20)
        return n * n

    session = Session(model=model, toolset=Toolset(host_tools=[meet]))

    reply = await session.send("meet")

    assert (reply.text, reply.turns) == ("All met.", 2)
    body = str(server.journal()[1].body)
    for n in range(8):
        assert f"call_{n}" in body
    assert [result.content for result in results_of(session.messages)] == [
        str(n * n) for n in range(8)
    ]


async def test_a_tool_that_was_added_is_in_the_next_request(
    model: ChatModel, server: Aimock
) -> None:
    catalog = DictCatalog(SimpleTool(f"filler_{n}") for n in range(40))

    def define(arguments: JsonObject) -> ToolAnswer:
        catalog.tools["double"] = SimpleTool("double", lambda _: ToolAnswer("42"))
        return ToolAnswer("admitted", made_tools=(str(arguments["name"]),))

    toolset = Toolset(builtins=[SimpleTool("define_tool", define)], catalog=catalog)

    reply = await Session(model=model, toolset=toolset).send("make one")

    assert reply.text == "It is 42."
    first, second, third = server.tool_names()
    assert "double" not in first
    assert second == third == [*first, "double"]


async def test_wrong_calls_go_back_with_a_way_to_mend_them(model: ChatModel) -> None:
    @tool
    def meet(n: int) -> int:
        """Meet the others."""
        return n

    session = Session(model=model, toolset=Toolset(host_tools=[meet]))

    assert (await session.send("wrong")).text == "I see."
    unknown, misfit, no_object = results_of(session.messages)
    assert "Near names: meet" in unknown.content
    assert "expected integer" in misfit.content
    assert "not a JSON object" in no_object.content


async def test_half_a_character_does_not_end_the_conversation(model: ChatModel) -> None:
    @tool
    def half() -> None:
        """Fail with half of a surrogate pair."""
        raise ValueError("\ud83d")

    session = Session(model=model, toolset=Toolset(host_tools=[half]))

    reply = await session.send("half")

    assert reply.text == "Still here \ud800"
    assert [result.content for result in results_of(session.messages)][-1] == "ValueError: \ud83d"


async def test_a_429_is_waited_out_and_shown(model: ChatModel, server: Aimock) -> None:
    events: list[SessionEvent] = []
    session = Session(model=model, toolset=Toolset(), on_event=events.append)
    server.fail_next(429, "slow down")

    reply = await session.send("hello")

    assert reply.text == "Hello to you, whoever you may be."
    assert [entry.status for entry in server.journal()] == [429, 200]
    assert sum(isinstance(event, RequestRetried) for event in events) == 1


async def test_a_stream_dropped_in_the_middle_leaves_no_half_answer(
    api: Api, server: Aimock
) -> None:
    model = make_model("gpt-test", api=api, base_url=server.base_url, retries=SOON)
    events: list[SessionEvent] = []
    session = Session(model=model, toolset=Toolset(), on_event=events.append)

    reply = await session.send("dropped")
    await model.close()

    assert reply.text == "Whole this time."
    kinds = [event.kind for event in events]
    assert kinds.index("text_streamed") < kinds.index("request_retried")
    assert len(session.messages) == 2


async def test_a_resumed_session_goes_on_over_the_wire(
    model: ChatModel, server: Aimock, tmp_path: Path
) -> None:
    tools = Toolset(
        builtins=[SimpleTool("define_tool", lambda _: ToolAnswer("admitted"))],
        host_tools=[SimpleTool("double", lambda _: ToolAnswer("42"))],
    )
    transcript = Transcript.create(tmp_path, model=model.name)
    async with Session(model=model, toolset=tools, transcript=transcript) as session:
        await session.send("make one")
    async with Session.resume(tmp_path, session.id, model=model, toolset=tools) as again:
        reply = await again.send("goes on")

    assert reply.text == "So it does."
    before, after = (entry.body for entry in server.journal()[-2:])
    key = "messages" if "messages" in after else "input"
    # The earlier conversation is sent byte for byte as it was: a provider's cache holds.
    assert after[key][: len(before[key])] == before[key]

"""Both adapters against a real server: what it receives, and what they do when it fails."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aimock import Aimock, Fixture

from runtime.errors import ModelError, ModelUnavailableError
from runtime.messages import ToolMessage, ToolResult, ToolSpec, Usage, UserMessage
from runtime.models.base import ChatModel, Completed, ModelEvent, ModelRequest, Retrying, TextDelta
from runtime.models.connection import TimeOuts
from runtime.models.factory import make_model
from runtime.models.retries import RetryPolicy

LONG = "This text is long enough to come in several pieces, one after the other, to the end."
SOON = RetryPolicy(requests=3, first_delay_seconds=0.01, jitter=lambda: 0.0)


def spec(name: str) -> ToolSpec:
    return ToolSpec(
        name=name,
        description=f"Does {name}.",
        parameters={
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "default": 1},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    )


FIXTURES: list[Fixture] = [
    {
        "match": {"userMessage": "two cities", "hasToolResult": False},
        "response": {
            "toolCalls": [
                {"id": "call_1", "name": "forecast", "arguments": '{"city":"Oslo","days":null}'},
                {"id": "call_2", "name": "forecast", "arguments": '{"city":"Bergen","days":3}'},
            ]
        },
    },
    {"match": {"userMessage": "two cities"}, "response": {"content": "Rain in both."}},
    {"match": {"userMessage": "long"}, "response": {"content": LONG}},
    {
        "match": {"userMessage": "silence", "sequenceIndex": 0},
        "response": {"content": LONG},
        "latency": 5_000,
    },
    {"match": {"userMessage": "silence"}, "response": {"content": "At last."}},
    {
        "match": {"userMessage": "dropped", "sequenceIndex": 0},
        "response": {"content": LONG},
        "latency": 10,
        "truncateAfterChunks": 6,
    },
    {"match": {"userMessage": "dropped"}, "response": {"content": "Whole this time."}},
    {
        "match": {"userMessage": "garbage"},
        "response": {"content": LONG},
        "chaos": {"malformedRate": 1},
    },
    {
        "match": {"userMessage": "cut short"},
        "response": {"content": "This ends in the", "finishReason": "length"},
    },
]


@pytest.fixture
def server(shared_aimock: Aimock) -> Aimock:
    return shared_aimock.serving(FIXTURES)


@dataclass(frozen=True)
class Mode:
    api: str
    streamed: bool

    def __str__(self) -> str:
        return f"{self.api}-{'streamed' if self.streamed else 'whole'}"

    def model(self, base_url: str, *, event_seconds: float = 30.0) -> ChatModel:
        timeouts = TimeOuts(event_seconds=event_seconds, answer_seconds=event_seconds)
        return make_model(
            "test-model",
            api="chat" if self.api == "chat" else "responses",
            base_url=base_url,
            stream=self.streamed,
            timeouts=timeouts,
            retries=SOON,
        )


MODES = [Mode(api, streamed) for api in ("responses", "chat") for streamed in (True, False)]


@pytest.fixture(params=MODES, ids=str)
def mode(request: pytest.FixtureRequest) -> Mode:
    chosen: Mode = request.param
    return chosen


@pytest.fixture
async def model(mode: Mode, server: Aimock) -> AsyncIterator[ChatModel]:
    made = mode.model(server.base_url)
    yield made
    await made.close()


def asking(prompt: str, *tools: ToolSpec) -> ModelRequest:
    return ModelRequest(instructions="Be brief.", messages=(UserMessage(text=prompt),), tools=tools)


async def events_of(model: ChatModel, request: ModelRequest) -> list[ModelEvent]:
    return [event async for event in model.stream(request)]


async def collect(events: AsyncIterator[ModelEvent], into: list[ModelEvent]) -> None:
    async for event in events:
        into.append(event)  # noqa: PERF401 - what came before the error is to be kept


def completed(events: list[ModelEvent]) -> Completed:
    last = events[-1]
    assert isinstance(last, Completed)
    return last


@asynccontextmanager
async def closing(model: ChatModel) -> AsyncIterator[ChatModel]:
    try:
        yield model
    finally:
        await model.close()


def retries(events: list[ModelEvent]) -> list[Retrying]:
    return [event for event in events if isinstance(event, Retrying)]


async def test_the_server_reads_the_tools_and_results_of_each_request(
    model: ChatModel, server: Aimock
) -> None:
    request = asking("two cities", spec("forecast"))
    first = completed(await events_of(model, request)).message
    results = ToolMessage(
        results=tuple(
            ToolResult(call_id=call.call_id, name=call.name, content=f"rain {call.call_id}")
            for call in first.tool_calls
        )
    )
    grown = request.model_copy(
        update={
            "messages": (*request.messages, first, results),
            "tools": (spec("forecast"), spec("made_since")),
        }
    )
    second = completed(await events_of(model, grown)).message

    assert second.text == "Rain in both."
    assert [call.arguments for call in first.tool_calls] == [
        '{"city": "Oslo"}',
        '{"city":"Bergen","days":3}',
    ]
    assert server.tool_names() == [["forecast"], ["forecast", "made_since"]]
    before, after = server.journal()
    function = before.body["tools"][0]["function"]
    assert function["parameters"]["required"] == ["city", "days"]
    assert before.body["messages"][0] == {"role": "system", "content": "Be brief."}
    answered = {
        message["tool_call_id"]: message["content"]
        for message in after.body["messages"]
        if message["role"] == "tool"
    }
    assert answered == {"call_1": "rain call_1", "call_2": "rain call_2"}


async def test_streamed_text_comes_in_pieces(model: ChatModel, mode: Mode) -> None:
    events = await events_of(model, asking("long"))

    pieces = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(pieces) == LONG
    assert (len(pieces) > 1) == mode.streamed


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_passing_failure_is_mended_by_asking_again(
    model: ChatModel, server: Aimock, status: int
) -> None:
    server.fail_next(status, "Not now")

    events = await events_of(model, asking("long"))

    (retry,) = retries(events)
    assert retry.attempt == 1
    assert f"HTTP {status}: Not now" in retry.reason
    assert completed(events).message.text == LONG
    assert [entry.status for entry in server.journal()] == [status, 200]


async def test_the_servers_word_on_when_to_come_back_is_honoured(
    model: ChatModel, server: Aimock
) -> None:
    server.fail_next(429, "Slow down")  # aimock asks for one second

    (retry,) = retries(await events_of(model, asking("long")))

    assert retry.delay_seconds == pytest.approx(1.0)


@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_a_stream_dropped_in_the_middle_is_begun_anew(server: Aimock, api: str) -> None:
    async with closing(Mode(api, streamed=True).model(server.base_url)) as model:
        events = await events_of(model, asking("dropped"))

    (retry,) = retries(events)
    void, rest = events[: events.index(retry)], events[events.index(retry) :]
    assert any(isinstance(event, TextDelta) for event in void)
    assert [event.text for event in rest if isinstance(event, TextDelta)] == ["Whole this time."]
    assert completed(events).message.text == "Whole this time."


async def test_silence_is_waited_for_only_so_long(server: Aimock, mode: Mode) -> None:
    async with closing(mode.model(server.base_url, event_seconds=1.0)) as model:
        request = model.stream(asking("silence"))
        if mode.streamed:
            events = [event async for event in request]
            assert len(retries(events)) == 1
            assert completed(events).message.text == "At last."
        else:  # the server's pauses are between the events of a stream
            assert completed([event async for event in request]).message.text == LONG


async def test_an_answer_that_is_no_json_is_asked_for_again_and_then_given_up(
    model: ChatModel, server: Aimock
) -> None:
    with pytest.raises(ModelError, match=r"asked 3 times"):
        await events_of(model, asking("garbage"))

    assert len(server.journal()) == SOON.requests


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "invalid_api_key", "Set OPENAI_API_KEY or TOOLKILN_API_KEY"),
        (403, None, "choose another model"),
        (404, "model_not_found", "Check the model's name 'test-model'"),
        (429, "insufficient_quota", "Add credit"),
    ],
)
async def test_what_only_a_person_can_mend_is_not_asked_again(
    model: ChatModel, server: Aimock, status: int, code: str | None, said: str
) -> None:
    server.fail_next(status, "No.", code=code)

    with pytest.raises(ModelUnavailableError, match=said) as caught:
        await events_of(model, asking("long"))

    assert "No." in str(caught.value)
    assert [entry.status for entry in server.journal()] == [status]


async def test_a_conversation_that_is_too_long_is_said_to_be(
    model: ChatModel, server: Aimock
) -> None:
    server.fail_next(400, "maximum is 8192 tokens", code="context_length_exceeded")

    with pytest.raises(ModelError, match=r"longer than the model can read.+8192.+new session"):
        await events_of(model, asking("long"))


async def test_a_server_that_is_not_there_is_named(mode: Mode) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with closing(mode.model(f"http://127.0.0.1:{port}/v1")) as model:
        seen: list[ModelEvent] = []
        with pytest.raises(ModelUnavailableError, match=rf"127\.0\.0\.1:{port}.+base URL"):
            await collect(model.stream(asking("long")), seen)

    assert [type(event) for event in seen] == [Retrying] * (SOON.requests - 1)


async def test_an_answer_cut_at_its_length_says_so(model: ChatModel) -> None:
    assert completed(await events_of(model, asking("cut short"))).stop_reason == "length"


@pytest.mark.parametrize("streamed", [True, False])
async def test_cached_and_reasoning_tokens_are_counted(server: Aimock, streamed: bool) -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 30,
        "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 20},
    }
    server.add({"match": {"userMessage": "count"}, "response": {"content": "1", "usage": usage}})
    # Under this path the server answers in the full form of usage.
    async with closing(Mode("chat", streamed).model(f"{server.url}/api/v1")) as model:
        answer = completed(await events_of(model, asking("count")))

    assert answer.usage == Usage(
        requests=1,
        input_tokens=100,
        cached_input_tokens=64,
        output_tokens=30,
        reasoning_tokens=20,
    )


async def test_cancelling_ends_the_request_at_once(server: Aimock, mode: Mode) -> None:
    async with closing(mode.model(server.base_url)) as model:
        waiting = asyncio.create_task(events_of(model, asking("silence")))
        while not server.journal():  # noqa: ASYNC110 - the server is another process
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])

        assert completed(await events_of(model, asking("long"))).message.text == LONG

"""What every `ChatModel` promises, held by the scripted one and by both adapters.

The adapters talk to aimock, a server written by others; streamed and whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

import pytest
from aimock import Aimock, Fixture, aimock_process

from runtime.errors import ModelError
from runtime.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    ToolResult,
    ToolSpec,
    Usage,
    UserMessage,
)
from runtime.models.base import (
    ChatModel,
    Completed,
    ModelEvent,
    ModelRequest,
    TextDelta,
    ToolCallStarted,
)
from runtime.models.factory import make_model
from runtime.models.scripted import RecordedAnswer, ScriptedModel

WEATHER = ToolSpec(
    name="get_weather",
    description="The weather in a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "default": "C"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
LONG = "Fog in the morning, later sun; towards the evening some rain may come in from the sea."


@dataclass(frozen=True)
class Answer:
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    input_tokens: int = 11
    output_tokens: int = 7


def call(call_id: str, arguments: str) -> ToolCall:
    return ToolCall(call_id=call_id, name="get_weather", arguments=arguments)


CONVERSATIONS: dict[str, tuple[Answer, ...]] = {
    "say something long": (Answer(LONG),),
    "the weather in two cities": (
        Answer(
            "I look it up.",
            (call("call_1", '{"city":"Oslo"}'), call("call_2", '{"city":"Bergen","unit":"F"}')),
        ),
        Answer("Oslo 3, Bergen 41.", input_tokens=40),
    ),
    "break the arguments": (Answer(calls=(call("call_3", '{"city": "Os'),)),),
    "call without a word": (Answer(calls=(call("call_4", '{"city":"Oslo"}'),)),),
}


def fixtures() -> list[Fixture]:
    made: list[Fixture] = []
    for prompt, answers in CONVERSATIONS.items():
        for place, answer in enumerate(answers):
            usage = {
                "prompt_tokens": answer.input_tokens,
                "completion_tokens": answer.output_tokens,
                "total_tokens": answer.input_tokens + answer.output_tokens,
            }
            response: dict[str, object] = {"usage": usage}
            if answer.text:
                response["content"] = answer.text
            if answer.calls:
                response["toolCalls"] = [
                    {"id": each.call_id, "name": each.name, "arguments": each.arguments}
                    for each in answer.calls
                ]
            made.append(
                {
                    "match": {"userMessage": prompt, "hasToolResult": place > 0},
                    "response": response,
                }
            )
    return made


def scripted(prompt: str) -> ScriptedModel:
    return ScriptedModel.of(
        [
            RecordedAnswer(
                message=AssistantMessage(text=answer.text, tool_calls=answer.calls),
                usage=Usage(
                    requests=1,
                    input_tokens=answer.input_tokens,
                    output_tokens=answer.output_tokens,
                ),
            )
            for answer in CONVERSATIONS.get(prompt, ())
        ],
        name="test-model",
    )


@pytest.fixture(scope="module")
def server() -> Iterator[Aimock]:
    with aimock_process(fixtures()) as running:
        yield running


Models: TypeAlias = Callable[[str], ChatModel]


@pytest.fixture(
    params=["scripted", "responses-streamed", "responses-whole", "chat-streamed", "chat-whole"]
)
async def models(request: pytest.FixtureRequest) -> AsyncIterator[Models]:
    """Makes the model that knows the conversation of a prompt."""
    if request.param == "scripted":
        yield scripted
        return
    running: Aimock = request.getfixturevalue("server")
    api, mode = request.param.split("-")
    model = make_model("test-model", api=api, base_url=running.base_url, stream=mode == "streamed")
    yield lambda _prompt: model
    await model.close()


def asking(*messages: Message) -> ModelRequest:
    return ModelRequest(instructions="Be brief.", messages=messages, tools=(WEATHER,))


async def events_of(model: ChatModel, *messages: Message) -> list[ModelEvent]:
    return [event async for event in model.stream(asking(*messages))]


async def answer_of(model: ChatModel, *messages: Message) -> Completed:
    last = (await events_of(model, *messages))[-1]
    assert isinstance(last, Completed)
    return last


def results_for(message: AssistantMessage) -> ToolMessage:
    return ToolMessage(
        results=tuple(
            ToolResult(call_id=each.call_id, name=each.name, content="3")
            for each in message.tool_calls
        )
    )


async def test_the_pieces_of_text_make_up_the_answer_and_the_whole_answer_comes_last(
    models: Models,
) -> None:
    events = await events_of(models("say something long"), UserMessage(text="say something long"))

    *pieces, last = events
    assert isinstance(last, Completed)
    assert "".join(piece.text for piece in pieces if isinstance(piece, TextDelta)) == LONG
    assert all(isinstance(piece, TextDelta) for piece in pieces)
    assert (last.message.text, last.message.tool_calls, last.stop_reason) == (LONG, (), "stop")


async def test_every_call_is_announced_once_and_comes_with_its_own_arguments(
    models: Models,
) -> None:
    prompt = "the weather in two cities"
    events = await events_of(models(prompt), UserMessage(text=prompt))

    started = [event for event in events if isinstance(event, ToolCallStarted)]
    last = events[-1]
    assert isinstance(last, Completed)
    assert last.message.tool_calls == CONVERSATIONS[prompt][0].calls
    assert [(each.call_id, each.name) for each in started] == [
        ("call_1", "get_weather"),
        ("call_2", "get_weather"),
    ]
    assert last.message.text == "I look it up."
    assert last.stop_reason == "tool_calls"


async def test_the_conversation_goes_on_after_the_results(models: Models) -> None:
    prompt = "the weather in two cities"
    model, user = models(prompt), UserMessage(text=prompt)
    first = (await answer_of(model, user)).message

    second = await answer_of(model, user, first, results_for(first))

    assert second.message.text == "Oslo 3, Bergen 41."


async def test_an_answer_that_another_model_gave_can_be_part_of_the_conversation(
    models: Models,
) -> None:
    prompt = "the weather in two cities"
    foreign = AssistantMessage(
        text="Let me see.",
        tool_calls=(call("elsewhere_1", '{"city":"Oslo"}'),),
        native=({"type": "thought", "of": "another"},),
        api="another",
    )

    second = await answer_of(
        models(prompt), UserMessage(text=prompt), foreign, results_for(foreign)
    )

    assert second.message.text == "Oslo 3, Bergen 41."


async def test_a_recorded_answer_survives_the_way_to_disk_and_back(models: Models) -> None:
    prompt = "the weather in two cities"
    model, user = models(prompt), UserMessage(text=prompt)
    first = (await answer_of(model, user)).message

    read_back = AssistantMessage.model_validate_json(first.model_dump_json())

    assert read_back == first
    second = await answer_of(model, user, read_back, results_for(read_back))
    assert second.message.text == "Oslo 3, Bergen 41."


async def test_broken_arguments_stay_the_text_that_they_are(models: Models) -> None:
    prompt = "break the arguments"
    answer = await answer_of(models(prompt), UserMessage(text=prompt))

    assert answer.message.tool_calls == (call("call_3", '{"city": "Os'),)


async def test_an_answer_may_be_a_call_alone(models: Models) -> None:
    prompt = "call without a word"
    events = await events_of(models(prompt), UserMessage(text=prompt))

    assert [type(event) for event in events] == [ToolCallStarted, Completed]
    last = events[-1]
    assert isinstance(last, Completed)
    assert last.message.text == ""


async def test_usage_is_of_one_request(models: Models) -> None:
    answer = await answer_of(models("say something long"), UserMessage(text="say something long"))

    assert answer.usage == Usage(requests=1, input_tokens=11, output_tokens=7)


async def test_a_conversation_that_the_other_side_does_not_know_ends_with_what_to_do(
    models: Models,
) -> None:
    with pytest.raises(ModelError, match=r"^model test-model: .+\. \S.+") as caught:
        await answer_of(models("never heard of"), UserMessage(text="never heard of"))

    assert caught.value.model == "test-model"


async def test_an_answer_that_nobody_reads_to_its_end_disturbs_no_other(models: Models) -> None:
    prompt = "say something long"
    model, user = models(prompt), UserMessage(text=prompt)
    stream = model.stream(asking(user))
    async with aclosing(stream) as events:  # type: ignore[type-var]
        async for _event in events:
            break

    assert (await answer_of(model, user)).message.text == LONG


async def test_cancelling_gets_through_and_disturbs_no_other(models: Models) -> None:
    prompt = "say something long"
    model, user = models(prompt), UserMessage(text=prompt)
    begun = asyncio.Event()

    async def read_slowly() -> None:
        async for _event in model.stream(asking(user)):
            begun.set()
            await asyncio.Event().wait()

    reader = asyncio.create_task(read_slowly())
    await begun.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader

    assert (await answer_of(model, user)).message.text == LONG


async def test_answers_asked_for_at_the_same_time_do_not_mix(models: Models) -> None:
    prompts = ["say something long", "the weather in two cities", "call without a word"] * 3

    answers = await asyncio.gather(
        *(answer_of(models(prompt), UserMessage(text=prompt)) for prompt in prompts)
    )

    assert [answer.message.text for answer in answers] == [
        CONVERSATIONS[prompt][0].text for prompt in prompts
    ]


async def test_closing_twice_is_closing_once(models: Models) -> None:
    model = models("say something long")
    await answer_of(model, UserMessage(text="say something long"))

    await model.close()
    await model.close()


async def test_the_name_is_the_models(models: Models) -> None:
    assert models("say something long").name == "test-model"

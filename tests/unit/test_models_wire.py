"""How requests are written and answers are read, in both APIs' own JSON."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from policies.value import JsonObject
from runtime.messages import AssistantMessage, ToolCall, ToolMessage, ToolResult, Usage, UserMessage
from runtime.models import chat_wire, responses_wire
from runtime.models.base import ModelEvent, ModelRequest, TextDelta, ToolCallStarted
from runtime.models.chat import ChatCompletionsModel
from runtime.models.chat_wire import ChatAnswer
from runtime.models.connection import Connection
from runtime.models.failures import BrokenAnswerError, failure_of_answer
from runtime.models.responses import ResponsesModel
from runtime.models.responses_wire import ResponsesAnswer
from runtime.models.strict import WireTool

CALL = ToolCall(call_id="call_1", name="look", arguments='{"at":"sky"}')
CONVERSATION = (
    UserMessage(text="Look."),
    AssistantMessage(text="I look.", tool_calls=(CALL,)),
    ToolMessage(results=(ToolResult(call_id="call_1", name="look", content="blue"),)),
)
REASONING: JsonObject = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "encrypted_content": "sealed",
}
MESSAGE: JsonObject = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
}
FUNCTION_CALL: JsonObject = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "look",
    "arguments": '{"at":"sky"}',
    "status": "completed",
}


EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def chunk(choices: list[Any], usage: JsonObject | None = None) -> dict[str, Any]:
    """A chunk as OpenAI sends it, checked against its package's own type."""
    made = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o",
        "choices": choices,
        "usage": usage,
    }
    ChatCompletionChunk.model_validate(made)
    return made


def delta(finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return chunk([{"index": 0, "delta": fields, "finish_reason": finish_reason}])


def piece(index: int, **fields: Any) -> dict[str, Any]:
    return delta(tool_calls=[{"index": index, **fields}])


def gathered(*chunks: object) -> tuple[ChatAnswer, list[ModelEvent]]:
    answer = ChatAnswer()
    return answer, [event for each in chunks for event in answer.add(each)]


def response(**fields: Any) -> dict[str, Any]:
    """A response as OpenAI sends it, checked against its package's own type."""
    made = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "gpt-5",
        "status": "completed",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    } | fields
    Response.model_validate(made)
    return made


def event(type_: str, **fields: Any) -> dict[str, Any]:
    """An event as OpenAI sends it, checked against its package's own type."""
    made = {"type": type_, "sequence_number": 1, **fields}
    EVENTS.validate_python(made)
    return made


def read(*events: object) -> tuple[ResponsesAnswer, list[ModelEvent]]:
    answer = ResponsesAnswer()
    return answer, [made for each in events for made in answer.add(each)]


def test_chat_writes_a_conversation_with_a_result_for_each_call() -> None:
    assert chat_wire.messages_json("Be brief.", CONVERSATION) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Look."},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"at":"sky"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "blue"},
    ]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ('{"at": 1', '{"not_json": "{\\"at\\": 1"}'),
        ("[1]", '{"not_json": "[1]"}'),
        ("", "{}"),
        (' {"at": 1} ', '{"at": 1}'),
    ],
)
def test_chat_sends_arguments_back_only_as_json_objects(given: str, sent: str) -> None:
    """Some servers parse them again and refuse the whole request."""
    call = ToolCall(call_id="call_1", name="look", arguments=given)
    (message,) = chat_wire.messages_json("", (AssistantMessage(tool_calls=(call,)),))

    written = message["tool_calls"]
    assert isinstance(written, list)
    assert isinstance(written[0], dict)
    assert written[0]["function"] == {"name": "look", "arguments": sent}


def test_chat_says_strict_only_of_strict_tools() -> None:
    strict = chat_wire.tool_json(WireTool("a", "A.", {"type": "object"}, strict=True))
    loose = chat_wire.tool_json(WireTool("a", "A.", {"type": "object"}, strict=False))

    function: JsonObject = {"name": "a", "description": "A.", "parameters": {"type": "object"}}
    assert strict == {"type": "function", "function": function | {"strict": True}}
    assert loose == {"type": "function", "function": function}


def test_chat_gathers_interleaved_calls_by_their_index() -> None:
    answer, events = gathered(
        delta(role="assistant", content=""),
        piece(0, id="call_a", type="function", function={"name": "one", "arguments": ""}),
        piece(1, id="call_b", type="function", function={"name": "two", "arguments": '{"n"'}),
        piece(0, function={"arguments": '{"m":'}),
        piece(1, function={"arguments": ":2}"}),
        piece(0, function={"arguments": "1}"}),
        delta(finish_reason="tool_calls"),
    )

    assert answer.calls == (
        ToolCall(call_id="call_a", name="one", arguments='{"m":1}'),
        ToolCall(call_id="call_b", name="two", arguments='{"n":2}'),
    )
    assert events == [
        ToolCallStarted(call_id="call_a", name="one"),
        ToolCallStarted(call_id="call_b", name="two"),
    ]
    assert answer.stop_reason == "tool_calls"


def test_chat_keeps_calls_apart_that_a_server_sends_under_one_index() -> None:
    answer, _ = gathered(
        piece(0, id="call_a", function={"name": "one", "arguments": '{"m":1}'}),
        piece(0, id="call_b", function={"name": "one", "arguments": '{"m":2}'}),
        delta(finish_reason="stop"),
    )

    assert [call.arguments for call in answer.calls] == ['{"m":1}', '{"m":2}']
    assert answer.stop_reason == "tool_calls"


def test_chat_takes_a_server_that_repeats_the_id_in_every_piece_at_its_word() -> None:
    answer, _ = gathered(
        piece(0, id="call_a", function={"name": "one", "arguments": '{"m"'}),
        piece(0, id="call_a", function={"arguments": ":1}"}),
        delta(finish_reason="tool_calls"),
    )

    assert [call.arguments for call in answer.calls] == ['{"m":1}']


def test_chat_gives_a_call_without_an_id_one_of_its_own() -> None:
    whole = {"choices": [{"finish_reason": "stop", "message": {"content": None, "tool_calls": [
        {"function": {"name": "one", "arguments": {"m": 1}}},
        {"function": {"name": "one", "arguments": '{"m":2}'}},
    ]}}]}  # fmt: skip

    answer, _ = gathered(whole)

    first, second = answer.calls
    assert (first.arguments, second.arguments) == ('{"m": 1}', '{"m":2}')
    assert "" != first.call_id != second.call_id != ""


def test_chat_reads_a_refusal_as_text() -> None:
    answer, events = gathered(delta(refusal="I cannot."), delta(finish_reason="stop"))

    assert (answer.text, events) == ("I cannot.", [TextDelta(text="I cannot.")])
    assert answer.stop_reason == "stop"


@pytest.mark.parametrize(
    ("finish_reason", "stop_reason"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("eos", "stop")],
)
def test_chat_says_why_an_answer_ended(finish_reason: str, stop_reason: str) -> None:
    choice = {"delta": {"content": "x"}, "finish_reason": finish_reason}

    assert gathered({"choices": [choice]})[0].stop_reason == stop_reason


def test_chat_counts_usage_from_the_chunk_after_the_end() -> None:
    usage: JsonObject = {
        "prompt_tokens": 100,
        "completion_tokens": 30,
        "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 20},
    }
    answer, _ = gathered(delta(content="x", finish_reason="stop"), chunk([], usage))

    assert answer.usage == Usage(
        requests=1,
        input_tokens=100,
        cached_input_tokens=64,
        output_tokens=30,
        reasoning_tokens=20,
    )


@pytest.mark.parametrize("chunks", [(), (delta(content="half an ans"),)], ids=["none", "half"])
def test_chat_does_not_take_half_an_answer_for_a_whole_one(chunks: tuple[object, ...]) -> None:
    answer, _ = gathered(*chunks)

    with pytest.raises(BrokenAnswerError, match="stopped before its end"):
        _ = answer.stop_reason


@pytest.mark.parametrize("data", ["<html>", [1], {"choices": [{"delta": {"content": 5}}]}])
def test_what_is_no_completion_is_said_not_to_be_one(data: object) -> None:
    with pytest.raises(BrokenAnswerError, match="not a chat completion"):
        gathered(data)


@pytest.mark.parametrize("code", ["rate_limit_exceeded", 429])
def test_a_server_in_between_may_say_under_http_200_that_the_provider_failed(
    code: str | int,
) -> None:
    error = {"error": {"message": "It is full.", "code": code}}

    with pytest.raises(BrokenAnswerError, match="It is full") as in_chat:
        gathered(error)
    with pytest.raises(BrokenAnswerError, match="It is full") as in_responses:
        list(ResponsesAnswer().add_whole(error))

    for caught in (in_chat, in_responses):
        assert caught.value.code == str(code)
        assert failure_of_answer(caught.value, "m").retryable


def test_arguments_too_deep_to_read_are_sent_back_as_text() -> None:
    deep = AssistantMessage(tool_calls=(ToolCall(call_id="c", name="f", arguments="[" * 100_000),))

    assert "not_json" in str(chat_wire.messages_json("", [deep]))


def test_responses_writes_a_foreign_answer_as_items() -> None:
    assert responses_wire.input_json(CONVERSATION) == [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": "I look."},
        {
            "type": "function_call",
            "call_id": "call_1",
            "name": "look",
            "arguments": '{"at":"sky"}',
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "blue"},
    ]


def test_responses_sends_its_own_items_back_as_they_came() -> None:
    items = (REASONING, MESSAGE, FUNCTION_CALL | {"async": True})
    own = AssistantMessage(text="I look.", tool_calls=(CALL,), native=items, api="responses")

    assert responses_wire.input_json((own,)) == [*items]


def test_responses_leaves_out_reasoning_that_nobody_can_look_up() -> None:
    unsealed = REASONING | {"encrypted_content": None}
    own = AssistantMessage(native=(unsealed, FUNCTION_CALL), api="responses")

    (sent,) = responses_wire.input_json((own,))

    assert sent == {key: value for key, value in FUNCTION_CALL.items() if key != "id"}


def test_responses_reads_text_calls_items_and_usage() -> None:
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 0},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 130,
    }
    whole = response(output=[REASONING, MESSAGE, FUNCTION_CALL], usage=usage)
    answer, events = read(
        event("response.created", response=response(status="in_progress")),
        event(
            "response.output_text.delta",
            item_id="msg_1", output_index=1, content_index=0, delta="I look.", logprobs=[],
        ),
        event(
            "response.output_item.added",
            output_index=2, item=FUNCTION_CALL | {"arguments": "", "status": "in_progress"},
        ),
        event(
            "response.function_call_arguments.delta",
            item_id="fc_1", output_index=2, delta='{"at":',
        ),
        event("response.completed", response=whole),
    )  # fmt: skip

    assert events == [
        TextDelta(text="I look."),
        ToolCallStarted(call_id="call_1", name="look"),
    ]
    assert (answer.text, answer.calls, answer.stop_reason) == ("I look.", (CALL,), "tool_calls")
    assert answer.native == (REASONING, MESSAGE, FUNCTION_CALL)
    assert answer.usage == Usage(
        requests=1,
        input_tokens=100,
        cached_input_tokens=64,
        output_tokens=30,
        reasoning_tokens=20,
    )


def test_responses_reads_a_refusal_as_text() -> None:
    refusal = MESSAGE | {"content": [{"type": "refusal", "refusal": "I cannot."}]}
    answer, events = read(
        event(
            "response.refusal.delta",
            item_id="msg_1", output_index=0, content_index=0, delta="I cannot.",
        ),
        event("response.completed", response=response(output=[refusal])),
    )  # fmt: skip

    assert (answer.text, events) == ("I cannot.", [TextDelta(text="I cannot.")])


@pytest.mark.parametrize(
    ("reason", "stop_reason"),
    [
        ("max_output_tokens", "length"),
        ("content_filter", "content_filter"),
        (None, "length"),
        ("steered", "stop"),
    ],
)
def test_responses_says_why_an_answer_is_incomplete(reason: str | None, stop_reason: str) -> None:
    details = {"reason": reason} if reason else None
    made = response(status="incomplete", output=[MESSAGE]) | {"incomplete_details": details}

    answer, _ = read({"type": "response.incomplete", "response": made})

    assert answer.stop_reason == stop_reason


def test_responses_says_what_a_failed_answer_failed_of() -> None:
    failed = response(status="failed", error={"code": "server_error", "message": "It broke."})

    with pytest.raises(BrokenAnswerError, match="It broke") as caught:
        read(event("response.failed", response=failed))
    assert caught.value.code == "server_error"

    with pytest.raises(BrokenAnswerError, match="Too many") as caught:
        read(event("error", code="rate_limit_exceeded", message="Too many.", param=None))
    assert caught.value.code == "rate_limit_exceeded"


def test_responses_does_not_take_half_an_answer_for_a_whole_one() -> None:
    answer, _ = read(event("response.created", response=response(status="in_progress")))

    with pytest.raises(BrokenAnswerError, match="stopped before its end"):
        _ = answer.stop_reason


@pytest.mark.parametrize(
    "data",
    ["<html>", {"type": "response.completed"}, {"type": "response.completed", "response": [1]}],
)
def test_what_is_no_response_is_said_not_to_be_one(data: object) -> None:
    with pytest.raises(BrokenAnswerError, match="not a response"):
        read(data)


def test_an_answer_of_another_api_is_no_empty_response() -> None:
    completion = {"choices": [{"message": {"content": "Hello."}, "finish_reason": "stop"}]}

    with pytest.raises(BrokenAnswerError, match="neither `status` nor `output`"):
        list(ResponsesAnswer().add_whole(completion))


def test_events_and_items_of_kinds_unknown_today_are_passed_over() -> None:
    item = {"type": "hologram", "content": [{"type": "light", "text": None}]}
    answer, events = read(
        {"type": "response.hologram.delta", "delta": {"x": 1}},
        event("response.completed", response=response()) | {"response": {"output": [item]}},
    )

    assert (events, answer.text, answer.native) == ([], "", (item,))


REQUEST = ModelRequest(instructions="Be brief.", messages=CONVERSATION[:1], max_output_tokens=50)
CONNECTION = Connection(base_url="http://127.0.0.1:1/v1", api_key=None)


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("gpt-5.6", True),
        ("o3-mini", True),
        ("openai/gpt-5-mini", True),
        ("gpt-5-chat-latest", False),
        ("gpt-4o", False),
        ("gpt-4.1", False),
        ("olmo-2", False),
    ],
)
def test_responses_asks_reasoning_models_alone_for_sealed_reasoning(
    name: str, reasons: bool
) -> None:
    body = ResponsesModel(name, CONNECTION)._body(REQUEST)

    assert body.get("include") == (["reasoning.encrypted_content"] if reasons else None)


def test_responses_stores_nothing_at_the_provider() -> None:
    assert ResponsesModel("gpt-4o", CONNECTION)._body(REQUEST) == {
        "model": "gpt-4o",
        "instructions": "Be brief.",
        "input": [{"role": "user", "content": "Look."}],
        "max_output_tokens": 50,
        "store": False,
        "stream": True,
    }


def test_chat_asks_for_usage_with_the_stream() -> None:
    assert ChatCompletionsModel("llama", CONNECTION)._body(REQUEST) == {
        "model": "llama",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Look."},
        ],
        "max_tokens": 50,
        "stream": True,
        "stream_options": {"include_usage": True},
    }

"""What the scripted model holds a conversation to."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import ModelError, SettingsError
from runtime.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    ToolResult,
    ToolSpec,
    UserMessage,
)
from runtime.models.base import Completed, ModelRequest, TextDelta
from runtime.models.scripted import RecordedAnswer, Recording, ScriptedModel

HELLO = UserMessage(text="Hello.")
ASK = AssistantMessage(tool_calls=(ToolCall(call_id="c1", name="add", arguments='{"a": 1}'),))
ADD = ToolSpec(name="add", description="Adds.", parameters={"type": "object"})


def result(content: str) -> ToolMessage:
    return ToolMessage(results=(ToolResult(call_id="c1", name="add", content=content),))


async def ask(model: ScriptedModel, *messages: Message, tools: tuple[ToolSpec, ...] = ()) -> str:
    request = ModelRequest(instructions="", messages=messages, tools=tools)
    events = [event async for event in model.stream(request)]
    last = events[-1]
    assert isinstance(last, Completed)
    return last.message.text


async def test_the_place_is_found_in_the_request_so_that_sessions_can_share_and_resume() -> None:
    model = ScriptedModel.of([ASK, AssistantMessage(text="Two.")])

    assert await ask(model, HELLO, ASK, result("2")) == "Two."
    assert await ask(model, HELLO) == ""
    assert await ask(model, HELLO, ASK, result("2")) == "Two."


async def test_white_space_and_words_arrive_as_they_were_recorded() -> None:
    text = "  One,\n\n  two\tthree. "
    model = ScriptedModel.of([AssistantMessage(text=text)])
    request = ModelRequest(instructions="", messages=(HELLO,))

    pieces = [event.text async for event in model.stream(request) if isinstance(event, TextDelta)]

    assert "".join(pieces) == text
    assert len(pieces) > 3


async def test_a_conversation_longer_than_the_recording_is_told_so() -> None:
    model = ScriptedModel.of([AssistantMessage(text="Bye.")], name="demo")

    with pytest.raises(ModelError, match=r"model demo: the recording ends after 1 answers"):
        await ask(model, HELLO, AssistantMessage(text="Bye."), HELLO)


async def test_a_tool_that_the_recording_needs_must_be_offered() -> None:
    model = ScriptedModel.of([RecordedAnswer(message=ASK, expects_tools=("add", "made"))])

    with pytest.raises(ModelError, match=r"answer 1 .+ needs 'made' among .+ offered were 'add'"):
        await ask(model, HELLO, tools=(ADD,))


async def test_the_last_result_must_be_as_it_was_when_recorded() -> None:
    last = RecordedAnswer(
        message=AssistantMessage(text="Two."), expects_last_result_contains="admitted"
    )
    model = ScriptedModel.of([ASK, last])

    assert await ask(model, HELLO, ASK, result("it is admitted now")) == "Two."
    with pytest.raises(ModelError, match=r"contains 'admitted'; the last results were 'refused'"):
        await ask(model, HELLO, ASK, result("refused"))
    with pytest.raises(ModelError, match="the last results were none"):
        await ask(model, HELLO, ASK)


def test_a_recording_made_by_hand_may_write_arguments_as_an_object(tmp_path: Path) -> None:
    file = tmp_path / "recording.json"
    file.write_text(
        """{"model": "demo", "answers": [
        {"message": {"tool_calls": [
            {"call_id": "c1", "name": "add", "arguments": {"a": 1, "b": "é"}},
            {"call_id": "c2", "name": "add", "arguments": "{}"}]},
         "expects_tools": ["add"]},
        {"message": {"text": "Two."}, "usage": {"requests": 1, "output_tokens": 3}}]}""",
        encoding="utf-8",
    )

    recording = Recording.load(file)

    first, second = recording.answers
    assert [call.arguments for call in first.message.tool_calls] == ['{"a": 1, "b": "é"}', "{}"]
    assert second.usage.output_tokens == 3
    assert Recording.model_validate_json(recording.model_dump_json()) == recording


@pytest.mark.parametrize(
    "text", ["", "{}", '{"model": "m", "answers": [{"messages": {}}]}', '{"model": "m"}']
)
def test_what_is_no_recording_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "recording.json"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(SettingsError, match=r"recording\.json is no recording"):
        Recording.load(file)


def test_a_missing_recording_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.json cannot be read"):
        Recording.load(tmp_path / "nowhere.json")

"""Chat Completions as JSON: what is sent, what comes back, and how pieces become an answer."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from policies.value import JsonObject
from runtime.messages import AssistantMessage, Message, ToolCall, ToolMessage, Usage, UserMessage
from runtime.models.base import ModelEvent, TextDelta, ToolCallStarted
from runtime.models.failures import BrokenAnswerError
from runtime.models.strict import WireTool

StopReason: TypeAlias = Literal["stop", "tool_calls", "length", "content_filter"]

_STOP_REASONS: dict[str, StopReason] = {
    "length": "length",
    "content_filter": "content_filter",
}


class _Shape(BaseModel):
    """A provider's shape: servers add fields as they like, and leave out what is empty."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Function(_Shape):
    name: str | None = None
    arguments: str | JsonObject | None = None


class _CallPiece(_Shape):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Piece(_Shape):
    """A `delta` of a stream, or the whole `message`."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: tuple[_CallPiece, ...] | None = None


class _Choice(_Shape):
    delta: _Piece | None = None
    message: _Piece | None = None
    finish_reason: str | None = None


class _InputDetails(_Shape):
    cached_tokens: int | None = None


class _OutputDetails(_Shape):
    reasoning_tokens: int | None = None


class _Usage(_Shape):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Error(_Shape):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    code: str | None = None
    message: str | None = None


class _Answer(_Shape):
    """A chunk of a stream, or the whole completion."""

    choices: tuple[_Choice, ...] | None = None
    usage: _Usage | None = None
    error: _Error | None = None
    """What a server in between says under HTTP 200 when the provider behind it failed."""


def tool_json(tool: WireTool) -> JsonObject:
    """How a tool is written in a request."""
    function: JsonObject = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def messages_json(instructions: str, messages: Sequence[Message]) -> list[JsonObject]:
    """How a conversation is written in a request."""
    written: list[JsonObject] = []
    if instructions:
        written.append({"role": "system", "content": instructions})
    for message in messages:
        written.extend(_message_json(message))
    return written


def _message_json(message: Message) -> Iterator[JsonObject]:
    match message:
        case UserMessage():
            yield {"role": "user", "content": message.text}
        case AssistantMessage():
            written: JsonObject = {"role": "assistant", "content": message.text or None}
            if message.tool_calls:
                written["tool_calls"] = [_call_json(call) for call in message.tool_calls]
            yield written
        case ToolMessage():
            for result in message.results:
                yield {"role": "tool", "tool_call_id": result.call_id, "content": result.content}


def _call_json(call: ToolCall) -> JsonObject:
    return {
        "id": call.call_id,
        "type": "function",
        "function": {"name": call.name, "arguments": _readable(call.arguments)},
    }


def _readable(arguments: str) -> str:
    """Arguments that a server can read back: some parse them, and refuse what is not JSON."""
    try:
        parsed = json.loads(arguments.strip() or "{}")
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        return arguments.strip() or "{}"
    return json.dumps({"not_json": arguments}, ensure_ascii=False)


@dataclass(slots=True)
class _Call:
    call_id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    announced: bool = False


class ChatAnswer:
    """Gathers one answer from chunks, or from the one whole completion."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._finish_reason: str | None = None
        self._usage = Usage(requests=1)

    def add(self, data: object) -> Iterator[ModelEvent]:
        """Take one chunk or the whole completion; gives what it adds.

        Raises:
            BrokenAnswerError: It says that the answer failed, or has not the shape of either.
        """
        try:
            answer = _Answer.model_validate(data)
        except ValidationError as error:
            raise BrokenAnswerError(f"not a chat completion: {_first_problem(error)}") from None
        if answer.error is not None:
            said = answer.error.message or "the answer failed"
            raise BrokenAnswerError(f"the provider gave up: {said}", code=answer.error.code or "")
        if answer.usage is not None:
            self._usage = _usage(answer.usage)
        for choice in answer.choices or ():
            self._finish_reason = choice.finish_reason or self._finish_reason
            piece = choice.delta or choice.message
            if piece is not None:
                yield from self._piece(piece)

    def _piece(self, piece: _Piece) -> Iterator[ModelEvent]:
        for text in (piece.content, piece.refusal):
            if text:
                self._text.append(text)
                yield TextDelta(text=text)
        for number, part in enumerate(piece.tool_calls or ()):
            call = self._call(part, number)
            function = part.function or _Function()
            call.call_id = call.call_id or part.id or ""
            call.name = call.name or function.name or ""
            if function.arguments:
                given = function.arguments
                call.arguments.append(given if isinstance(given, str) else json.dumps(given))
            if call.name and not call.announced:
                call.announced = True
                call.call_id = call.call_id or f"call_{uuid.uuid4().hex[:24]}"
                yield ToolCallStarted(call_id=call.call_id, name=call.name)

    def _call(self, part: _CallPiece, number: int) -> _Call:
        """The call that a piece belongs to.

        Pieces are keyed on `index`. Some servers leave it out, or send every call of one answer
        under index 0: there a new id with a name begins a new call.
        """
        index = part.index if part.index is not None else number
        known = self._calls.get(index)
        if known and part.id and known.call_id not in ("", part.id) and part.function:
            same = [slot for slot, call in self._calls.items() if call.call_id == part.id]
            index = same[0] if same else max(self._calls) + 1
        return self._calls.setdefault(index, _Call())

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self._text)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The whole calls, as the provider wrote them."""
        return tuple(
            ToolCall(call_id=call.call_id, name=call.name, arguments="".join(call.arguments))
            for _, call in sorted(self._calls.items())
            if call.announced
        )

    @property
    def usage(self) -> Usage:
        """Tokens, as the provider counted them; zero where it does not say."""
        return self._usage

    @property
    def stop_reason(self) -> StopReason:
        """Why the answer ended.

        Raises:
            BrokenAnswerError: It did not end.
        """
        if self._finish_reason is None:
            raise BrokenAnswerError("the answer stopped before its end")
        ended: StopReason = "tool_calls" if self._calls else "stop"
        return _STOP_REASONS.get(self._finish_reason, ended)


def _usage(usage: _Usage) -> Usage:
    details, output_details = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        requests=1,
        input_tokens=usage.prompt_tokens,
        cached_input_tokens=(details and details.cached_tokens) or 0,
        output_tokens=usage.completion_tokens,
        reasoning_tokens=(output_details and output_details.reasoning_tokens) or 0,
    )


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg']}"

"""The Responses API as JSON: what is sent, what comes back, and how events become an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from policies.value import JsonObject
from runtime.messages import AssistantMessage, Message, ToolCall, ToolMessage, Usage, UserMessage
from runtime.models.base import ModelEvent, TextDelta, ToolCallStarted
from runtime.models.failures import BrokenAnswerError
from runtime.models.strict import WireTool

API = "responses"

StopReason: TypeAlias = Literal["stop", "tool_calls", "length", "content_filter"]

_INCOMPLETE: dict[str, StopReason] = {
    "max_output_tokens": "length",
    "content_filter": "content_filter",
}
_TEXT_EVENTS = frozenset({"response.output_text.delta", "response.refusal.delta"})
_FINAL_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed"})


class _Shape(BaseModel):
    """A provider's shape: servers add fields as they like, and leave out what is empty."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Part(_Shape):
    text: str | None = None
    refusal: str | None = None


class _Item(_Shape):
    """An output item, of whatever type."""

    type: str
    content: tuple[_Part, ...] | None = None
    call_id: str = ""
    name: str = ""
    arguments: str = ""


class _Event(_Shape):
    """An event of a stream, of whatever type."""

    type: str = ""
    delta: object = None
    item: _Item | None = None
    response: object = None
    code: str | None = None
    message: str | None = None


class _InputDetails(_Shape):
    cached_tokens: int | None = None


class _OutputDetails(_Shape):
    reasoning_tokens: int | None = None


class _Usage(_Shape):
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Incomplete(_Shape):
    reason: str | None = None


class _Error(_Shape):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    code: str | None = None
    message: str | None = None


class _Response(_Shape):
    """The whole response, at the end of a stream or without one."""

    status: str | None = None
    output: tuple[JsonObject, ...] = ()
    usage: _Usage | None = None
    incomplete_details: _Incomplete | None = None
    error: _Error | None = None


_ITEMS = TypeAdapter(tuple[_Item, ...])


def tool_json(tool: WireTool) -> JsonObject:
    """How a tool is written in a request."""
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }


def input_json(messages: Sequence[Message]) -> list[JsonObject]:
    """How a conversation is written in a request."""
    return [item for message in messages for item in _message_items(message)]


def _message_items(message: Message) -> Iterator[JsonObject]:
    match message:
        case UserMessage():
            yield {"role": "user", "content": message.text}
        case AssistantMessage(native=native, api="responses") if native:
            yield from _echo(native)
        case AssistantMessage():
            if message.text:
                yield {"role": "assistant", "content": message.text}
            for call in message.tool_calls:
                yield {
                    "type": "function_call",
                    "call_id": call.call_id,
                    "name": call.name,
                    "arguments": call.arguments,
                }
        case ToolMessage():
            for result in message.results:
                yield {
                    "type": "function_call_output",
                    "call_id": result.call_id,
                    "output": result.content,
                }


def _echo(items: tuple[JsonObject, ...]) -> Iterator[JsonObject]:
    """An answer's own items, as far as a provider that stores nothing can read them back.

    Reasoning without its encrypted content can only be looked up, and nothing was stored; the
    other items' ids would ask for it, so they are left out with it.
    """
    lost = any(item.get("type") == "reasoning" and not _sealed(item) for item in items)
    for item in items:
        if item.get("type") != "reasoning" or _sealed(item):
            yield {
                key: value
                for key, value in item.items()
                if value is not None and not (lost and key == "id")
            }


def _sealed(item: JsonObject) -> bool:
    return bool(item.get("encrypted_content"))


class ResponsesAnswer:
    """Gathers one answer from a stream's events, or from the one whole response."""

    def __init__(self) -> None:
        self._response: _Response | None = None
        self._items: tuple[_Item, ...] = ()

    def add(self, data: object) -> Iterator[ModelEvent]:
        """Take one event of a stream; gives what it adds.

        Raises:
            BrokenAnswerError: It says that the answer failed, or has not the shape of an event.
        """
        event = _validated(_Event, data)
        if event.type in _TEXT_EVENTS:
            if isinstance(event.delta, str) and event.delta:
                yield TextDelta(text=event.delta)
        elif event.type == "response.output_item.added":
            if event.item is not None and event.item.type == "function_call":
                yield ToolCallStarted(call_id=event.item.call_id, name=event.item.name)
        elif event.type in _FINAL_EVENTS:
            self._finish(_validated(_Response, event.response))
        elif event.type == "error":
            raise BrokenAnswerError(event.message or "the answer failed", code=event.code or "")

    def add_whole(self, data: object) -> Iterator[ModelEvent]:
        """Take the whole response of a request that was not streamed; gives what it holds.

        Raises:
            BrokenAnswerError: It says that the answer failed, or has not the shape of one.
        """
        response = _validated(_Response, data)
        if response.status is None and not response.output and response.error is None:
            raise BrokenAnswerError("not a response: it has neither `status` nor `output`")
        self._finish(response)
        if self.text:
            yield TextDelta(text=self.text)
        for call in self.calls:
            yield ToolCallStarted(call_id=call.call_id, name=call.name)

    def _finish(self, response: _Response) -> None:
        if response.status in ("failed", "cancelled") or response.error is not None:
            error = response.error or _Error()
            said = error.message or f"the answer is {response.status}"
            raise BrokenAnswerError(f"the provider gave up: {said}", code=error.code or "")
        try:
            self._items = _ITEMS.validate_python(response.output)
        except ValidationError as error:
            raise BrokenAnswerError(f"not a response: {_first_problem(error)}") from None
        self._response = response

    @property
    def native(self) -> tuple[JsonObject, ...]:
        """The output items, exactly as they came."""
        return self._whole.output

    @property
    def text(self) -> str:
        """The whole text, refusals included."""
        return "".join(
            part.text or part.refusal or ""
            for item in self._items
            if item.type == "message"
            for part in item.content or ()
        )

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The whole calls, as the provider wrote them."""
        return tuple(
            ToolCall(call_id=item.call_id, name=item.name, arguments=item.arguments)
            for item in self._items
            if item.type == "function_call"
        )

    @property
    def usage(self) -> Usage:
        """Tokens, as the provider counted them; zero where it does not say."""
        usage = self._whole.usage or _Usage()
        details, output_details = usage.input_tokens_details, usage.output_tokens_details
        return Usage(
            requests=1,
            input_tokens=usage.input_tokens,
            cached_input_tokens=(details and details.cached_tokens) or 0,
            output_tokens=usage.output_tokens,
            reasoning_tokens=(output_details and output_details.reasoning_tokens) or 0,
        )

    @property
    def stop_reason(self) -> StopReason:
        """Why the answer ended."""
        whole = self._whole
        ended: StopReason = "tool_calls" if self.calls else "stop"
        if whole.status != "incomplete":
            return ended
        # A server that does not say why has most likely run into the limit.
        reason = (whole.incomplete_details or _Incomplete()).reason or "max_output_tokens"
        return _INCOMPLETE.get(reason, ended)

    @property
    def _whole(self) -> _Response:
        if self._response is None:
            raise BrokenAnswerError("the answer stopped before its end")
        return self._response


_ShapeT = TypeVar("_ShapeT", bound=_Shape)


def _validated(shape: type[_ShapeT], data: object) -> _ShapeT:
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        raise BrokenAnswerError(f"not a response: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg']}"

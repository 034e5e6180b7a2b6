"""The `ChatModel` Protocol: one request in, a stream of events out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, Protocol, TypeAlias

from policies.value import Value
from runtime.messages import AssistantMessage, Message, ToolSpec, Usage


class ModelRequest(Value):
    """Everything a model needs for one answer."""

    instructions: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    max_output_tokens: int | None = None


class TextDelta(Value):
    """A piece of the answer's text, as it is streamed."""

    kind: Literal["text"] = "text"
    text: str


class ToolCallStarted(Value):
    """The model began to write a call; its arguments are still coming."""

    kind: Literal["tool_call"] = "tool_call"
    call_id: str
    name: str


class Retrying(Value):
    """A request failed in a way that a retry may mend; text streamed so far is void."""

    kind: Literal["retrying"] = "retrying"
    attempt: int
    delay_seconds: float
    reason: str


class Completed(Value):
    """The whole answer; always the last event."""

    kind: Literal["completed"] = "completed"
    message: AssistantMessage
    usage: Usage
    stop_reason: Literal["stop", "tool_calls", "length", "content_filter"] = "stop"


ModelEvent: TypeAlias = TextDelta | ToolCallStarted | Retrying | Completed


class ChatModel(Protocol):
    """A model that can be asked for an answer."""

    @property
    def name(self) -> str:
        """The model's name, as recorded in transcripts and provenance."""
        ...

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Ask for one answer; yields pieces as they come and one `Completed` at the end.

        Closing the iterator, or cancelling, ends the request. Retries 429, 5xx and broken
        connections with back-off by itself.

        Raises:
            ModelError: No answer could be had; says what the provider said and what to do.
        """
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...

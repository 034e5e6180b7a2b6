"""What passes between the loop and a model: OpenAI's and MCP's words, no provider's shapes."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from policies.value import JsonObject, Value


class ToolCall(Value):
    """The model asks for one call. `arguments` is its JSON text, not yet believed."""

    call_id: str
    name: str
    arguments: str


class ToolResult(Value):
    """The one answer to one call id. `content` is what the model reads."""

    call_id: str
    name: str
    content: str
    is_error: bool = False


class Usage(Value):
    """Tokens of one or many requests, as the provider counted them."""

    requests: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )


class UserMessage(Value):
    """What the person said."""

    role: Literal["user"] = "user"
    text: str


class AssistantMessage(Value):
    """One answer of the model."""

    role: Literal["assistant"] = "assistant"
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    native: tuple[JsonObject, ...] = ()
    """The provider's own output items, echoed back unchanged to the adapter that made them."""

    api: str = ""
    """Which adapter made `native`."""


class ToolMessage(Value):
    """The results of the calls of the answer before it, in the order of the calls."""

    role: Literal["tool"] = "tool"
    results: tuple[ToolResult, ...]


Message: TypeAlias = Annotated[
    UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


class ToolSpec(Value):
    """What the model sees of a tool."""

    name: str
    description: str
    parameters: JsonObject

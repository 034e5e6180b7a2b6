"""Chat Completions, the API that nearly every model server speaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Literal

from policies.value import JsonObject
from runtime.messages import AssistantMessage
from runtime.models.base import Completed, ModelEvent, ModelRequest
from runtime.models.chat_wire import ChatAnswer, messages_json, tool_json
from runtime.models.connection import Connection
from runtime.models.strict import StrictTools

_PATH = "/chat/completions"


class ChatCompletionsModel:
    """A model behind Chat Completions. With `stream=False` the same events come at once."""

    def __init__(
        self,
        name: str,
        connection: Connection,
        *,
        stream: bool = True,
        output_limit_field: Literal["max_completion_tokens", "max_tokens"] = "max_tokens",
    ) -> None:
        self._name = name
        self._connection = connection
        self._streamed = stream
        self._output_limit_field = output_limit_field
        self._tools = StrictTools()

    @property
    def name(self) -> str:
        """The model's name."""
        return self._name

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Ask for one answer; see `ChatModel.stream`."""
        return self._connection.answer(self._name, partial(self._attempt, request))

    async def close(self) -> None:
        """Give back connections."""
        await self._connection.close()

    async def _attempt(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        body, answer = self._body(request), ChatAnswer()
        if self._streamed:
            async with aclosing(self._connection.events(_PATH, body)) as stream:
                async for data in stream:
                    for event in answer.add(data):
                        yield event
        else:
            for event in answer.add(await self._connection.post(_PATH, body)):
                yield event
        stop_reason = answer.stop_reason
        message = AssistantMessage(
            text=answer.text,
            tool_calls=self._tools.calls(answer.calls, request.tools),
            api="chat",
        )
        yield Completed(message=message, usage=answer.usage, stop_reason=stop_reason)

    def _body(self, request: ModelRequest) -> JsonObject:
        body: JsonObject = {
            "model": self._name,
            "messages": [*messages_json(request.instructions, request.messages)],
        }
        if request.tools:
            body["tools"] = [tool_json(self._tools.wire(spec)) for spec in request.tools]
        if request.max_output_tokens is not None:
            body[self._output_limit_field] = request.max_output_tokens
        if self._streamed:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

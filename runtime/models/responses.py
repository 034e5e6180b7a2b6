"""The Responses API, OpenAI's own; used without its storage."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial

from policies.value import JsonObject
from runtime.messages import AssistantMessage
from runtime.models.base import Completed, ModelEvent, ModelRequest
from runtime.models.connection import Connection
from runtime.models.responses_wire import API, ResponsesAnswer, input_json, tool_json
from runtime.models.strict import StrictTools

_PATH = "/responses"
_REASONING = re.compile(r"(?:o\d|gpt-(?:[5-9]|\d\d)(?!\d*-chat))")


class ResponsesModel:
    """A model behind the Responses API. With `stream=False` the same events come at once.

    Nothing is stored at the provider: each request carries the conversation, with the model's
    reasoning sealed in its items. `reasoning` says whether the model reasons, which a model that
    does not would refuse to be asked; None judges by the name.
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        *,
        stream: bool = True,
        reasoning: bool | None = None,
    ) -> None:
        self._name = name
        self._connection = connection
        self._streamed = stream
        self._reasons = _is_reasoning(name) if reasoning is None else reasoning
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
        body, answer = self._body(request), ResponsesAnswer()
        if self._streamed:
            async with aclosing(self._connection.events(_PATH, body)) as stream:
                async for data in stream:
                    for event in answer.add(data):
                        yield event
        else:
            for event in answer.add_whole(await self._connection.post(_PATH, body)):
                yield event
        message = AssistantMessage(
            text=answer.text,
            tool_calls=self._tools.calls(answer.calls, request.tools),
            native=answer.native,
            api=API,
        )
        yield Completed(message=message, usage=answer.usage, stop_reason=answer.stop_reason)

    def _body(self, request: ModelRequest) -> JsonObject:
        body: JsonObject = {
            "model": self._name,
            "input": [*input_json(request.messages)],
            "store": False,
        }
        if request.instructions:
            body["instructions"] = request.instructions
        if request.tools:
            body["tools"] = [tool_json(self._tools.wire(spec)) for spec in request.tools]
        if request.max_output_tokens is not None:
            body["max_output_tokens"] = request.max_output_tokens
        if self._reasons:
            body["include"] = ["reasoning.encrypted_content"]
        if self._streamed:
            body["stream"] = True
        return body


def _is_reasoning(name: str) -> bool:
    """Judged by OpenAI's names, with or without a vendor before a slash."""
    return _REASONING.match(name.rpartition("/")[2].lower()) is not None

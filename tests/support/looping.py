"""Parts for tests of the loop: short ways to say answers, calls, tools and catalogs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from policies.value import JsonObject
from runtime.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    ToolResult,
    ToolSpec,
    Usage,
)
from runtime.models.base import ModelEvent, ModelRequest
from runtime.models.scripted import RecordedAnswer, ScriptedModel
from runtime.tools import CallContext, ToolAnswer
from runtime.toolset import rank

USAGE = Usage(requests=1, input_tokens=10, output_tokens=5)


def call(call_id: str, name: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(call_id=call_id, name=name, arguments=arguments)


def calls(*each: ToolCall) -> AssistantMessage:
    return AssistantMessage(tool_calls=each)


@dataclass
class Script:
    """A scripted model that keeps the requests, and fails at first where a test says so."""

    model: ScriptedModel
    failures: list[Exception] = field(default_factory=list)
    requests: list[ModelRequest] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.model.name

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.requests.append(request)
        if self.failures:
            raise self.failures.pop(0)
        async for event in self.model.stream(request):
            yield event

    async def close(self) -> None:
        await self.model.close()

    @property
    def tool_names(self) -> list[list[str]]:
        return [[spec.name for spec in request.tools] for request in self.requests]


def script(*answers: str | AssistantMessage | RecordedAnswer) -> Script:
    """A model that gives these answers, one after the other."""
    return Script(ScriptedModel.of(_recorded(answer) for answer in answers))


def _recorded(answer: str | AssistantMessage | RecordedAnswer) -> RecordedAnswer:
    if isinstance(answer, RecordedAnswer):
        return answer
    message = AssistantMessage(text=answer) if isinstance(answer, str) else answer
    return RecordedAnswer(message=message, usage=USAGE)


@dataclass
class SimpleTool:
    """A tool that answers what a function says."""

    name: str
    answer: Callable[[JsonObject], ToolAnswer] = lambda arguments: ToolAnswer("ok")
    description: str = "Does something."
    parameters: JsonObject = field(
        default_factory=lambda: {"type": "object", "properties": {}, "additionalProperties": True}
    )
    contexts: list[CallContext] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.spec = ToolSpec(
            name=self.name, description=self.description, parameters=self.parameters
        )

    async def call(self, arguments: JsonObject, context: CallContext) -> ToolAnswer:
        self.contexts.append(context)
        return self.answer(arguments)


class DictCatalog:
    """A catalog over a dictionary that a test may change; changes show after a refresh."""

    def __init__(self, tools: Iterable[SimpleTool] = ()) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self._now: dict[str, SimpleTool] = dict(self.tools)

    async def refresh(self) -> None:
        self._now = dict(self.tools)

    async def get(self, name: str) -> SimpleTool | None:
        return self._now.get(name)

    async def search(self, query: str, limit: int) -> Sequence[ToolSpec]:
        return rank([tool.spec for tool in self._now.values()], query)[:limit]

    def names(self) -> Sequence[str]:
        return tuple(self._now)


def results_of(messages: Sequence[Message]) -> list[ToolResult]:
    return [
        result
        for message in messages
        if isinstance(message, ToolMessage)
        for result in message.results
    ]

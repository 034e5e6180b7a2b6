"""A model that replays a recorded conversation: for the demo without a key, and for tests."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, field_validator

from policies.value import Value
from runtime.errors import ModelError, SettingsError
from runtime.messages import AssistantMessage, ToolMessage, Usage
from runtime.models.base import Completed, ModelEvent, ModelRequest, TextDelta, ToolCallStarted

_PIECES = re.compile(r"\S+\s*|\s+")
_SHOWN_CHARACTERS = 300
_ADVICE = "The recording holds one conversation; start it anew with the prompts it was made for."


class RecordedAnswer(Value):
    """One answer of the recording, and what must be so in the request that it answers."""

    message: AssistantMessage
    usage: Usage = Usage(requests=1)
    stop_reason: Literal["stop", "tool_calls", "length", "content_filter"] | None = None
    """None: `tool_calls` if there are any, else `stop`."""

    expects_tools: tuple[str, ...] = ()
    """Names that must be among the request's tools."""

    expects_last_result_contains: str | None = None
    """A part of one of the tool results that the request ends with."""

    @field_validator("message", mode="before")
    @classmethod
    def _write_arguments(cls, message: object) -> object:
        """A recording made by hand may have a call's arguments as an object, which reads better."""
        if not isinstance(message, dict) or not isinstance(message.get("tool_calls"), list):
            return message
        return message | {"tool_calls": [_written(call) for call in message["tool_calls"]]}


class Recording(Value):
    """A recorded conversation: the model's side of it."""

    model: str = Field(min_length=1)
    """The name under which it is replayed."""

    answers: tuple[RecordedAnswer, ...]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a recording from a JSON file.

        Raises:
            SettingsError: The file is missing or is no recording.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise SettingsError(f"the recording {path} cannot be read: {error}") from error
        except ValidationError as error:
            raise SettingsError(f"{path} is no recording: {error}") from None


class ScriptedModel:
    """Answers each request with the recorded answer of that place in the conversation.

    The place is the number of answers that the request already carries, so a resumed session
    goes on where it stopped, and any number of sessions can share one model.
    """

    def __init__(self, recording: Recording, *, piece_seconds: float = 0.0) -> None:
        self._recording = recording
        self._piece_seconds = piece_seconds
        """The pause before each word, for somebody who watches."""

    @classmethod
    def of(
        cls, answers: Iterable[RecordedAnswer | AssistantMessage], name: str = "scripted"
    ) -> Self:
        """A model that gives these answers, one after the other."""
        recorded = (
            RecordedAnswer(message=each) if isinstance(each, AssistantMessage) else each
            for each in answers
        )
        return cls(Recording(model=name, answers=tuple(recorded)))

    @property
    def name(self) -> str:
        """The recording's name for its model."""
        return self._recording.model

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Replay one answer; see `ChatModel.stream`.

        Raises:
            ModelError: The conversation has left the recording.
        """
        answer = self._answer(request)
        message = answer.message
        for piece in _PIECES.findall(message.text):
            await asyncio.sleep(self._piece_seconds)
            yield TextDelta(text=piece)
        for call in message.tool_calls:
            await asyncio.sleep(self._piece_seconds)
            yield ToolCallStarted(call_id=call.call_id, name=call.name)
        stop_reason = answer.stop_reason or ("tool_calls" if message.tool_calls else "stop")
        yield Completed(message=message, usage=answer.usage, stop_reason=stop_reason)

    async def close(self) -> None:
        """Nothing to give back."""

    def _answer(self, request: ModelRequest) -> RecordedAnswer:
        answers = self._recording.answers
        place = sum(isinstance(message, AssistantMessage) for message in request.messages)
        if place >= len(answers):
            raise self._left(
                f"the recording ends after {len(answers)} answers; another was asked for"
            )
        answer = answers[place]
        offered = {spec.name for spec in request.tools}
        missing = [name for name in answer.expects_tools if name not in offered]
        if missing:
            raise self._left(
                f"answer {place + 1} of the recording needs {_listed(missing)} among the request's "
                f"tools; offered were {_listed(sorted(offered))}"
            )
        expected = answer.expects_last_result_contains
        if expected is not None and not any(expected in each for each in _last_results(request)):
            raise self._left(
                f"answer {place + 1} of the recording follows a tool result that contains "
                f"{expected!r}; the last results were {_listed(_last_results(request))}"
            )
        return answer

    def _left(self, reason: str) -> ModelError:
        return ModelError(self.name, reason, advice=_ADVICE)


def _last_results(request: ModelRequest) -> list[str]:
    last = request.messages[-1] if request.messages else None
    return [each.content for each in last.results] if isinstance(last, ToolMessage) else []


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(repr(text[:_SHOWN_CHARACTERS]) for text in texts) or "none"


def _written(call: object) -> object:
    if isinstance(call, dict) and isinstance(call.get("arguments"), dict):
        return call | {"arguments": json.dumps(call["arguments"], ensure_ascii=False)}
    return call

"""A guest's calls of other tools: read without trust, bounded, answered one by one.

What a call means is the caller's of this service: it gets the name and the arguments, and gives
a value or the reason why there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, TypeAlias

from pydantic import JsonValue, ValidationError

from policies.value import JsonObject, Value, canonical_json
from sandbox.frames import MAX_DEPTH, Frame, FrameError, Kind, decode_json
from sandbox.services import SendFrame

__all__ = ["MAX_CALL_BYTES", "CallTool", "ToolCallFailedError", "ToolCallService"]

MAX_CALL_BYTES: Final = 1 << 20
"""Of one question as JSON: name and arguments."""

MAX_REFUSED: Final = 1_000
"""Questions beyond those that are granted; a guest that asks more often is stopped."""

AT_ONCE: Final = 4
"""Questions of one guest that are worked on at the same time; further ones wait."""

WAITING: Final = 32
"""Questions of one guest that may wait, so that their arguments fill no memory of the host."""

CallTool: TypeAlias = Callable[[str, JsonObject, float], Awaitable[JsonValue]]
"""Calls the tool of that name with those arguments; the last is how many seconds the caller has
left. Raises `ToolCallFailedError` where there is no value."""


class ToolCallFailedError(Exception):
    """There is no value; the text is what the calling tool is told."""


class _Question(Value):
    id: int
    name: str
    arguments: JsonObject


class ToolCallService:
    """The service "tools" of one call, or of one batch of calls."""

    name = "tools"

    def __init__(
        self,
        call: CallTool,
        names: Collection[str],
        *,
        wall_seconds: float,
        granted: int,
        at_once: int = AT_ONCE,
    ) -> None:
        """Let a guest call `names`.

        Args:
            call: Carries out one call.
            names: The tools that may be called, by their bare names.
            wall_seconds: How long the guest has, from its arguments on.
            granted: About how many calls it may make; `call` refuses those beyond in words, and
                a guest that goes on far beyond is stopped.
            at_once: How many of them are carried out at the same time.
        """
        self._call = call
        self._names = tuple(names)
        self._wall_seconds = wall_seconds
        self._frames_left = granted + MAX_REFUSED
        self._places = asyncio.Semaphore(at_once)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._send: SendFrame | None = None
        self._deadline = 0.0
        self._ended = False

    @property
    def kinds(self) -> Mapping[Kind, int]:
        """Questions."""
        return {Kind.TOOL_CALL: MAX_CALL_BYTES}

    def begin(self, send: SendFrame) -> JsonObject:
        """Start the clock; the guest is told the names."""
        self._send = send
        self._deadline = asyncio.get_running_loop().time() + self._wall_seconds
        return {
            "tools": list(self._names),
            "call_bytes": MAX_CALL_BYTES - 64,  # the guest does not count the number of the call
            "max_depth": MAX_DEPTH,
        }

    def receive(self, frame: Frame) -> None:
        """Begin to answer a question.

        Raises:
            FrameError: It is none, its number is in use, or there were far too many.
        """
        self._frames_left -= 1
        if self._frames_left < 0:
            raise FrameError("calls of tools without end, although they were refused")
        if self._ended:
            return
        question = _read(frame)
        if question.id in self._tasks:
            raise FrameError(f"two calls of tools with the number {question.id}")
        if question.name not in self._names:
            self._answer(question.id, {"error": f"{question.name[:100]!r} may not be called"})
        elif len(self._tasks) >= WAITING:
            self._answer(
                question.id,
                {
                    "error": f"{question.name} was not called: {len(self._tasks)} calls wait "
                    "already; make fewer at the same time"
                },
            )
        else:
            task = asyncio.create_task(self._carry_out(question), name=f"call of {question.name}")
            self._tasks[question.id] = task

    async def _carry_out(self, question: _Question) -> None:
        try:
            async with self._places:
                left = self._deadline - asyncio.get_running_loop().time()
                value = await self._call(question.name, question.arguments, left)
            self._answer(question.id, {"value": value})
        except ToolCallFailedError as error:
            self._answer(question.id, {"error": str(error)})
        except Exception as error:  # noqa: BLE001 - the guest waits for an answer, whatever failed
            # Only the kind: what our own errors say of this host is none of a guest's business.
            self._answer(
                question.id,
                {
                    "error": f"the runtime failed to call {question.name}, which is no fault of "
                    f"the call ({type(error).__name__}); whether it had effects is unknown"
                },
            )
        finally:
            del self._tasks[question.id]

    def _answer(self, number: int, answer: JsonObject) -> None:
        if self._send is not None and not self._ended:
            self._send(Kind.TOOL_ANSWER, canonical_json({"id": number, **answer}))

    async def end(self) -> None:
        """Cancel what is still being carried out, and wait until it is gone."""
        self._ended = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _read(frame: Frame) -> _Question:
    value = decode_json(frame.payload, max_bytes=MAX_CALL_BYTES)
    try:
        question = _Question.model_validate(value)
    except ValidationError:
        raise FrameError("a call of a tool without number, name and arguments") from None
    if not 0 < question.id < 1 << 53:
        raise FrameError("a call of a tool with an impossible number")
    return question

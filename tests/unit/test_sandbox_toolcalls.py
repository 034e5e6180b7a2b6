"""The host's side of calls of other tools: read without trust, bounded, cancelled at the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import JsonValue

from policies.value import JsonObject
from sandbox import toolcalls
from sandbox.frames import Frame, FrameError, Kind
from sandbox.toolcalls import ToolCallFailedError, ToolCallService

Answer = Callable[[str, JsonObject, float], Awaitable[JsonValue]]


async def double(_name: str, arguments: JsonObject, _left: float) -> JsonValue:
    return [arguments["n"], arguments["n"]]


class Guest:
    """What a guest would hear."""

    def __init__(self, call: Answer = double, **options: Any) -> None:
        settings: dict[str, Any] = {"wall_seconds": 5.0, "granted": 20, **options}
        self.service = ToolCallService(call, ["double", "other"], **settings)
        self.heard: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self.grant = self.service.begin(self._hear)

    def _hear(self, kind: Kind, payload: bytes) -> None:
        assert kind is Kind.TOOL_ANSWER
        self.heard.append(json.loads(payload))
        self._news.set()

    def say(self, payload: bytes) -> None:
        self.service.receive(Frame(Kind.TOOL_CALL, 0, payload))

    def ask(self, number: int, name: str = "double", **arguments: JsonValue) -> None:
        self.say(json.dumps({"id": number, "name": name, "arguments": arguments}).encode())

    async def heard_all(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(5):
            while len(self.heard) < count:
                self._news.clear()
                await self._news.wait()
        return sorted(self.heard, key=lambda answer: answer["id"])


async def test_each_question_gets_its_own_answer() -> None:
    guest = Guest()
    for number in (3, 1, 2):
        guest.ask(number, n=number)

    answers = await guest.heard_all(3)
    assert answers == [{"id": n, "value": [n, n]} for n in (1, 2, 3)]
    assert guest.grant["tools"] == ["double", "other"]


async def test_a_failure_is_told_in_its_own_words() -> None:
    async def fail(_name: str, _arguments: JsonObject, _left: float) -> JsonValue:
        raise ToolCallFailedError("it is revoked")

    guest = Guest(fail)
    guest.ask(1)

    assert await guest.heard_all(1) == [{"id": 1, "error": "it is revoked"}]


async def test_a_fault_of_ours_says_nothing_of_this_host() -> None:
    async def fail(_name: str, _arguments: JsonObject, _left: float) -> JsonValue:
        raise RuntimeError("cannot open /home/somebody/secret")

    guest = Guest(fail)
    guest.ask(1)

    (answer,) = await guest.heard_all(1)
    assert "RuntimeError" in answer["error"]
    assert "somebody" not in answer["error"]


async def test_a_tool_that_was_not_granted_is_not_called() -> None:
    guest = Guest()
    guest.ask(1, "third", n=1)

    assert guest.heard == [{"id": 1, "error": "'third' may not be called"}]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"id":1,"name":"double"}',
        b'{"id":1,"name":"double","arguments":[]}',
        b'{"id":0,"name":"double","arguments":{}}',
        b'{"id":-1,"name":"double","arguments":{}}',
        b'{"id":1e999,"name":"double","arguments":{}}',
        b'{"id":99999999999999999999,"name":"double","arguments":{}}',
        b'{"id":1,"name":null,"arguments":{}}',
        b'{"id":1,"name":"double","arguments":{},"more":1}',
        b'{"id":1,"id":1,"name":"double","arguments":{}}',
        b'{"id":1,"name":"double","arguments":{"n":' + b"[" * 99 + b"]" * 99 + b"}}",
        b'{"id":1,"name":"\\ud800","arguments":{}}',
        b"\xff",
    ],
)
async def test_what_no_honest_guest_sends_is_refused(payload: bytes) -> None:
    with pytest.raises(FrameError):
        Guest().say(payload)


async def test_a_number_in_use_is_refused() -> None:
    guest = Guest()
    guest.ask(1, n=1)

    with pytest.raises(FrameError, match="two calls of tools with the number 1"):
        guest.ask(1, n=1)
    await guest.service.end()


async def test_a_few_run_at_once_some_wait_and_the_rest_is_refused() -> None:
    running, most = 0, 0
    go = asyncio.Event()

    async def slow(_name: str, _arguments: JsonObject, _left: float) -> JsonValue:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1
        return 1

    guest = Guest(slow, at_once=3)
    for number in range(1, toolcalls.WAITING + 6):
        guest.ask(number)
    await asyncio.sleep(0.01)
    assert [answer["id"] for answer in guest.heard] == list(
        range(toolcalls.WAITING + 1, toolcalls.WAITING + 6)
    )
    assert "calls wait already" in guest.heard[0]["error"]
    go.set()
    await guest.heard_all(toolcalls.WAITING + 5)
    assert most == 3


async def test_a_flood_ends_the_guest() -> None:
    guest = Guest(granted=20)

    for _ in range(toolcalls.MAX_REFUSED + 20):
        guest.ask(1, "third")
    assert len(guest.heard) == toolcalls.MAX_REFUSED + 20
    with pytest.raises(FrameError, match="without end"):
        guest.ask(1, "third")


async def test_the_end_cancels_what_runs_and_waits_for_it() -> None:
    undone = []

    async def slow(_name: str, _arguments: JsonObject, _left: float) -> JsonValue:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            undone.append(1)
        return 1

    guest = Guest(slow)
    guest.ask(1)
    guest.ask(2)
    await asyncio.sleep(0)
    await guest.service.end()
    await guest.service.end()

    assert undone == [1, 1]
    guest.ask(3)
    await asyncio.sleep(0.01)
    assert not guest.heard


async def test_a_call_is_told_how_long_its_caller_has_left() -> None:
    async def left(_name: str, _arguments: JsonObject, seconds: float) -> JsonValue:
        return seconds

    guest = Guest(left, wall_seconds=5.0)
    await asyncio.sleep(0.05)
    guest.ask(1)

    (answer,) = await guest.heard_all(1)
    assert 0 < answer["value"] <= 4.96

"""Tools that call tools from real containers: several at once, refused, flooded, cancelled."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Collection
from dataclasses import replace
from typing import ClassVar

import pytest
from pydantic import JsonValue

from policies.limits import ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject
from sandbox.base import CallOptions, ExecutionResult, Outcome, Program
from sandbox.docker_sandbox import DockerSandbox, SandboxCapacity
from sandbox.engine import Engine
from sandbox.frames import Frame, FrameError, Kind
from sandbox.services import SendFrame
from sandbox.toolcalls import CallTool, ToolCallFailedError, ToolCallService

LIMITS = ResourceLimits(wall_seconds=60.0)
NESTED = CallOptions(nested=True)
DOUBLE = Program(code="def double(n):\n    return n * 2\n", function="double", limits=LIMITS)


def program(body: str, limits: ResourceLimits = LIMITS) -> Program:
    code = "import os, threading\ndef f():\n" + textwrap.indent(textwrap.dedent(body), "    ")
    return Program(code=code, function="f", level=LintLevel.L2, limits=limits)


async def run(
    sandbox: DockerSandbox, body: str, call: CallTool, names: Collection[str] = ("double",)
) -> ExecutionResult:
    service = ToolCallService(call, names, wall_seconds=LIMITS.wall_seconds, granted=20)
    return await sandbox.run(program(body), {}, CallOptions(services=(service,)))


async def same(_name: str, arguments: JsonObject, _left: float) -> JsonValue:
    return arguments


async def test_a_tool_calls_another_in_a_container_of_its_own(
    engine: Engine, owner: str, image_digest: str
) -> None:
    """With one place only: the inner call does not wait for the outer one's."""
    capacity = SandboxCapacity(concurrency=1, wait_seconds=5.0)
    containers = []
    async with DockerSandbox(
        engine, image_digest=image_digest, owner=owner, capacity=capacity
    ) as sandbox:

        async def double(_name: str, arguments: JsonObject, _left: float) -> JsonValue:
            result = await sandbox.run(DOUBLE, arguments, NESTED)
            containers.append(result.container)
            return result.value

        result = await run(
            sandbox, "return [call_tool('double', n=n) for n in (1, 'ab', [None])]", double
        )
        await sandbox.settle()

    assert result.outcome is Outcome.RETURNED, result.error_message
    assert result.value == [2, "abab", [None, None]]
    assert len({result.container, *containers}) == 4


async def test_threads_of_a_tool_call_at_once_and_each_gets_its_own(
    sandbox: DockerSandbox,
) -> None:
    result = await run(
        sandbox,
        """
        got = {}
        def ask(n):
            got[n] = call_tool("double", n=n, name="x" * 3000)["n"]
        threads = [threading.Thread(target=ask, args=(n,)) for n in range(16)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        return sorted(got.items())
        """,
        same,
    )

    assert result.value == [[n, n] for n in range(16)]


async def test_what_goes_wrong_is_an_error_that_the_tool_can_catch(sandbox: DockerSandbox) -> None:
    async def fail(_name: str, _arguments: JsonObject, _left: float) -> JsonValue:
        raise ToolCallFailedError("double@3 is revoked")

    result = await run(
        sandbox,
        """
        told = []
        for ask in (
            lambda: call_tool("double", n=1),
            lambda: call_tool("other"),
            lambda: call_tool("double", n=object()),
            lambda: call_tool("double", n=float("nan")),
            lambda: call_tool("double", n="1" * (1 << 20)),
        ):
            try:
                ask()
            except ToolCallError as error:
                told.append(str(error))
        return told
        """,
        fail,
    )

    assert isinstance(result.value, list)
    revoked, unknown, no_json, not_finite, large = map(str, result.value)
    assert revoked == "double@3 is revoked"
    assert "permissions.tools does not name it, it has double" in unknown
    assert "of type object" in no_json
    assert "not JSON" in not_finite
    assert "bytes as JSON, where" in large


async def test_not_caught_it_is_the_answer(sandbox: DockerSandbox) -> None:
    result = await run(sandbox, "call_tool('other')", same)

    assert (result.outcome, result.error_type) == (Outcome.RAISED, "ToolCallError")


FORGE = """
import fcntl, json
def is_channel(number):
    try:
        return fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    except OSError:
        return False
CHANNEL = next(filter(is_channel, range(3, 64)))
def send(payload, kind=9):
    os.write(CHANNEL, bytes([kind]) + bytes(4) + len(payload).to_bytes(4, "big") + payload)
def ask(number, name="double"):
    send(json.dumps({"id": number, "name": name, "arguments": {}}).encode())
"""


@pytest.mark.parametrize(
    "body",
    [
        "while True: ask(1, 'other')",
        "for n in range(1, 100_000): ask(n)",
        "ask(7); ask(7)\nimport time; time.sleep(3)",
        "send(b'[' * 100_000)",
        "send(b'1' * (2 << 20))",
        'send(b\'{"id":1,"value":1}\', kind=10)',
    ],
)
async def test_forged_questions_end_the_guest_and_nothing_else(
    sandbox: DockerSandbox, body: str
) -> None:
    async def slow(_name: str, _arguments: JsonObject, _left: float) -> JsonValue:
        await asyncio.sleep(0.5)
        return 1

    result = await run(sandbox, FORGE + body, slow)

    assert result.outcome in (Outcome.PROTOCOL_BROKEN, Outcome.LIMIT_EXCEEDED), result
    plain = await run(sandbox, "return call_tool('double', n=1)", same)
    assert plain.value == {"n": 1}


async def test_what_was_not_granted_may_not_be_asked(sandbox: DockerSandbox) -> None:
    result = await sandbox.run(program(FORGE + "ask(1)"), {})

    assert result.outcome is Outcome.PROTOCOL_BROKEN


async def test_the_outer_call_takes_the_inner_one_with_it(sandbox: DockerSandbox) -> None:
    """Cancelled or out of time: the inner container is gone with the outer one."""
    forever = replace_code(DOUBLE, "def double(n):\n    while True:\n        pass\n")
    started = asyncio.Event()
    begun, ended = [], []

    async def endless(_name: str, arguments: JsonObject, _left: float) -> JsonValue:
        begun.append(1)
        started.set()
        try:
            return (await sandbox.run(forever, arguments, NESTED)).value
        finally:
            ended.append(1)

    outer = asyncio.create_task(run(sandbox, "return call_tool('double', n=1)", endless))
    await started.wait()
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outer
    assert begun == ended == [1]

    short = LIMITS.model_copy(update={"wall_seconds": 1.0})
    service = ToolCallService(endless, ["double"], wall_seconds=1.0, granted=20)
    options = replace(CallOptions(), services=(service,))
    result = await sandbox.run(program("return call_tool('double', n=1)", short), {}, options)
    assert result.outcome is Outcome.TIMED_OUT
    assert begun == ended


class Watched:
    """A service that nobody asks anything, and whose end can be held up."""

    name = "tools"
    kinds: ClassVar[dict[Kind, int]] = {}

    def __init__(self, *, may_end: bool) -> None:
        self.begun, self.ending, self.ended = asyncio.Event(), asyncio.Event(), False
        self._may_end = may_end

    def begin(self, _send: SendFrame) -> JsonObject:
        self.begun.set()
        return {"tools": [], "call_bytes": 1, "max_depth": 1}

    def receive(self, frame: Frame) -> None:
        raise FrameError(f"{frame.kind.name} is no frame of this service")

    async def end(self) -> None:
        self.ending.set()
        if not self._may_end:
            await asyncio.Event().wait()
        self.ended = True


async def test_one_service_that_does_not_end_leaves_the_others_ended(
    sandbox: DockerSandbox,
) -> None:
    first, second = Watched(may_end=False), Watched(may_end=True)
    options = CallOptions(services=(first, second))
    body = "import time; time.sleep(50)"
    running = asyncio.create_task(sandbox.run(program(body), {}, options))
    await first.begun.wait()

    running.cancel()
    await first.ending.wait()
    running.cancel()  # a second time, because that takes so long
    with pytest.raises(asyncio.CancelledError):
        await running

    assert not first.ended
    assert second.ended


def replace_code(of: Program, code: str) -> Program:
    return of.model_copy(update={"code": code})

"""What every `Sandbox` promises, asked of each there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar

import pytest
from docker_fixtures import RUNTIMES, listed_runtime
from pydantic import JsonValue

from policies.limits import MIB, ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject
from sandbox.base import CallOptions, ExecutionResult, Outcome, Program, Sandbox, Tier
from sandbox.docker_sandbox import DockerSandbox
from sandbox.engine import Engine
from sandbox.frames import Frame, FrameError, Kind
from sandbox.identity import OWNER_LABEL
from sandbox.runtimes import Runtime
from sandbox.services import SendFrame

BOUND_SECONDS = 120.0


@pytest.fixture(params=RUNTIMES)
async def runtime(request: pytest.FixtureRequest, engine: Engine) -> Runtime:
    return await listed_runtime(engine, request.config, request.param)


@pytest.fixture
async def subject(
    engine: Engine, owner: str, image_digest: str, runtime: Runtime
) -> AsyncIterator[Sandbox]:
    async with DockerSandbox(
        engine, image_digest=image_digest, owner=owner, runtime=runtime
    ) as sandbox:
        yield sandbox


class Begun:
    """A service that takes nothing, and says when its call has begun."""

    name = "tools"
    kinds: ClassVar[dict[Kind, int]] = {}

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def begin(self, _send: SendFrame) -> JsonObject:
        self.event.set()
        return {"tools": [], "call_bytes": 1, "max_depth": 1}

    def receive(self, frame: Frame) -> None:
        raise FrameError(f"{frame.kind.name} is no frame of this service")

    async def end(self) -> None:
        """Nothing is left."""


def program(code: str, function: str = "f", /, **limits: float) -> Program:
    return Program(
        code=code,
        function=function,
        level=LintLevel.L2,
        limits=ResourceLimits.model_validate(limits),
    )


async def call(subject: Sandbox, code: str, **arguments: JsonValue) -> ExecutionResult:
    return await subject.run(program(code), arguments)


async def test_a_value_comes_back_with_where_and_how_it_was_made(subject: Sandbox) -> None:
    result = await call(subject, "def f(a, b):\n    return {'sum': a + b}\n", a=1, b=2)

    assert (result.outcome, result.value) == (Outcome.RETURNED, {"sum": 3})
    assert (result.tier, result.pool_hit) == (Tier.CONTAINER, False)
    assert result.image_digest == subject.image_digest
    assert result.timings.claim > 0
    assert result.timings.execute > 0
    assert result.posture.uid == 65534


@pytest.mark.parametrize(
    ("returned", "value"),
    [
        ("None", None),
        ("(1, (2.5, 'x'))", [1, [2.5, "x"]]),
        ("{1: True, 'ä': None}", {"1": True, "ä": None}),
        ("Colour.RED", "red"),
        ("Point(1, Point(2, None))", {"x": 1, "y": {"x": 2, "y": None}}),
        ("Pair(1, 2)", [1, 2]),
        ("10 ** 30", 10**30),
        ("''.join(map(chr, (0, 27, 0x1f600)))", "\x00\x1b\U0001f600"),
    ],
)
async def test_python_values_come_back_as_json(
    subject: Sandbox, returned: str, value: JsonValue
) -> None:
    code = (
        "from collections import namedtuple\n"
        "from dataclasses import dataclass\n"
        "from enum import Enum\n"
        "Colour = Enum('Colour', {'RED': 'red'})\n"
        "Pair = namedtuple('Pair', 'a b')\n"
        "@dataclass\n"
        "class Point:\n"
        "    x: int\n"
        "    y: 'Point | None'\n"
        f"def f():\n    return {returned}\n"
    )

    result = await call(subject, code)

    assert (result.outcome, result.value) == (Outcome.RETURNED, value), result.error_message


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("{1, 2}", "of type set, which is not JSON"),
        ("{'a': [b'x']}", "result['a'][0] is of type bytes"),
        ("float('nan')", "not JSON"),
        ("'\\ud800'", "surrogate"),
        ("{1: 1, '1': 2}", "two keys"),
        ("10 ** 5000", "not JSON"),
        ("nested(100)", "nested deeper than 32"),
    ],
)
async def test_what_json_cannot_hold_is_the_programs_error(
    subject: Sandbox, returned: str, words: str
) -> None:
    code = (
        f"def nested(n):\n    return [nested(n - 1)] if n else 0\ndef f():\n    return {returned}\n"
    )

    result = await call(subject, code)

    assert (result.outcome, result.error_type) == (Outcome.RAISED, "ResultNotJSON")
    assert words in result.error_message


async def test_an_exception_comes_back_with_the_programs_own_lines(subject: Sandbox) -> None:
    code = (
        "import json\n"
        "class Refused(ValueError):\n"
        "    pass\n"
        "def inner(text):\n"
        "    try:\n"
        "        json.loads(text)\n"
        "    except ValueError as error:\n"
        "        raise Refused('not that') from error\n"
        "def f(text):\n"
        "    print('about to fail')\n"
        "    return inner(text)\n"
    )

    result = await call(subject, code, text="{")

    assert (result.outcome, result.error_type) == (Outcome.RAISED, "Refused")
    assert result.error_message == "not that"
    assert '  File "<tool>", line 11, in f\n    return inner(text)\n' in result.traceback
    assert "json/decoder.py" not in result.traceback
    assert "harness" not in result.traceback
    assert result.output == "about to fail\n"


async def test_a_source_that_does_not_compile_is_the_programs_error(subject: Sandbox) -> None:
    result = await call(subject, "def f(:\n")

    assert (result.outcome, result.error_type) == (Outcome.RAISED, "SyntaxError")
    assert '"<tool>", line 1' in result.traceback


async def test_a_missing_function_is_the_programs_error(subject: Sandbox) -> None:
    result = await call(subject, "def g():\n    pass\n")

    assert (result.outcome, result.error_type) == (Outcome.RAISED, "NameError")


@pytest.mark.parametrize(
    "signature",
    ["a, b=2, *, c", "a, b=2, /, *, c", "a, /, b=2, *, c", "a, b=2, c=0, /"],
)
async def test_arguments_are_given_by_name(subject: Sandbox, signature: str) -> None:
    result = await call(subject, f"def f({signature}):\n    return [a, b, c]\n", a=1, c=3)

    assert result.value == [1, 2, 3], result.error_message


async def test_an_async_function_is_awaited(subject: Sandbox) -> None:
    code = "import asyncio\nasync def f(a):\n    await asyncio.sleep(0)\n    return a\n"

    assert (await call(subject, code, a=7)).value == 7


async def test_what_is_printed_is_apart_from_the_result(subject: Sandbox) -> None:
    code = (
        "import os, sys\n"
        "def f():\n"
        "    print('one', end='')\n"
        "    sys.stderr.write('two')\n"
        "    sys.stdout.flush()\n"
        "    os.write(1, b'three\\xff')\n"
        "    return 'value'\n"
    )

    result = await call(subject, code)

    assert result.value == "value"
    assert sorted(result.output) == sorted("onetwothree�")
    assert result.output_bytes == 12


async def test_each_call_of_a_batch_runs_the_source_anew(subject: Sandbox) -> None:
    code = "seen = []\ndef f(a):\n    seen.append(a)\n    return seen\n"
    batch: list[JsonObject] = [{"a": 1}, {"a": 2}, {"a": 3}]

    results = await subject.run_batch(program(code), batch)

    assert [result.value for result in results] == [[1], [2], [3]]
    assert len({result.container for result in results}) == 1


async def test_a_batch_ends_with_the_call_that_ended_the_environment(subject: Sandbox) -> None:
    code = "import os\ndef f(a):\n    if a == 2:\n        os._exit(3)\n    return a\n"

    results = await subject.run_batch(program(code), [{"a": 1}, {"a": 2}, {"a": 3}])

    assert [result.outcome for result in results] == [Outcome.RETURNED, Outcome.CRASHED]
    assert results[-1].exit_code == 3


async def test_an_empty_batch_is_no_run(subject: Sandbox) -> None:
    assert await subject.run_batch(program("def f():\n    pass\n"), []) == ()


async def test_the_wall_limit_holds_for_each_call_of_a_batch(subject: Sandbox) -> None:
    code = "import time\ndef f(s):\n    time.sleep(s)\n    return s\n"

    batch: list[JsonObject] = [{"s": seconds} for seconds in (0.4, 0.4, 0.4, 0.4, 30, 0)]

    results = await subject.run_batch(program(code, wall_seconds=1.5), batch)

    assert [r.outcome for r in results] == [*[Outcome.RETURNED] * 4, Outcome.TIMED_OUT]
    assert results[-1].limit == "wall_time"


async def test_memory_beyond_the_ceiling_ends_the_run(subject: Sandbox, runtime: Runtime) -> None:
    code = "def f():\n    return len(bytearray(100 * 1024 * 1024))\n"

    result = await subject.run(program(code, memory_bytes=32 * MIB), {})

    if runtime.limits_hold:
        assert (result.outcome, result.limit) == (Outcome.OUT_OF_MEMORY, "memory")
    else:  # the process's own ceiling stands in: the guest is refused, not killed
        assert (result.outcome, result.error_type) == (Outcome.RAISED, "MemoryError")


async def test_a_result_beyond_the_ceiling_ends_the_run(subject: Sandbox) -> None:
    small = await subject.run(program("def f():\n    return 'x' * 98\n", result_bytes=100), {})
    large = await subject.run(program("def f():\n    return 'x' * 99\n", result_bytes=100), {})

    assert small.outcome is Outcome.RETURNED
    assert (large.outcome, large.limit) == (Outcome.LIMIT_EXCEEDED, "result")


async def test_output_beyond_the_ceiling_ends_the_run(subject: Sandbox) -> None:
    code = "def f():\n    print('€' * 100)\n"

    result = await subject.run(program(code, output_bytes=100), {})

    assert (result.outcome, result.limit) == (Outcome.LIMIT_EXCEEDED, "output")
    assert result.output == "€" * 33
    assert result.output_bytes == 301


@pytest.mark.parametrize(
    "least",
    [
        {"memory_bytes": 16 * MIB},
        {"pids": 1},
        {"open_files": 16},
        {"tmp_bytes": 4096, "tmp_files": 8, "file_bytes": 4096},
        {"output_bytes": 0},
        {"result_bytes": 64},
    ],
    ids=lambda least: next(iter(least)),
)
async def test_the_lowest_ceilings_leave_room_for_a_small_tool(
    subject: Sandbox, least: dict[str, float]
) -> None:
    result = await subject.run(program("def f():\n    return 1\n", **least), {})

    assert result.outcome is Outcome.RETURNED, result.error_message


async def test_calls_at_once_do_not_meet(subject: Sandbox) -> None:
    code = "def f(a):\n    return a\n"

    async with asyncio.TaskGroup() as tasks:
        runs = [tasks.create_task(call(subject, code, a=number)) for number in range(6)]

    assert [run.result().value for run in runs] == list(range(6))
    assert len({run.result().container for run in runs}) == 6


async def test_cancelling_destroys_the_environment(
    subject: Sandbox, engine: Engine, owner: str
) -> None:
    begun = Begun()
    sleep = program("import time\ndef f():\n    time.sleep(60)\n")
    running = asyncio.create_task(subject.run(sleep, {}, CallOptions(services=(begun,))))
    async with asyncio.timeout(BOUND_SECONDS):
        await begun.event.wait()  # one that is only being made may serve another call
    assert await engine.list_by_label(f"{OWNER_LABEL}={owner}")

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await subject.settle()
    assert not await engine.list_by_label(f"{OWNER_LABEL}={owner}")

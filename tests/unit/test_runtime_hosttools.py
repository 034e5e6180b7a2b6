"""Typed functions as tools: schemas, conversion, errors, threads."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import json
import math
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from runtime.errors import UsageError
from runtime.hosttools import HostTool, tool
from runtime.tools import CallContext

CONTEXT = CallContext(call_id="c1", session_id="s1")


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    x: int
    y: int = 0


@dataclass
class Box:
    title: str
    corner: Point


@tool
def paint(
    box: Box,
    colour: Colour = Colour.RED,
    *,
    finish: Literal["matt", "gloss"] = "matt",
    coats: Annotated[int, Field(ge=1, description="how many coats")] = 1,
    copy: list[Point] | None = None,
    schema: str = "plain",
) -> dict[str, object]:
    """Paint a box.

    Takes a while to dry.

    Args:
        box: what to paint
        colour: which colour
        coats: hidden by the annotation's own words
    """
    return {"title": box.title, "x": box.corner.x, "colour": colour, "coats": coats, "copy": copy}


def test_schema_comes_from_annotations_and_docstring() -> None:
    assert paint.spec.name == "paint"
    assert paint.spec.description == "Paint a box.\n\nTakes a while to dry."
    assert paint.spec.parameters == {
        "type": "object",
        "additionalProperties": False,
        "required": ["box"],
        "properties": {
            "box": {
                "type": "object",
                "description": "what to paint",
                "required": ["title", "corner"],
                "additionalProperties": False,
                "properties": {
                    "title": {"type": "string"},
                    "corner": {
                        "type": "object",
                        "required": ["x"],
                        "properties": {
                            "x": {"type": "integer"},
                            "y": {"type": "integer", "default": 0},
                        },
                    },
                },
            },
            "colour": {
                "type": "string",
                "enum": ["red", "blue"],
                "default": "red",
                "description": "which colour",
            },
            "finish": {"type": "string", "enum": ["matt", "gloss"], "default": "matt"},
            "coats": {
                "type": "integer",
                "minimum": 1,
                "default": 1,
                "description": "how many coats",
            },
            "copy": {
                "default": None,
                "anyOf": [
                    {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["x"],
                            "properties": {
                                "x": {"type": "integer"},
                                "y": {"type": "integer", "default": 0},
                            },
                        },
                    },
                    {"type": "null"},
                ],
            },
            "schema": {"type": "string", "default": "plain"},
        },
    }


async def test_arguments_are_converted_and_the_result_is_json() -> None:
    answer = await paint.call(
        {
            "box": {"title": "b", "corner": {"x": 3}},
            "colour": "blue",
            "copy": [{"x": 1}],
        },
        CONTEXT,
    )

    assert not answer.is_error
    assert json.loads(answer.content) == {
        "title": "b",
        "x": 3,
        "colour": "blue",
        "coats": 1,
        "copy": [{"x": 1, "y": 0}],
    }


async def test_arguments_that_do_not_fit_are_named_and_nothing_runs() -> None:
    answer = await paint.call({"box": {"title": "b"}, "colour": "green", "extra": 1}, CONTEXT)

    assert answer.is_error
    assert "nothing was run" in answer.content
    for part in ("box.corner", "colour", "'green'", "extra"):
        assert part in answer.content


def test_the_decorated_function_stays_callable() -> None:
    @tool(name="plus", description="Adds two.")
    def add(a: int, b: int) -> int:
        return a + b

    assert add(1, b=2) == 3
    assert (add.spec.name, add.spec.description) == ("plus", "Adds two.")


def test_types_of_an_enclosing_function_are_found() -> None:
    class Inner(BaseModel):
        n: int

    @tool
    def bare(inner: Inner) -> int:
        """Take it."""
        return inner.n

    @tool(timeout_seconds=1)
    def called(inner: Inner) -> int:
        """Take it."""
        return inner.n

    for each in (bare, called):
        assert "n" in json.dumps(each.spec.parameters)


async def test_async_functions_and_the_call_context() -> None:
    @tool
    async def whoami(ctx: CallContext, loud: bool = False) -> str | None:
        """Say who calls."""
        await asyncio.sleep(0)
        return ctx.session_id

    assert list(whoami.spec.parameters["properties"]) == ["loud"]  # type: ignore[arg-type]
    assert (await whoami.call({}, CONTEXT)).content == '"s1"'


async def test_every_kind_of_parameter_is_filled() -> None:
    @tool
    def kinds(a: int, /, b: int, c: int = 3, *, d: int = 4) -> list[int]:
        """Take all kinds."""
        return [a, b, c, d]

    assert (await kinds.call({"a": 1, "b": 2, "d": 5}, CONTEXT)).content == "[1,2,3,5]"


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_errors_of_the_function_are_the_answer(kind: str) -> None:
    @tool
    def sync(n: int) -> int:
        """Fail."""
        raise LookupError(f"no {n}")

    @tool
    async def asynchronous(n: int) -> int:
        """Fail."""
        raise LookupError(f"no {n}")

    failing = sync if kind == "sync" else asynchronous

    answer = await failing.call({"n": 7}, CONTEXT)

    assert (answer.is_error, answer.content) == (True, "LookupError: no 7")


@pytest.mark.parametrize("error", [StopIteration(), SystemExit(3), TimeoutError("own"), Exception])
async def test_odd_errors_of_the_function_are_answers_too(error: BaseException) -> None:
    @tool
    def odd() -> int:
        """Fail oddly."""
        raise error

    answer = await odd.call({}, CONTEXT)

    assert answer.is_error
    assert "did not finish" not in answer.content


async def test_an_async_function_behind_a_plain_decorator_is_awaited() -> None:
    async def later(n: int) -> int:
        """Add one, later."""
        await asyncio.sleep(0)
        return n + 1

    @functools.wraps(later)
    def logged(*args: int, **named: int) -> object:
        return later(*args, **named)

    assert (await tool(logged).call({"n": 1}, CONTEXT)).content == "2"


@pytest.mark.parametrize("default", [math.inf, math.nan, "\ud800", b"\xff", object()])
async def test_a_default_that_json_cannot_hold_stays_with_the_function(default: object) -> None:
    @tool
    def kept(x: Any = default) -> bool:
        """Say whether it is there."""
        return x is default or x == default

    assert kept.spec.parameters["properties"] == {"x": {}}
    assert (await kept.call({}, CONTEXT)).content == "true"


async def test_what_is_no_json_is_an_error_that_says_so() -> None:
    @tool
    def odd() -> object:
        """Return something odd."""
        return object()

    answer = await odd.call({}, CONTEXT)

    assert answer.is_error
    assert "cannot be written as JSON" in answer.content


async def test_a_blocking_function_is_answered_for_at_its_time_limit() -> None:
    release = threading.Event()

    @tool(timeout_seconds=0.05)
    def block() -> int:
        """Block."""
        release.wait(30)
        return 1

    answer = await block.call({}, CONTEXT)
    release.set()

    assert answer.is_error
    assert "did not finish within 0.05 s" in answer.content
    assert "may still be running" in answer.content


async def test_an_async_function_is_stopped_at_its_time_limit() -> None:
    stopped = asyncio.Event()

    @tool(timeout_seconds=0.05)
    async def wait() -> int:
        """Wait."""
        try:
            await asyncio.sleep(30)
        finally:
            stopped.set()
        return 1

    answer = await wait.call({}, CONTEXT)

    assert stopped.is_set()
    assert "It was stopped." in answer.content


async def test_many_blocking_calls_run_at_the_same_time() -> None:
    # Each waits for all the others: a smaller pool would never let the barrier pass.
    barrier = threading.Barrier(40)

    @tool(timeout_seconds=30)
    def meet() -> int:
        """Meet."""
        return barrier.wait(20)

    answers = await asyncio.gather(*(meet.call({}, CONTEXT) for _ in range(40)))

    assert sorted(int(answer.content) for answer in answers) == list(range(40))


async def test_cancelling_does_not_wait_for_a_blocking_function() -> None:
    release = threading.Event()

    @tool
    def block() -> int:
        """Block."""
        release.wait(30)
        return 1

    task = asyncio.create_task(block.call({}, CONTEXT))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not release.is_set()
    release.set()


def _no_annotation(a, b: int = 1):
    """Do."""


def _variadic(*numbers: int) -> None:
    """Do."""


def _no_docstring(a: int) -> None:
    pass


def _unknown_type(a: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Do."""


class Tree(BaseModel):
    children: list[Tree]


def _recursive(a: Tree) -> None:
    """Do."""


def _no_schema(a: threading.Lock) -> None:
    """Do."""


def _callback(a: Callable[[], None]) -> None:
    """Do."""


def _no_such_attribute(a: dt.nothing) -> None:  # type: ignore[name-defined]
    """Do."""


def _no_expression(a: "int |") -> None:  # type: ignore[valid-type]  # noqa: F722
    """Do."""


def _pattern_with_look_ahead(a: Annotated[str, Field(pattern="^(?!x)")]) -> None:
    """Do."""


def _half_a_character(a: Annotated[str, Field(description="\ud800")]) -> None:
    """Do."""


async def _yielding(a: int) -> AsyncIterator[int]:
    """Do."""
    yield a


class Callables:
    """Takes an object for a function."""

    def __call__(self, a: int) -> int:
        return a


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_no_such_attribute, "cannot be read.*nothing"),
        (_no_expression, "cannot be read.*int"),
        (_pattern_with_look_ahead, "(?s)cannot be described.*look-around"),
        (_half_a_character, "cannot be described.*surrogates"),
        (_yielding, "return a list"),
        (functools.partial(_no_docstring, 1), "is no function"),
        (Callables(), "is no function"),
        (paint, "is no function"),
        (lambda: 1, "'<lambda>' is no name"),
        (_no_annotation, "'a'.*has no annotation"),
        (_variadic, r"\*numbers"),
        (_no_docstring, "no description"),
        (_unknown_type, "Nowhere"),
        (_recursive, "'Tree'.*contains itself"),
        (_no_schema, "cannot be described"),
        (_callback, "cannot be described"),
    ],
)
def test_signatures_that_no_model_could_use_are_refused(function: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        HostTool(function)


@given(st.integers(), st.text(st.characters(exclude_categories=["Cs"])))
def test_what_goes_in_comes_out(number: int, text: str) -> None:
    @tool
    async def echo(number: int, text: str) -> list[object]:
        """Give both back."""
        return [number, text]

    answer = asyncio.run(echo.call({"number": number, "text": text}, CONTEXT))

    assert json.loads(answer.content) == [number, text]

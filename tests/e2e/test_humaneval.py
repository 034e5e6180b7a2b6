"""Every canonical HumanEval solution through the whole admission, and right when called.

The first checks of a problem are the examples; all of its checks are calls afterwards.
"""

from __future__ import annotations

import asyncio
import os

import pytest
from humaneval import DATA, Problem, load_problems

from policies.source import Example, ToolSource
from policies.value import JsonObject
from runtime.compare import matches
from runtime.wiring import Runtime

LEAST_ADMITTED = 162
AT_ONCE = 6


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    if not DATA.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{DATA} is missing", pytrace=False)
        pytest.skip(f"{DATA} is missing")
    return load_problems()


def source_of(problem: Problem) -> ToolSource:
    return ToolSource(
        name=problem.entry_point,
        description=f"Solves {problem.task_id}.",
        code=problem.code,
        examples=tuple(Example.model_validate(example) for example in problem.examples),
    )


async def refused_and_wrong(
    runtime: Runtime, problems: list[Problem]
) -> tuple[list[str], list[str]]:
    """Define all, call every admitted one with each of its checks; what went otherwise."""
    places = asyncio.Semaphore(AT_ONCE)
    refused: list[str] = []
    wrong: list[str] = []

    async def call(ref: str, arguments: JsonObject, expected: object) -> None:
        async with places:
            outcome = await runtime.call_tool(ref, arguments)
        if outcome.is_error or not matches(expected, outcome.content):  # type: ignore[arg-type]
            wrong.append(f"{ref}{arguments}: {outcome.content}, expected {expected}")

    async def one(problem: Problem) -> None:
        async with places:
            outcome = await runtime.define_tool(source_of(problem), insist=True)  # some are alike
        if not outcome.admitted:
            refused.append(f"{problem.task_id}: {outcome.to_text()}")
            return
        async with asyncio.TaskGroup() as calls:
            for check in problem.calls:
                calls.create_task(call(str(outcome.ref), check["arguments"], check["returns"]))

    async with asyncio.TaskGroup() as group:
        for problem in problems:
            group.create_task(one(problem))
    return refused, wrong


@pytest.mark.heavy
@pytest.mark.timeout(1_800)
async def test_at_least_162_of_164_are_admitted_and_right(
    runtime: Runtime, problems: list[Problem]
):
    refused, wrong = await refused_and_wrong(runtime, problems)

    assert wrong == []
    assert len(problems) == 164
    assert len(refused) <= 164 - LEAST_ADMITTED, refused
    assert (await runtime.store.verify()).intact


async def test_every_fortieth_is_admitted_and_right(runtime: Runtime, problems: list[Problem]):
    refused, wrong = await refused_and_wrong(runtime, problems[5::40])

    assert (refused, wrong) == ([], [])

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
from runtime.outcome import DefinitionOutcome
from runtime.wiring import Runtime

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1_800)]

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


async def test_at_least_162_of_164_are_admitted_and_right(
    runtime: Runtime, problems: list[Problem]
):
    places = asyncio.Semaphore(AT_ONCE)
    wrong: list[str] = []

    async def call(ref: str, arguments: JsonObject, expected: object) -> None:
        async with places:
            outcome = await runtime.call_tool(ref, arguments)
        if outcome.is_error or not matches(expected, outcome.content):  # type: ignore[arg-type]
            wrong.append(f"{ref}{arguments}: {outcome.content}, expected {expected}")

    async def one(problem: Problem) -> tuple[Problem, DefinitionOutcome]:
        async with places:
            outcome = await runtime.define_tool(source_of(problem))
        return problem, outcome

    outcomes = await asyncio.gather(*map(one, problems))
    admitted = [(problem, outcome) for problem, outcome in outcomes if outcome.admitted]
    await asyncio.gather(
        *(
            call(str(outcome.ref), check["arguments"], check["returns"])
            for problem, outcome in admitted
            for check in problem.calls
        )
    )

    refused = [
        (p.task_id, [f"{f.rule} {f.message}" for f in o.findings if f.severity == "error"])
        for p, o in outcomes
        if not o.admitted
    ]
    assert wrong == []
    assert len(admitted) >= LEAST_ADMITTED, refused
    assert len(problems) == 164
    assert (await runtime.store.verify()).intact

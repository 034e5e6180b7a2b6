"""Budgets: hard stops, each with its typed reason."""

from __future__ import annotations

import asyncio
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from looping import SimpleTool, call, calls, results_of, script

from policies.value import JsonObject
from runtime.budgets import Budget, cost_of
from runtime.errors import SettingsError
from runtime.events import SessionStopped
from runtime.messages import AssistantMessage, Usage
from runtime.models.scripted import RecordedAnswer
from runtime.sessions import Session
from runtime.settings import BudgetSettings, Price
from runtime.tools import CallContext, ToolAnswer
from runtime.toolset import Toolset
from runtime.transcript import Transcript

PRICE = Price(input_per_million=2, output_per_million=10, cached_input_per_million=0.5)


def endless(name: str = "ping", times: int = 30) -> list[AssistantMessage]:
    return [calls(call(str(n), name)) for n in range(times)]


def toolset() -> Toolset:
    return Toolset(
        builtins=[SimpleTool("define_tool", lambda _: ToolAnswer("admitted"))],
        host_tools=[SimpleTool("ping")],
    )


async def test_turns_are_counted_for_each_prompt() -> None:
    model = script(*endless())
    session = Session(model=model, toolset=toolset(), budget=Budget(BudgetSettings(turns=3)))

    for _ in range(2):
        reply = await session.send("go")
        assert reply.turns == 3
        assert reply.stopped is not None
        assert reply.stopped.reason == "turns"
        assert "budget.turns" in reply.stopped.message
    assert len(model.requests) == 6
    # Whatever ends it, every call has its result.
    assert len(results_of(session.messages)) == 6


async def test_tokens_are_counted_for_the_session() -> None:
    session = Session(
        model=script(*endless()), toolset=toolset(), budget=Budget(BudgetSettings(tokens=40))
    )

    first = await session.send("go")
    second = await session.send("go")

    assert (first.turns, second.turns) == (3, 0)
    assert [reply.stopped and reply.stopped.reason for reply in (first, second)] == ["tokens"] * 2
    assert session.usage.total_tokens == 45


async def test_cost_is_counted_at_the_configured_price() -> None:
    usage = Usage(requests=1, input_tokens=1_000_000, cached_input_tokens=500_000)
    answers = [RecordedAnswer(message=message, usage=usage) for message in endless()]
    budget = Budget(BudgetSettings(cost=2.5, tokens=10_000_000), price=PRICE)

    reply = await Session(model=script(*answers), toolset=toolset(), budget=budget).send("go")

    assert reply.stopped is not None
    assert (reply.stopped.reason, reply.turns) == ("cost", 2)
    assert budget.cost == pytest.approx(2.5)


def test_a_cost_limit_without_a_price_is_refused() -> None:
    with pytest.raises(SettingsError, match="no price"):
        Budget(BudgetSettings(cost=1))
    assert Budget().cost is None


def test_cost_of_cached_input() -> None:
    usage = Usage(input_tokens=1_000_000, cached_input_tokens=250_000, output_tokens=100_000)

    assert cost_of(usage, PRICE) == pytest.approx(1.5 + 0.125 + 1)
    plain = Price(input_per_million=2, output_per_million=10)
    assert cost_of(usage, plain) == pytest.approx(3)


async def test_wall_time_interrupts_a_running_call() -> None:
    ended = asyncio.Event()

    class Slow(SimpleTool):
        async def call(self, arguments: JsonObject, context: CallContext) -> ToolAnswer:
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()
            return ToolAnswer("never")

    session = Session(
        model=script(calls(call("1", "slow"))),
        toolset=Toolset(host_tools=[Slow("slow")]),
        budget=Budget(BudgetSettings(wall_seconds=0.05)),
    )

    reply = await session.send("go")

    assert ended.is_set()
    assert reply.stopped is not None
    assert reply.stopped.reason == "wall_time"
    (result,) = results_of(session.messages)
    assert result.content.startswith("interrupted")


async def test_wall_time_does_not_run_while_nothing_is_asked() -> None:
    now = 0.0
    budget = Budget(BudgetSettings(wall_seconds=10), clock=lambda: now)
    for _ in range(3):
        budget.start_prompt()
        now += 3
        assert budget.exceeded() is None
        budget.end_prompt()
        now += 1_000

    assert budget.wall_seconds == 9
    budget.start_prompt()
    now += 1
    stopped = budget.exceeded()
    assert stopped is not None
    assert stopped.reason == "wall_time"


async def test_a_definition_beyond_the_budget_is_an_error_and_a_second_one_the_end() -> None:
    session = Session(
        model=script(*endless("define_tool")),
        toolset=toolset(),
        budget=Budget(BudgetSettings(tool_definitions=2)),
    )

    reply = await session.send("go")

    assert [result.is_error for result in results_of(session.messages)] == [
        False,
        False,
        True,
        True,
    ]
    assert "may define 2 tools, and has" in results_of(session.messages)[2].content
    assert reply.stopped is not None
    assert reply.stopped.reason == "tool_definitions"


async def test_a_model_that_gives_up_defining_may_answer() -> None:
    session = Session(
        model=script(calls(call("1", "define_tool")), "I cannot."),
        toolset=toolset(),
        budget=Budget(BudgetSettings(tool_definitions=0)),
    )

    reply = await session.send("go")

    assert (reply.text, reply.stopped) == ("I cannot.", None)


async def test_a_resumed_session_has_spent_what_it_spent(tmp_path: Path) -> None:
    def budget() -> Budget:
        return Budget(BudgetSettings(tokens=40, tool_definitions=1))

    transcript = Transcript.create(tmp_path, model="scripted")
    model = script(calls(call("1", "define_tool")), "done", *endless("define_tool"))
    async with Session(
        model=model, toolset=toolset(), transcript=transcript, budget=budget()
    ) as session:
        await session.send("go")

    async with Session.resume(
        tmp_path, session.id, model=model, toolset=toolset(), budget=budget()
    ) as again:
        reply = await again.send("go")

    assert results_of(again.messages)[-1].is_error
    assert reply.stopped is not None
    assert (reply.stopped.reason, reply.turns) == ("tokens", 1)
    assert again.usage.total_tokens == 45


@given(
    st.integers(1, 12), st.integers(1, 200), st.integers(0, 4), st.lists(st.booleans(), min_size=1)
)
async def test_no_budget_is_ever_overrun_by_more_than_one_answer(
    turns: int, tokens: int, definitions: int, defines: list[bool]
) -> None:
    kinds = cycle(defines)
    answers = [
        calls(call(str(n), "define_tool" if next(kinds) else "ping")) for n in range(turns + 1)
    ]
    model = script(*answers)
    limits = BudgetSettings(turns=turns, tokens=tokens, tool_definitions=definitions)
    budget = Budget(limits)
    session = Session(model=model, toolset=toolset(), budget=budget)

    reply = await session.send("go")

    assert isinstance(reply.stopped, SessionStopped)
    assert reply.turns == len(model.requests) <= turns
    assert session.usage.total_tokens < tokens + 15
    assert budget.tool_definitions <= definitions
    results = results_of(session.messages)
    assert sum(r.name == "define_tool" and not r.is_error for r in results) <= definitions


def test_the_last_answer_cannot_overrun_the_tokens_by_much() -> None:
    budget = Budget(BudgetSettings(tokens=20_000))
    assert budget.output_ceiling is None

    budget.add_request(Usage(requests=1, input_tokens=15_000))
    assert budget.output_ceiling == 5_000

    budget.add_request(Usage(requests=1, input_tokens=6_000))
    assert budget.output_ceiling == 16

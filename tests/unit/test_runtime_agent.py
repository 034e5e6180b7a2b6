"""The loop: calls side by side, one result for each call id, whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from looping import DictCatalog, SimpleTool, call, calls, results_of, script

from policies.value import JsonObject
from runtime.budgets import Budget
from runtime.calls import CallRunner
from runtime.errors import ModelError
from runtime.events import CallFinished, CallStarted, RequestStarted, SessionEvent
from runtime.hosttools import tool
from runtime.messages import AssistantMessage, ToolMessage, ToolResult
from runtime.models.base import ModelEvent, ModelRequest, TextDelta
from runtime.models.scripted import RecordedAnswer
from runtime.sessions import Session
from runtime.settings import BudgetSettings
from runtime.tools import CallContext, Tool, ToolAnswer
from runtime.toolset import Toolset
from sandbox.errors import SandboxLostError, SandboxUnavailableError
from toolstore.errors import StoreDamagedError


@tool
async def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


class WaitingTool(SimpleTool):
    """Waits until it is cancelled or released, and knows which."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.started, self.release, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def call(self, arguments: JsonObject, context: CallContext) -> ToolAnswer:
        self.started.set()
        try:
            await self.release.wait()
        finally:
            self.ended.set()
        return ToolAnswer("released")


async def results_for(
    message: AssistantMessage | RecordedAnswer, tools: Iterable[Tool] = (add,)
) -> list[ToolResult]:
    session = Session(model=script(message, "done"), toolset=Toolset(host_tools=tuple(tools)))
    reply = await session.send("go")
    assert reply.text == "done"
    return results_of(session.messages)


async def test_an_answer_without_calls_is_the_reply() -> None:
    events: list[SessionEvent] = []
    model = script("Hello there.")
    session = Session(model=model, toolset=Toolset(), on_event=events.append)

    reply = await session.send("hi")

    assert (reply.text, reply.turns, reply.usage.requests) == ("Hello there.", 1, 1)
    assert reply.stopped is None
    assert reply.session_id == session.id
    assert [event.kind for event in events] == [
        "request_started", "text_streamed", "text_streamed", "request_finished",
    ]  # fmt: skip


async def test_a_call_is_answered_in_the_next_request() -> None:
    model = script(calls(call("1", "add", '{"a": 40}')), "42")
    session = Session(model=model, toolset=Toolset(host_tools=[add]))

    reply = await session.send("40 + 2?")

    assert (reply.text, reply.turns) == ("42", 2)
    sent = model.requests[1].messages
    assert [message.role for message in sent] == ["user", "assistant", "tool"]
    assert results_of(sent) == [ToolResult(call_id="1", name="add", content="42")]


async def test_all_calls_of_an_answer_run_at_the_same_time() -> None:
    # Each waits in its thread for all the others: one after the other, none would ever end.
    barrier = threading.Barrier(8)

    @tool(timeout_seconds=30)
    def meet(n: int) -> int:
        """Meet the others."""
        barrier.wait(20)
        return n

    message = calls(*(call(str(n), "meet", json.dumps({"n": n})) for n in range(8)))

    results = await results_for(message, [meet])

    assert [result.content for result in results] == [str(n) for n in range(8)]


async def test_results_stand_in_the_order_of_the_calls_not_of_their_ends() -> None:
    slow = WaitingTool("slow")

    def release(_: JsonObject) -> ToolAnswer:
        slow.release.set()
        return ToolAnswer("quick")

    quick = SimpleTool("quick", release)

    results = await results_for(calls(call("1", "slow"), call("2", "quick")), [slow, quick])

    assert [result.content for result in results] == ["released", "quick"]


@pytest.mark.parametrize(
    ("name", "arguments", "parts"),
    [
        ("ad", "{}", ["no tool named 'ad'", "Near names: add", "find_tools"]),
        (
            "add",
            '{"a": 1',
            ["not valid JSON", '{"a": 1', '"required":["a"]', "call again"],
        ),
        ("add", '{"a": NaN}', ["not valid JSON"]),
        ("add", '{"a": 1e999}', ["not valid JSON", "1e999 is too large"]),
        ("add", '{"a": "\\ud800"}', ["not valid JSON"]),
        ("add", "[" * 100_000, ["not valid JSON", "more"]),
        ("add", "[1]", ["an array, not a JSON object"]),
        ("add", "null", ["null, not a JSON object"]),
        ("add", "true", ["a boolean, not"]),
        ("add", "3.5", ["a number, not"]),
        ("add", '"x"', ["a string, not"]),
        ("add", '{"a": "one"}', ["a: expected integer, got", "one", '"type":"integer"']),
        ("add", "{}", ["'a' is missing", '"required":["a"]']),
        ("add", '{"a": 1, "c": 2}', ["unexpected 'c'"]),
    ],
)
async def test_what_the_model_did_wrong_comes_back_with_a_way_to_mend_it(
    name: str, arguments: str, parts: list[str]
) -> None:
    (result,) = await results_for(calls(call("1", name, arguments)))

    assert result.is_error
    for part in parts:
        assert part in result.content
    assert len(result.content) < 5_000


async def test_empty_arguments_are_an_empty_object() -> None:
    (result,) = await results_for(calls(call("1", "ping", "")), [SimpleTool("ping")])

    assert result == ToolResult(call_id="1", name="ping", content="ok")


async def test_nulls_of_the_strict_form_mean_left_out() -> None:
    (result,) = await results_for(calls(call("1", "add", '{"a": 1, "b": null}')))

    assert result.content == "3"


async def test_an_answer_cut_at_its_length_limit_is_told_so() -> None:
    message = calls(call("1", "add", '{"a": 1'))

    (result,) = await results_for(RecordedAnswer(message=message, stop_reason="length"))

    assert "cut at its length limit" in result.content


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (SandboxUnavailableError("no route", engine="unix:///x"), "safely be made again"),
        (StoreDamagedError("blob 7"), "safely be made again"),
        (SandboxLostError("gone", engine="unix:///x"), "only if repeating is harmless"),
        (ZeroDivisionError("ours"), "only if repeating is harmless"),
        (TimeoutError(), "only if repeating is harmless"),
    ],
)
async def test_what_we_did_wrong_is_said_to_be_our_fault(error: Exception, retry: str) -> None:
    def fail(_: JsonObject) -> ToolAnswer:
        raise error

    (result,) = await results_for(calls(call("1", "broken")), [SimpleTool("broken", fail)])

    assert result.is_error
    assert "not a fault of your call" in result.content
    assert type(error).__name__ in result.content
    assert retry in result.content


async def test_one_failing_call_does_not_stop_the_others() -> None:
    def fail(_: JsonObject) -> ToolAnswer:
        raise OSError("disk")

    message = calls(call("1", "broken"), call("2", "add", '{"a": 1}'), call("3", "none"))

    results = await results_for(message, [SimpleTool("broken", fail), add])

    assert [result.is_error for result in results] == [True, False, True]


async def test_a_tool_that_is_cancelled_from_within_has_a_result() -> None:
    def give_up(_: JsonObject) -> ToolAnswer:
        raise asyncio.CancelledError

    message = calls(call("1", "quitter"), call("2", "add", '{"a": 1}'))

    results = await results_for(message, [SimpleTool("quitter", give_up), add])

    assert [result.is_error for result in results] == [True, False]
    assert "interrupted" in results[0].content


async def test_long_results_lose_their_middle() -> None:
    text = "<" + "x" * 100_000 + ">"
    (result,) = await results_for(
        calls(call("1", "long")), [SimpleTool("long", lambda _: ToolAnswer(text))]
    )

    assert len(result.content) < 33_000
    assert (result.content[0], result.content[-1]) == ("<", ">")
    assert "68,002 of 100,002 characters left out" in result.content


async def test_calls_that_share_an_id_have_a_result_each() -> None:
    model = script(
        AssistantMessage(
            tool_calls=(
                call("1", "add", '{"a": 1}'),
                call("1", "add", '{"a": 2}'),
                call("1-2", "add", '{"a": 3}'),
                call("1", "add", '{"a": 1}'),
                call("", "add", '{"a": 4}'),
            ),
            native=({"type": "function_call", "call_id": "1"},),
            api="responses",
        ),
        "done",
    )
    session = Session(model=model, toolset=Toolset(host_tools=[add]))
    await session.send("go")

    answer, results = model.requests[1].messages[1:]
    assert isinstance(answer, AssistantMessage)
    assert isinstance(results, ToolMessage)
    assert [each.call_id for each in answer.tool_calls] == ["1", "1-3", "1-2", "call"]
    assert [each.call_id for each in results.results] == ["1", "1-3", "1-2", "call"]
    assert [each.content for each in results.results] == ["3", "4", "5", "6"]
    # The provider's own items carry the ids as given, so they are not echoed.
    assert answer.native == ()


async def test_a_tool_made_in_one_answer_is_in_the_next_request() -> None:
    catalog = DictCatalog(SimpleTool(f"filler_{n}") for n in range(40))

    def define(arguments: JsonObject) -> ToolAnswer:
        catalog.tools["double"] = SimpleTool("double", lambda _: ToolAnswer("8"))
        return ToolAnswer("admitted", made_tools=("double",))

    model = script(calls(call("1", "define_tool")), calls(call("2", "double")), "8")
    toolset = Toolset(builtins=[SimpleTool("define_tool", define)], catalog=catalog)
    session = Session(model=model, toolset=toolset)

    await session.send("four doubled")

    assert model.tool_names == [
        ["define_tool", "find_tools"],
        ["define_tool", "find_tools", "double"],
        ["define_tool", "find_tools", "double"],
    ]
    assert [result.content for result in results_of(session.messages)] == ["admitted", "8"]


async def test_a_tool_that_was_found_is_in_the_next_request() -> None:
    catalog = DictCatalog(SimpleTool(f"filler_{n}") for n in range(40))
    catalog.tools["roman"] = SimpleTool("roman", description="Roman numerals")
    model = script(calls(call("1", "find_tools", '{"query": "numerals"}')), "ok")

    await Session(model=model, toolset=Toolset(catalog=catalog)).send("What is XIV?")

    assert model.tool_names == [["find_tools"], ["find_tools", "roman"]]


async def test_a_tool_that_the_request_did_not_carry_is_run_all_the_same() -> None:
    catalog = DictCatalog(SimpleTool(f"filler_{n}") for n in range(40))
    model = script(calls(call("1", "filler_7")), "ok")
    session = Session(model=model, toolset=Toolset(catalog=catalog))

    await session.send("hello")

    assert results_of(session.messages)[0].content == "ok"
    assert model.tool_names == [["find_tools"], ["find_tools", "filler_7"]]


async def test_a_tool_knows_where_its_call_comes_from() -> None:
    ping = SimpleTool("ping")
    session = Session(
        model=script(calls(call("7", "ping")), "ok"), toolset=Toolset(host_tools=[ping])
    )
    await session.send("go")

    (context,) = ping.contexts
    assert (context.call_id, context.session_id, context.model) == ("7", session.id, "scripted")


async def test_cancelling_in_mid_call_leaves_a_session_that_goes_on() -> None:
    waiting, model = (
        WaitingTool("wait"),
        script(calls(call("1", "wait"), call("2", "add", '{"a": 1}')), "as you wish"),
    )
    events: list[SessionEvent] = []
    session = Session(
        model=model, toolset=Toolset(host_tools=[waiting, add]), on_event=events.append
    )
    sending = asyncio.create_task(session.send("go"))
    await waiting.started.wait()
    while not finished_ids(events):  # noqa: ASYNC110 - the listener is not async
        await asyncio.sleep(0)

    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending

    assert waiting.ended.is_set()
    first, second = results_of(session.messages)
    assert first.content.startswith("interrupted")
    assert (second.content, second.is_error) == ("3", False)
    assert events[-1].kind == "session_stopped"
    assert (await session.send("go on")).text == "as you wish"


def finished_ids(events: list[SessionEvent]) -> list[str]:
    return [event.result.call_id for event in events if isinstance(event, CallFinished)]


async def test_cancelling_before_the_answer_leaves_a_session_that_goes_on() -> None:
    model = script("first", "second")
    original, stuck, ended = model.stream, asyncio.Event(), asyncio.Event()

    async def hang(request: ModelRequest) -> AsyncIterator[ModelEvent]:
        stuck.set()
        try:
            await asyncio.Event().wait()
            yield TextDelta(text="never")
        finally:
            ended.set()

    model.stream = hang  # type: ignore[method-assign]
    session = Session(model=model, toolset=Toolset())
    sending = asyncio.create_task(session.send("one"))
    await stuck.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert ended.is_set()

    model.stream = original  # type: ignore[method-assign]
    assert (await session.send("two")).text == "first"


async def test_a_model_without_an_answer_is_an_error_and_the_session_goes_on() -> None:
    model = script("hello again")
    model.failures.append(ModelError("scripted", "503", advice="Try later."))
    session = Session(model=model, toolset=Toolset())

    with pytest.raises(ModelError, match="503"):
        await session.send("hello")

    assert (await session.send("hello?")).text == "hello again"


async def test_an_error_of_the_listener_is_raised_as_itself() -> None:
    def listen(event: SessionEvent) -> None:
        if isinstance(event, CallStarted):
            raise BrokenPipeError("nobody listens")

    session = Session(
        model=script(calls(call("1", "add", '{"a": 1}'), call("2", "add", '{"a": 1}')), "ok"),
        toolset=Toolset(host_tools=[add]),
        on_event=listen,
    )
    with pytest.raises(BrokenPipeError):
        await session.send("go")

    assert [result.call_id for result in results_of(session.messages)] == ["1", "2"]


async def test_the_runner_bounds_results_as_it_is_told() -> None:
    toolset = Toolset(host_tools=[SimpleTool("long", lambda _: ToolAnswer("0123456789" * 10))])
    runner = CallRunner(toolset, Budget(), max_result_characters=20)

    answer = await runner.run(call("1", "long"), CallContext("1"), cut_off=False)

    assert answer.content.startswith("012345678901234\n[cut here: 80 of 100")
    assert answer.content.endswith("]\n56789")


ids = st.sampled_from(["", "a", "b", "a-2", "call"])
call_names = st.sampled_from(["add", "broken", "quitter", "find_tools", "nothing"])
texts = st.one_of(
    st.sampled_from(["", "{}", '{"a": 1}', '{"a": null}', '{"query": "add"}', "[]", "{", "null"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
)
answers = st.lists(
    st.lists(st.builds(call, ids, call_names, texts), min_size=1, max_size=6), max_size=4
)


@settings(max_examples=60)
@given(answers)
async def test_every_call_id_has_exactly_one_result(scripted: list[list]) -> None:  # type: ignore[type-arg]
    def fail(_: JsonObject) -> ToolAnswer:
        raise OSError("ours")

    def give_up(_: JsonObject) -> ToolAnswer:
        raise asyncio.CancelledError

    events: list[SessionEvent] = []
    session = Session(
        model=script(*(calls(*each) for each in scripted), "done"),
        toolset=Toolset(
            host_tools=[add, SimpleTool("broken", fail), SimpleTool("quitter", give_up)]
        ),
        budget=Budget(BudgetSettings(turns=10)),
        on_event=events.append,
    )

    assert (await session.send("go")).text == "done"

    messages = session.messages[1:]
    assert len(messages) == 2 * len(scripted) + 1
    for answer, results, given_calls in zip(messages[::2], messages[1::2], scripted, strict=False):
        assert isinstance(answer, AssistantMessage)
        assert isinstance(results, ToolMessage)
        asked = [each.call_id for each in answer.tool_calls]
        assert [each.call_id for each in results.results] == asked
        assert len(set(asked)) == len(asked)
        assert {(c.name, c.arguments) for c in answer.tool_calls} == {
            (c.name, c.arguments) for c in given_calls
        }
    finished = [event.result for event in events if isinstance(event, CallFinished)]
    assert sorted(map(repr, finished)) == sorted(map(repr, results_of(session.messages)))
    assert sum(isinstance(event, RequestStarted) for event in events) == len(scripted) + 1

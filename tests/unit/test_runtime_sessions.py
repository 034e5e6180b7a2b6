"""Sessions: prompts in, replies out, interrupted and resumed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from looping import DictCatalog, SimpleTool, call, calls, results_of, script

from policies.value import JsonObject
from runtime.budgets import Budget
from runtime.errors import TranscriptError, UsageError
from runtime.events import CallProgress, SessionEvent, StageStarted
from runtime.history import SessionState, list_sessions
from runtime.messages import AssistantMessage, UserMessage
from runtime.sessions import Session
from runtime.settings import BudgetSettings
from runtime.tools import CallContext, ToolAnswer
from runtime.toolset import Toolset
from runtime.transcript import Transcript, read


class Gate(SimpleTool):
    """A tool that waits for ever, and says when it is waiting."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.waiting = asyncio.Event()

    async def call(self, arguments: JsonObject, context: CallContext) -> ToolAnswer:
        self.waiting.set()
        await asyncio.Event().wait()
        return ToolAnswer("never")


async def test_a_session_keeps_what_is_not_live_only(tmp_path: Path) -> None:
    class Reporting(SimpleTool):
        async def call(self, arguments: JsonObject, context: CallContext) -> ToolAnswer:
            context.on_progress(StageStarted(tool="x", stage="decision"))
            return ToolAnswer("ok")

    events: list[SessionEvent] = []
    transcript = Transcript.create(tmp_path, model="scripted")
    session = Session(
        model=script(calls(call("1", "report")), "All done."),
        toolset=Toolset(host_tools=[Reporting("report")]),
        transcript=transcript,
        on_event=events.append,
    )
    await session.send("go")
    await session.close()

    kinds = [event.kind for event in events]
    assert kinds == [
        "request_started", "request_finished", "call_started", "call_progress", "call_finished",
        "request_started", "text_streamed", "text_streamed", "request_finished",
    ]  # fmt: skip
    progress = next(event for event in events if isinstance(event, CallProgress))
    assert (progress.call_id, progress.event.kind) == ("1", "stage_started")
    kept = [entry.record.kind for entry in read(tmp_path, session.id)[1]]
    assert kept == ["prompt"] + [
        kind for kind in kinds if kind not in {"call_progress", "text_streamed"}
    ]


async def test_an_event_is_in_the_record_before_it_is_shown(tmp_path: Path) -> None:
    transcript = Transcript.create(tmp_path, model="scripted")

    def compare(event: SessionEvent) -> None:
        last = json.loads(transcript.path.read_text("utf-8").splitlines()[-1])
        assert event.kind in {last["event"]["kind"], "text_streamed"}

    session = Session(
        model=script(calls(call("1", "ping")), "done"),
        toolset=Toolset(host_tools=[SimpleTool("ping")]),
        transcript=transcript,
        on_event=compare,
    )
    await session.send("go")
    await session.close()


async def test_cancel_ends_the_turn_with_a_reply(tmp_path: Path) -> None:
    gate = Gate("gate")
    session = Session(
        model=script(calls(call("1", "gate")), "fine"),
        toolset=Toolset(host_tools=[gate]),
        transcript=Transcript.create(tmp_path, model="scripted"),
    )
    sending = asyncio.create_task(session.send("go"))
    await gate.waiting.wait()

    session.cancel()
    session.cancel()
    reply = await sending

    assert reply.stopped is not None
    assert reply.stopped.reason == "interrupted"
    assert sending.cancelling() == 0
    assert results_of(session.messages)[0].content.startswith("interrupted")
    assert (await session.send("go on")).text == "fine"
    await session.close()
    (summary,) = list_sessions(tmp_path)
    assert summary.state is SessionState.ANSWERED
    assert summary.turns == 2


async def test_cancel_while_nothing_runs_does_nothing() -> None:
    session = Session(model=script("one", "two"), toolset=Toolset())
    session.cancel()
    assert (await session.send("go")).stopped is None
    session.cancel()
    assert (await session.send("go")).text == "two"


async def test_a_time_out_around_send_is_a_time_out() -> None:
    gate = Gate("gate")
    session = Session(model=script(calls(call("1", "gate"))), toolset=Toolset(host_tools=[gate]))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await session.send("go")

    assert len(results_of(session.messages)) == 1


async def test_one_prompt_at_a_time() -> None:
    gate = Gate("gate")
    session = Session(model=script(calls(call("1", "gate"))), toolset=Toolset(host_tools=[gate]))
    sending = asyncio.create_task(session.send("go"))
    await gate.waiting.wait()

    with pytest.raises(UsageError, match="still answering"):
        await session.send("and this?")

    session.cancel()
    assert (await sending).stopped is not None


@pytest.mark.parametrize("prompt", ["", " \n"])
async def test_an_empty_prompt_is_refused(prompt: str) -> None:
    session = Session(model=script(), toolset=Toolset())

    with pytest.raises(UsageError, match="empty"):
        await session.send(prompt)
    assert session.messages == ()


async def test_a_prompt_of_broken_text_is_mended(tmp_path: Path) -> None:
    session = Session(
        model=script("ok"),
        toolset=Toolset(),
        transcript=Transcript.create(tmp_path, model="scripted"),
    )
    await session.send("caf\udce9")
    await session.close()

    assert session.messages[0] == UserMessage(text="caf?")


async def test_usage_is_of_the_prompt_in_the_reply_and_of_the_session_in_the_session() -> None:
    session = Session(
        model=script(calls(call("1", "ping")), "one", "two"),
        toolset=Toolset(host_tools=[SimpleTool("ping")]),
    )

    first, second = await session.send("go"), await session.send("go")

    assert (first.usage.requests, second.usage.requests) == (2, 1)
    assert (session.usage.requests, session.usage.total_tokens) == (3, 45)


async def test_the_text_of_a_stopped_reply_is_what_was_said_last() -> None:
    def saying(text: str, call_id: str) -> AssistantMessage:
        return AssistantMessage(text=text, tool_calls=(call(call_id, "ping"),))

    session = Session(
        model=script(saying("First I ping.", "1"), saying("", "2"), "unreached"),
        toolset=Toolset(host_tools=[SimpleTool("ping")]),
        budget=Budget(BudgetSettings(turns=2)),
    )

    assert (await session.send("go")).text == "First I ping."


async def test_a_session_is_resumed_as_it_was(tmp_path: Path) -> None:
    catalog = DictCatalog(SimpleTool(f"filler_{n}") for n in range(40))

    def define(_: JsonObject) -> ToolAnswer:
        catalog.tools["made"] = SimpleTool("made")
        return ToolAnswer("admitted", made_tools=("made",))

    def toolset() -> Toolset:
        return Toolset(builtins=[SimpleTool("define_tool", define)], catalog=catalog)

    native: JsonObject = {"type": "reasoning", "encrypted_content": "…"}
    first_answer = AssistantMessage(
        tool_calls=(call("1", "define_tool"), call("2", "find_tools", '{"query": "filler_3"}')),
        native=(native,),
        api="responses",
    )
    model = script(first_answer, "one", "two")
    async with Session(
        model=model,
        toolset=toolset(),
        transcript=Transcript.create(tmp_path, model="scripted"),
    ) as session:
        await session.send("first")
    before = session.messages

    async with Session.resume(tmp_path, session.id, model=model, toolset=toolset()) as again:
        assert again.id == session.id
        assert again.messages == before
        assert again.usage == session.usage
        reply = await again.send("second")

    assert reply.text == "two"
    assert model.requests[-1].messages == (*before, UserMessage(text="second"))
    # The tools that the session made and found are still at hand.
    assert model.tool_names[-1][:3] == ["define_tool", "find_tools", "made"]
    assert "filler_3" in model.tool_names[-1]


async def test_closing_stops_what_runs_and_keeps_its_end(tmp_path: Path) -> None:
    gate = Gate("gate")
    session = Session(
        model=script(calls(call("1", "gate"))),
        toolset=Toolset(host_tools=[gate]),
        transcript=Transcript.create(tmp_path, model="scripted"),
    )
    sending = asyncio.create_task(session.send("go"))
    await gate.waiting.wait()

    await session.close()

    assert (await sending).stopped is not None
    kinds = [entry.record.kind for entry in read(tmp_path, session.id)[1]]
    assert kinds[-2:] == ["call_finished", "session_stopped"]


async def test_a_closed_session_takes_no_prompt(tmp_path: Path) -> None:
    session = Session(
        model=script("one", "two"),
        toolset=Toolset(),
        transcript=Transcript.create(tmp_path, model="scripted"),
    )
    await session.send("go")
    await session.close()

    with pytest.raises(TranscriptError, match="was closed"):
        await session.send("go")


async def test_a_failed_write_leaves_the_session_without_the_prompt(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("a file in the way")
    session = Session(
        model=script("one"),
        toolset=Toolset(),
        transcript=Transcript.create(tmp_path / "sessions", model="scripted"),
    )

    with pytest.raises(TranscriptError):
        await session.send("go")
    assert session.messages == ()


def test_the_instructions_teach_the_loop() -> None:
    session = Session(model=script(), toolset=Toolset())
    text = session._agent.instructions

    for word in ("find_tools", "define_tool", "docstring", "example", "underscore", "data", "find"):
        assert word in text
    assert len(text) < 5_000

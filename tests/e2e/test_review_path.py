"""From a session's proposal over a reviewer's desk back into the session, in real containers."""

from __future__ import annotations

import json

import pytest
from looping import call, calls, results_of, script

from policies.decision import Channel
from runtime.messages import UserMessage
from runtime.models.scripted import RecordedAnswer
from runtime.review.item import ReviewItem, Vote
from runtime.wiring import Runtime
from toolstore.errors import ToolNotCallableError

CODE = '''import string

def grade(points: int, strict: bool = False) -> str:
    """Turn points into a letter.

    Args:
        points: From 0 to 100.
        strict: Whether to be strict.
    """
    limits = [90, 80, 70]
    for letter, limit in zip(string.ascii_uppercase, limits):
        if points >= limit:
            return letter
    if strict and points == 12345:
        return "never"
    return "F"
'''
DEFINITION = {
    "name": "grade",
    "description": "Turn points into a letter from A to F.",
    "code": CODE,
    "examples": [
        {"arguments": {"points": 95}, "returns": "A"},
        {"arguments": {"points": 85}, "returns": "B"},
    ],
    "permissions": {"imports": ["string"]},
}


def check_coverage(item: ReviewItem) -> None:
    """What the examples do not reach, and generated arguments either."""
    coverage = item.coverage
    assert coverage is not None, item.coverage_missing
    by_examples = {(gap.line, gap.words.plain) for gap in coverage.by_examples}
    assert by_examples == {
        (11, "the loop never came to its end"),
        (14, "lines 14 to 16 were never run"),
    }
    by_all = {(gap.line, gap.words.plain) for gap in coverage.by_all}
    assert by_all == {(14, "the condition was never true"), (15, "never run")}
    assert coverage.lines_missed == (15,)
    assert coverage.statements_run == coverage.statements - 1
    shown = {line.number: line.covered for line in item.source}
    assert (shown[13], shown[15], shown[4]) == (True, False, None)


async def test_a_session_goes_on_while_its_tool_waits_and_uses_it_when_approved(
    runtime: Runtime, neighbour: Runtime
) -> None:
    model = script(
        calls(call("1", "define_tool", json.dumps(DEFINITION))),
        "It waits for a person.",
        RecordedAnswer(
            message=calls(call("2", "grade", '{"points": 72}')), expects_tools=("grade",)
        ),
        "It is a C.",
    )
    session = runtime.session(model=model)

    assert (await session.send("make a tool that grades")).text == "It waits for a person."
    (line,) = await neighbour.desk.queue(reader="bob")
    assert line.ref.plain == "grade@1"
    before = await runtime.store.events()
    item = await neighbour.desk.item("grade", reader="bob")
    check_coverage(item)
    assert await runtime.store.events() == before
    await neighbour.desk.decide(
        item.shown,
        Vote.APPROVE,
        principal="bob",
        reason="fine by me",
        scope=Channel.SESSION,
    )

    assert (await session.send("which letter is 72?")).text == "It is a C."
    told = [m.text for m in session.messages if isinstance(m, UserMessage) and "news" in m.text]
    assert len(told) == 1
    assert 'grade@1 is approved by bob, saying: "fine by me". You can call it now.' in told[0]
    assert '"result":"C"' in results_of(session.messages)[-1].content
    with pytest.raises(ToolNotCallableError):
        await neighbour.call_tool("grade", {"points": 1})

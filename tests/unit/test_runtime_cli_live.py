"""What is shown while things happen, and how tools are shown to a reviewer."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from policies.evidence import Outcome, Trial, TrialKind
from policies.findings import Finding, Severity, Stage
from policies.permissions import Permissions
from policies.schema import ToolSchema
from runtime.cli.live import EventRenderer
from runtime.cli.render import brief, permissions_view, schema_view
from runtime.events import (
    CallFinished,
    CallProgress,
    CallStarted,
    RequestFinished,
    RequestRetried,
    RequestStarted,
    SessionEvent,
    SessionStopped,
    StageFinished,
    StageStarted,
    TextStreamed,
    TrialFinished,
)
from runtime.messages import ToolCall, ToolResult, Usage

NASTY = "\x1b]0;owned\x07\x1b[2J \u202e \u200b \x9b\r [red]markup[/red]"
ACTING = ("\x1b", "\x07", "\u202e", "\u200b", "\x9b", "\r")


def finding(**changes: object) -> Finding:
    fields: dict[str, object] = {
        "rule": "RP206",
        "severity": Severity.ERROR,
        "stage": Stage.LINT,
        "message": "import of 'socket' is not allowed",
        "suggestion": "take the data as a parameter",
        "line": 3,
        "column": 8,
        "end_line": 3,
        "end_column": 14,
        "source_line": "import socket",
    }
    return Finding.model_validate(fields | changes)


def trial(**changes: object) -> Trial:
    fields: dict[str, object] = {
        "kind": TrialKind.EXAMPLE,
        "arguments": {"a": 1},
        "expected": {"returns": 2},
        "outcome": Outcome.RETURNED,
        "value": 2,
        "passed": True,
        "detail": "as expected",
        "wall_seconds": 0.25,
    }
    return Trial.model_validate(fields | changes)


def shown(*events: SessionEvent, terminal: bool = False, show_text: bool = True) -> str:
    file = io.StringIO()
    console = Console(
        file=file, width=100, force_terminal=terminal, markup=False, highlight=False, emoji=False
    )
    with EventRenderer(console, show_text=show_text) as renderer:
        for event in events:
            renderer(event)
    return file.getvalue()


def session(text: str) -> list[SessionEvent]:
    """One of everything, with `text` wherever others write."""
    code = json.dumps({"name": text, "code": f"def f():\n    '''{text}'''\n"})
    define = ToolCall(call_id="1", name="define_tool", arguments=code)
    other = ToolCall(call_id="2", name=text, arguments=f"not JSON {text}")
    return [
        RequestStarted(turn=1, tools=()),
        TextStreamed(text=text),
        RequestRetried(attempt=1, delay_seconds=0.5, reason=text),
        RequestFinished(turn=1, text=text, tool_calls=(define, other), usage=Usage()),
        CallStarted(call=define),
        CallProgress(call_id="1", event=StageStarted(tool=text, stage=Stage.TRIALS, steps=2)),
        CallProgress(
            call_id="1",
            event=TrialFinished(
                tool=text,
                trial=trial(
                    arguments={text: text},
                    outcome=Outcome.RAISED,
                    value=None,
                    error=text,
                    passed=False,
                    detail=text,
                ),
            ),
        ),
        CallProgress(
            call_id="1",
            event=StageFinished(
                tool=text,
                stage=Stage.TRIALS,
                seconds=1,
                passed=False,
                findings=(finding(message=text, suggestion=text, source_line=text),),
            ),
        ),
        CallFinished(
            result=ToolResult(call_id="1", name="define_tool", content=text, is_error=True),
            seconds=1,
        ),
        CallStarted(call=other),
        CallFinished(result=ToolResult(call_id="2", name=text, content=text), seconds=1),
        SessionStopped(reason="turns", message=text),
    ]


def test_nothing_that_a_model_or_a_tool_writes_acts() -> None:
    out = shown(*session(NASTY))

    assert not [each for each in ACTING if each in out]
    assert "[red]markup[/red]" in out
    assert "\\x1b]0;owned" in out


def test_on_a_terminal_only_our_own_sequences_are_left() -> None:
    out = shown(*session(NASTY), terminal=True)

    assert "\x1b]0;" not in out
    assert "\x1b[2J" not in out
    assert "\u202e" not in out


@given(st.text(max_size=60))
def test_no_text_at_all_ends_or_upsets_the_renderer(text: str) -> None:
    out = shown(*session(text))

    assert not [each for each in out if not each.isprintable() and each != "\n"]


def test_an_answer_is_streamed_once() -> None:
    out = shown(
        RequestStarted(turn=1, tools=()),
        TextStreamed(text="The answer "),
        TextStreamed(text="is 42."),
        RequestFinished(turn=1, text="The answer is 42.", tool_calls=(), usage=Usage()),
    )

    assert out == "The answer is 42.\n"


def test_an_answer_that_was_not_streamed_is_shown_too() -> None:
    end = RequestFinished(turn=1, text="Done.", tool_calls=(), usage=Usage())

    assert shown(RequestStarted(turn=1, tools=()), end) == "Done.\n"
    assert shown(RequestStarted(turn=1, tools=()), end, show_text=False) == ""


def test_a_definition_shows_its_code_its_stages_and_its_trials() -> None:
    call = ToolCall(
        call_id="1",
        name="define_tool",
        arguments=json.dumps({"name": "twice", "code": "def twice(a):\n    return 2 * a\n"}),
    )
    out = shown(
        CallStarted(call=call),
        CallProgress(call_id="1", event=StageStarted(tool="twice", stage=Stage.LINT)),
        CallProgress(
            call_id="1",
            event=StageFinished(tool="twice", stage=Stage.LINT, seconds=0.5, passed=True),
        ),
        CallProgress(call_id="1", event=StageStarted(tool="twice", stage=Stage.TRIALS, steps=2)),
        CallProgress(call_id="1", event=TrialFinished(tool="twice", trial=trial())),
        CallProgress(
            call_id="1",
            event=TrialFinished(tool="twice", trial=trial(kind=TrialKind.PROPERTY, expected=None)),
        ),
        CallProgress(
            call_id="1",
            event=StageFinished(tool="twice", stage=Stage.TRIALS, seconds=2.0, passed=True),
        ),
    )

    assert "2     return 2 * a" in out
    assert "✓ lint  0.50 s" in out
    assert '✓ example {"a": 1} → 2  250 ms' in out
    assert "✓ trials, 2 runs  2.00 s" in out
    assert "property" not in out


def test_a_long_value_says_how_much_is_missing() -> None:
    assert brief("x" * 300).endswith("[… 102 more characters]")
    assert brief({"a": "\x1b"}) == '{"a": "\\u001b"}'


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, "anything"),
        ({"type": "integer"}, "integer"),
        ({"type": ["integer", "null"]}, "integer | null"),
        ({"type": "array", "items": {"type": "string"}}, "array of string"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "object of number"),
        ({"enum": ["a", 1]}, '"a" | 1'),
        ({"const": None}, "null"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string | null"),
    ],
)
def test_types_are_told_in_words(schema: dict[str, object], words: str) -> None:
    console = Console(file=io.StringIO(), width=100)
    view = schema_view(
        ToolSchema.model_validate({"function": "f", "parameters": {}, "returns": schema})
    )
    with console.capture() as capture:
        console.print(view)

    assert f"returns {words}" in capture.get()


def test_permissions_beyond_computation_are_listed() -> None:
    assert "nothing beyond" in str(permissions_view(Permissions()))
    assert "imports: os, sys" in str(permissions_view(Permissions(imports=("os", "sys"))))

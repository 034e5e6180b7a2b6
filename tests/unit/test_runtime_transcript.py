"""The record of a session: what survives, what is refused, and what it adds up to."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from pathlib import Path

import pytest
from killed_sessions import make_script, make_toolset
from looping import call, results_of

from runtime import transcript as transcripts
from runtime.errors import TranscriptError, UsageError
from runtime.events import CallFinished, CallStarted, RequestFinished, RequestStarted
from runtime.history import History, SessionState, list_sessions, show_session
from runtime.messages import AssistantMessage, Message, ToolMessage, ToolResult, Usage
from runtime.sessions import Session
from runtime.transcript import (
    Entry,
    PromptGiven,
    Record,
    Transcript,
    new_session_id,
    read,
    session_path,
)

SUPPORT = Path(__file__).parents[1] / "support"
NOW = datetime(2026, 11, 23, 6, 15, tzinfo=UTC)


def answer(*names: str, text: str = "") -> RequestFinished:
    tool_calls = tuple(call(str(n), name) for n, name in enumerate(names))
    return RequestFinished(turn=1, text=text, tool_calls=tool_calls, usage=Usage(input_tokens=3))


def finished(call_id: str, name: str, **more: tuple[str, ...]) -> CallFinished:
    result = ToolResult(call_id=call_id, name=name, content=f"result {call_id}")
    return CallFinished(result=result, seconds=0.5, **more)


def kept(folder: Path, *records: Record) -> Transcript:
    transcript = Transcript.create(folder, model="m")
    for record in records:
        transcript.append(record)
    return transcript


def test_a_transcript_is_private_lines_of_json_with_a_header(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "sessions"
    transcript = kept(folder, PromptGiven(text="hé\nllo"), answer("add"))

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(transcript.path.stat().st_mode) == 0o600
    header, *events = map(json.loads, transcript.path.read_text("utf-8").splitlines())
    assert (header["kind"], header["format"], header["model"]) == ("session", 1, "m")
    assert header["session_id"] == transcript.session_id == transcript.path.stem
    assert [event["event"]["kind"] for event in events] == ["prompt", "request_finished"]


def test_nothing_is_written_before_there_is_something_to_keep(tmp_path: Path) -> None:
    transcript = Transcript.create(tmp_path / "sessions", model="m")
    transcript.close()

    assert list(tmp_path.iterdir()) == []


def test_session_ids_sort_by_time_and_differ() -> None:
    earlier, later = new_session_id(NOW), new_session_id(NOW + timedelta(seconds=1))

    assert earlier < later
    assert earlier.startswith("20261123T061500-")
    assert len({new_session_id(NOW) for _ in range(50)}) > 45


@pytest.mark.parametrize("session_id", ["../../etc/passwd", "", "20261123T061500-ABCDEF", "x\n"])
def test_what_is_no_session_id_becomes_no_path(tmp_path: Path, session_id: str) -> None:
    with pytest.raises(UsageError, match="not a session's id"):
        session_path(tmp_path, session_id)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    records: list[Record] = [
        PromptGiven(text="go"),
        RequestStarted(turn=1, tools=("add",)),
        answer("add"),
        CallStarted(call=call("0", "add")),
        finished("0", "add", made_tools=("made",), found_tools=("found",)),
    ]
    transcript = kept(tmp_path, *records)

    header, entries = read(tmp_path, transcript.session_id)

    assert header == transcript.header
    assert [entry.record for entry in entries] == records


def test_half_a_surrogate_pair_is_kept_as_a_question_mark(tmp_path: Path) -> None:
    transcript = kept(
        tmp_path,
        RequestFinished.model_construct(
            turn=1,
            text="\ud800x",
            tool_calls=(call("\udc00", "add"),),
            usage=Usage(),
            native=(),
            api="",
        ),
    )

    (entry,) = read(tmp_path, transcript.session_id)[1]

    assert isinstance(entry.record, RequestFinished)
    assert (entry.record.text, entry.record.tool_calls[0].call_id) == ("?x", "?")


def test_a_session_is_open_once_at_a_time(tmp_path: Path) -> None:
    transcript = kept(tmp_path, PromptGiven(text="go"))

    with pytest.raises(UsageError, match="open in another process"):
        Transcript.resume(tmp_path, transcript.session_id)
    transcript.close()
    again, _ = Transcript.resume(tmp_path, transcript.session_id)
    with pytest.raises(UsageError, match="open in another process"):
        Transcript.resume(tmp_path, transcript.session_id)
    again.close()


def test_another_process_cannot_resume_it_either(tmp_path: Path) -> None:
    transcript = kept(tmp_path, PromptGiven(text="go"))
    code = (
        "import sys; from pathlib import Path; from runtime.transcript import Transcript\n"
        "Transcript.resume(Path(sys.argv[1]), sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(tmp_path), transcript.session_id]

    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    transcript.close()
    accepted = subprocess.run(command, capture_output=True, text=True, check=False)

    assert "open in another process" in refused.stderr
    assert accepted.returncode == 0, accepted.stderr


def test_a_forgotten_transcript_gives_its_session_back(tmp_path: Path) -> None:
    session_id = kept(tmp_path, PromptGiven(text="go")).session_id

    Transcript.resume(tmp_path, session_id)[0].close()


def test_a_torn_last_line_is_passed_over_and_removed_on_resuming(tmp_path: Path) -> None:
    transcript = kept(tmp_path, PromptGiven(text="go"), answer("add"))
    transcript.close()
    whole = transcript.path.read_bytes()
    transcript.path.write_bytes(whole[:-10])

    assert len(read(tmp_path, transcript.session_id)[1]) == 1
    again, entries = Transcript.resume(tmp_path, transcript.session_id)
    again.append(PromptGiven(text="and on"))

    assert len(entries) == 1
    records = [entry.record for entry in read(tmp_path, transcript.session_id)[1]]
    assert records == [PromptGiven(text="go"), PromptGiven(text="and on")]


def test_a_changed_line_is_refused_and_named(tmp_path: Path) -> None:
    transcript = kept(tmp_path, PromptGiven(text="go"), answer("add"))
    transcript.close()
    data = transcript.path.read_bytes()
    transcript.path.write_bytes(data.replace(b'"kind":"prompt"', b'"kind":"pr0mpt"'))

    with pytest.raises(TranscriptError, match="line 2"):
        Transcript.resume(tmp_path, transcript.session_id)
    assert [summary.state for summary in list_sessions(tmp_path)] == [SessionState.DAMAGED]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\n", b"[]\n"])
def test_a_file_without_a_header_is_no_session(tmp_path: Path, content: bytes) -> None:
    session_id = new_session_id(NOW)
    session_path(tmp_path, session_id).write_bytes(content)

    with pytest.raises(TranscriptError):
        read(tmp_path, session_id)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    transcript = kept(tmp_path, PromptGiven(text="go"))
    data = transcript.path.read_bytes()
    transcript.path.write_bytes(data.replace(b'"format":1', b'"format":2'))

    with pytest.raises(TranscriptError, match="format 2"):
        read(tmp_path, transcript.session_id)


def test_a_missing_session_is_named(tmp_path: Path) -> None:
    for take in (read, Transcript.resume):
        with pytest.raises(TranscriptError, match="there is no session 20261123T061500-abcdef"):
            take(tmp_path, "20261123T061500-abcdef")


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("a file in the way")
    transcript = Transcript.create(tmp_path / "sessions", model="m")

    with pytest.raises(TranscriptError, match="cannot be written"):
        transcript.append(PromptGiven(text="go"))


def entries(*records: Record, step_seconds: float = 1.0) -> list[Entry]:
    return [
        Entry(at=NOW + n * timedelta(seconds=step_seconds), record=record)
        for n, record in enumerate(records)
    ]


def test_a_history_counts_what_was_spent() -> None:
    history = History(
        entries(
            PromptGiven(text="one"),
            answer("define_tool", "find_tools"),
            CallStarted(call=call("0", "define_tool")),
            CallStarted(call=call("1", "find_tools")),
            finished("0", "define_tool", made_tools=("made",)),
            finished("1", "find_tools", found_tools=("best", "next")),
            answer(text="done"),
            PromptGiven(text="two"),
            answer(text="done"),
        )
    )

    assert (history.turns, history.tool_calls, history.tool_definitions) == (3, 2, 1)
    assert history.usage.input_tokens == 9
    assert history.prompts == ["one", "two"]
    assert list(history.used) == ["define_tool", "made", "find_tools"]
    assert list(history.found) == ["next", "best"]
    assert history.answered
    # Eight steps, less the one in which the person thought about the second prompt.
    assert history.wall_seconds == 7.0


def test_calls_without_a_result_get_one_that_says_why() -> None:
    history = History(
        entries(
            PromptGiven(text="go"),
            answer("a", "b", "c"),
            CallStarted(call=call("0", "a")),
            CallStarted(call=call("1", "b")),
            finished("1", "b"),
        )
    )

    a, b, c = results_of(history.messages)
    assert (a.call_id, a.is_error) == ("0", True)
    assert a.content.startswith(
        "interrupted: the process ended before this call finished; it was not run again"
    )
    assert (b.content, b.is_error) == ("result 1", False)
    assert "before this call began; it was not run" in c.content
    assert not history.answered


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("killed")
    command = [sys.executable, str(SUPPORT / "killed_sessions.py"), str(root)]
    environment = os.environ | {"PYTHONPATH": f"{SUPPORT}{os.pathsep}{SUPPORT.parents[1]}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return root


async def test_a_killed_session_resumes_wherever_it_was_killed(killed: Path) -> None:
    folders = sorted(killed.iterdir())  # noqa: ASYNC240 - a test has nothing else to do
    assert len(folders) > 40
    resumed = 0
    for folder in folders:
        effects = folder / "effects"
        ran = effects.read_text().split() if effects.exists() else []
        for path in folder.glob("*.jsonl"):
            try:
                session = Session.resume(
                    folder, path.stem, model=make_script(), toolset=make_toolset(folder)
                )
            except TranscriptError:
                assert folder.name[:2] == "01"  # killed before the header was whole
                continue
            check_messages(session, ran)
            reply = await session.send("go on")
            assert reply.stopped is None
            await session.close()
            resumed += 1
            if len(session.messages) > 2:
                check_messages(session, effects.read_text().split())
    assert resumed > 35


def check_messages(session: Session, ran: list[str]) -> None:
    """What is said to have run ran, and nothing ran twice."""
    assert len(ran) == len(set(ran))
    check_results(session.messages)
    for result in results_of(session.messages):
        if result.is_error:
            assert result.content.startswith("interrupted: the process ended")
        else:
            assert result.content.removeprefix("noted ") in ran


def check_results(messages: Sequence[Message]) -> None:
    """Every call has exactly one result, in order, also those of the last answer."""
    for message, following in zip_longest(messages, messages[1:]):
        if isinstance(message, AssistantMessage) and message.tool_calls:
            assert isinstance(following, ToolMessage)
            asked = [each.call_id for each in message.tool_calls]
            assert [result.call_id for result in following.results] == asked


def test_every_prefix_of_a_transcript_is_a_session(killed: Path, tmp_path: Path) -> None:
    """As the kills above, but at any byte."""
    (path,) = max(killed.iterdir()).glob("*.jsonl")
    data = path.read_bytes()
    copy = tmp_path / path.name
    for length in range(data.index(b"\n") + 1, len(data), 7):
        copy.write_bytes(data[:length])
        check_results(History(read(tmp_path, path.stem)[1]).messages)


def test_sessions_are_listed_the_latest_first_with_their_state(tmp_path: Path) -> None:
    done = kept(tmp_path, PromptGiven(text="one\nmore"), answer(text="done"))
    done.close()
    hanging = kept(tmp_path, PromptGiven(text="two"), answer("add"))
    hanging.close()
    opened = kept(tmp_path, PromptGiven(text="three"))

    summaries = list_sessions(tmp_path)

    assert [s.session_id for s in summaries] == sorted(
        (t.session_id for t in (done, hanging, opened)), reverse=True
    )
    by_id = {summary.session_id: summary for summary in summaries}
    assert by_id[done.session_id].state is SessionState.ANSWERED
    assert by_id[done.session_id].first_prompt == "one\nmore"
    assert by_id[hanging.session_id].state is SessionState.INTERRUPTED
    assert by_id[opened.session_id].state is SessionState.OPEN
    assert list_sessions(tmp_path / "nowhere") == ()


def test_a_session_is_shown_whole(tmp_path: Path) -> None:
    transcript = kept(tmp_path, PromptGiven(text="one"), answer(text="done"))
    transcript.close()

    detail = show_session(tmp_path, transcript.session_id)

    assert detail.summary.model == "m"
    assert [entry.record.kind for entry in detail.entries] == ["prompt", "request_finished"]
    assert transcripts.is_open(transcript.path) is False

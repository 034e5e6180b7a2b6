"""What a transcript's records add up to: the messages, and what was spent."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from policies.value import Value
from runtime.errors import RuntimeFailure
from runtime.events import (
    CallFinished,
    CallStarted,
    RequestFinished,
    ReviewNoted,
    SessionStopped,
    StopReason,
)
from runtime.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    ToolResult,
    Usage,
    UserMessage,
)
from runtime.tools import DEFINE_TOOL
from runtime.transcript import SUFFIX, Entry, Header, PromptGiven, is_open, read
from sandbox.artefacts import ArtefactInfo


class SessionState(StrEnum):
    """How a session stands."""

    OPEN = "open"
    """A process has it open now."""

    ANSWERED = "answered"
    """The last prompt has its answer (or there was none)."""

    STOPPED = "stopped"
    """A budget or the person ended the last turn."""

    INTERRUPTED = "interrupted"
    """The process ended, or the model failed, before the last prompt was answered."""

    DAMAGED = "damaged"
    """The record cannot be read."""


class SessionSummary(Value):
    """One line of a list of sessions."""

    session_id: str
    created: datetime | None = None
    model: str | None = None
    parent: str | None = None
    prompts: int = 0
    first_prompt: str = ""
    turns: int = 0
    tool_calls: int = 0
    usage: Usage = Usage()
    state: SessionState
    stopped: StopReason | None = None
    problem: str | None = None
    """Why the record cannot be read."""


class SessionDetail(Value):
    """A whole session, for a person to read."""

    summary: SessionSummary
    entries: tuple[Entry, ...]


class History:
    """The state of a session, built record by record."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.messages: list[Message] = []
        self.usage = Usage()
        self.turns = 0
        self.tool_calls = 0
        self.tool_definitions = 0
        self.prompts: list[str] = []
        self.used: dict[str, None] = {}
        self.found: dict[str, None] = {}
        """Names, as ordered sets: the latest used, and the best found, stand last."""

        self.made_files: dict[str, ArtefactInfo] = {}
        """Files that calls left, by name: of two with one name the later, the latest last."""

        self.waiting: dict[str, str] = {}
        """Versions of this session that came to wait for a person: digest to name."""

        self.admitted: dict[str, str] = {}
        """Versions of this session that the policy let in by itself: digest to name."""

        self.heard = 0
        """Up to which event of the store's log the session was told of them."""

        self.answered = True
        self.stopped: StopReason | None = None
        self._open_calls: tuple[ToolCall, ...] = ()
        self._started: set[str] = set()
        self._results: dict[str, ToolResult] = {}
        self._busy = timedelta()
        self._last_at: datetime | None = None
        for entry in entries:
            self._take(entry)
        self._settle()

    @property
    def wall_seconds(self) -> float:
        """Time spent on answering, thinking time of the person left out."""
        return self._busy.total_seconds()

    def _take(self, entry: Entry) -> None:
        record = entry.record
        if self._last_at is not None and not isinstance(record, PromptGiven):
            self._busy += max(timedelta(), entry.at - self._last_at)
        self._last_at = entry.at
        match record:
            case PromptGiven():
                self._settle()
                self.messages.append(UserMessage(text=record.text))
                self.prompts.append(record.text)
                self.answered, self.stopped = False, None
            case RequestFinished():
                self._settle()
                self._take_answer(record)
            case CallStarted():
                self._started.add(record.call.call_id)
                self.tool_definitions += record.call.name == DEFINE_TOOL
            case CallFinished():
                self._take_result(record)
            case ReviewNoted():
                self._take_note(record)
            case SessionStopped():
                self.answered, self.stopped = True, record.reason
            case _:
                pass

    def _take_answer(self, record: RequestFinished) -> None:
        self.messages.append(
            AssistantMessage(
                text=record.text,
                tool_calls=record.tool_calls,
                native=record.native,
                api=record.api,
            )
        )
        self.usage = self.usage + record.usage
        self.turns += 1
        self.tool_calls += len(record.tool_calls)
        self.answered = not record.tool_calls
        self._open_calls = record.tool_calls

    def _take_result(self, record: CallFinished) -> None:
        self._results.setdefault(record.result.call_id, record.result)
        for name in (record.result.name, *record.made_tools):
            self.used.pop(name, None)
            self.used[name] = None
        for name in reversed(record.found_tools):
            self.found.pop(name, None)
            self.found[name] = None
        for file in record.made_files:
            self.made_files.pop(file.name, None)
            self.made_files[file.name] = file

        for kept, refs in (
            (self.waiting, record.waiting_tools),
            (self.admitted, record.admitted_tools),
        ):
            for ref in refs:
                name, _, digest = ref.partition("@")
                kept[digest] = name

    def _take_note(self, record: ReviewNoted) -> None:
        self._settle()
        self.messages.append(UserMessage(text=record.text))
        self.heard = record.event
        for digest in record.settled:
            self.waiting.pop(digest, None)
            self.admitted.pop(digest, None)
        for name in record.made_tools:
            self.used.pop(name, None)
            self.used[name] = None

    def _settle(self) -> None:
        """Close the last answer: every call of it gets its one result."""
        if self._open_calls:
            results = tuple(
                self._results.get(call.call_id) or self._lost(call) for call in self._open_calls
            )
            self.messages.append(ToolMessage(results=results))
        self._open_calls = ()
        self._started.clear()
        self._results.clear()

    def _lost(self, call: ToolCall) -> ToolResult:
        if call.call_id in self._started:
            reason = (
                "interrupted: the process ended before this call finished; it was not run again. "
                "Whether it had effects is unknown."
            )
        else:
            reason = "interrupted: the process ended before this call began; it was not run"
        return ToolResult(call_id=call.call_id, name=call.name, content=reason, is_error=True)


def list_sessions(folder: Path) -> tuple[SessionSummary, ...]:
    """All sessions of a folder, the latest first; damaged ones are listed as such."""
    paths = sorted(folder.glob(f"*{SUFFIX}"), reverse=True) if folder.is_dir() else []
    return tuple(_summary_at(path) for path in paths)


def show_session(folder: Path, session_id: str) -> SessionDetail:
    """A session with all its records.

    Raises:
        UsageError: That is not a session's id.
        TranscriptError: There is no such session, or its record is damaged.
    """
    header, entries = read(folder, session_id)
    opened = is_open(folder / f"{session_id}{SUFFIX}")
    return SessionDetail(summary=_summary(header, History(entries), opened=opened), entries=entries)


def _summary_at(path: Path) -> SessionSummary:
    session_id = path.name.removesuffix(SUFFIX)
    try:
        header, entries = read(path.parent, session_id)
    except RuntimeFailure as error:
        return SessionSummary(session_id=session_id, state=SessionState.DAMAGED, problem=str(error))
    return _summary(header, History(entries), opened=is_open(path))


def _summary(header: Header, history: History, *, opened: bool) -> SessionSummary:
    if opened:
        state = SessionState.OPEN
    elif history.stopped is not None:
        state = SessionState.STOPPED
    else:
        state = SessionState.ANSWERED if history.answered else SessionState.INTERRUPTED
    return SessionSummary(
        session_id=header.session_id,
        created=header.created,
        model=header.model,
        parent=header.parent,
        prompts=len(history.prompts),
        first_prompt=history.prompts[0] if history.prompts else "",
        turns=history.turns,
        tool_calls=history.tool_calls,
        usage=history.usage,
        state=state,
        stopped=history.stopped,
    )

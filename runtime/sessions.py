"""A session: prompts in, replies out, with a record that another process can take up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from policies.config import FileSettings
from policies.value import Value
from runtime.agent import Agent
from runtime.artefacts import ArtefactStore
from runtime.budgets import Budget
from runtime.calls import CallRunner
from runtime.errors import ArtefactError, UsageError
from runtime.events import (
    CallProgress,
    SessionEvent,
    SessionListener,
    SessionStopped,
    TextStreamed,
)
from runtime.history import History
from runtime.instructions import DEFAULT_INSTRUCTIONS
from runtime.messages import AssistantMessage, Message, Usage, UserMessage
from runtime.models.base import ChatModel
from runtime.review.inbox import Inbox, NoInbox
from runtime.sessionfiles import SessionFiles
from runtime.tools import ignore_progress
from runtime.toolset import Toolset
from runtime.transcript import PromptGiven, Transcript, new_session_id
from sandbox.artefacts import Artefact, ArtefactInfo
from sandbox.files import FilesRefusedError

_NO_FILES: Final = FileSettings()


class Reply(Value):
    """What came of one prompt."""

    text: str
    """The model's last words; "" if it was stopped before it said any."""

    turns: int
    """Requests to the model for this prompt."""

    usage: Usage
    """Of this prompt alone."""

    stopped: SessionStopped | None = None
    """Why it ended before an answer, if it did."""

    session_id: str


class Session:
    """A conversation with one model, one prompt at a time."""

    def __init__(  # noqa: PLR0913 - each part can be chosen by itself
        self,
        *,
        model: ChatModel,
        toolset: Toolset,
        transcript: Transcript | None = None,
        budget: Budget | None = None,
        instructions: str = DEFAULT_INSTRUCTIONS,
        files: FileSettings = _NO_FILES,
        inbox: Inbox | None = None,
        on_event: SessionListener = ignore_progress,
    ) -> None:
        """Start a conversation; with `transcript` it is kept, record by record."""
        self._transcript = transcript
        self._on_event = on_event
        self._budget = budget or Budget()
        self._toolset = toolset
        self._running: asyncio.Task[object] | None = None
        self._cancel_asked = False
        self._idle = asyncio.Event()
        self._idle.set()
        session_id = transcript.session_id if transcript else new_session_id(datetime.now(UTC))
        self._agent = Agent(
            session_id=session_id,
            model=model,
            instructions=instructions,
            toolset=toolset,
            budget=self._budget,
            calls=CallRunner(toolset, self._budget),
            emit=self._emit,
            files=SessionFiles(files),
            inbox=inbox or NoInbox(),
        )

    def attach(self, files: Mapping[str, bytes]) -> None:
        """Give files, by name, to the tools of this session that read files.

        The model is told with the next prompt. They are not kept with the session: attach them
        again when it is resumed.

        Raises:
            UsageError: The policy grants no tool to read files, or not these.
        """
        try:
            self._agent.files.attach(files)
        except FilesRefusedError as error:
            raise UsageError(f"nothing was attached: {error}") from None

    def _take_up_files(self, made: Iterable[ArtefactInfo], store: ArtefactStore) -> None:
        """Give what earlier calls left to the tools again, as far as it is still kept."""
        for file in made:
            with contextlib.suppress(ArtefactError):
                self._agent.files.add([Artefact.of(file.name, store.read(file.digest))])

    @classmethod
    def resume(  # noqa: PLR0913 - as `__init__`
        cls,
        folder: Path,
        session_id: str,
        *,
        model: ChatModel,
        toolset: Toolset,
        budget: Budget | None = None,
        instructions: str = DEFAULT_INSTRUCTIONS,
        files: FileSettings = _NO_FILES,
        artefacts: ArtefactStore | None = None,
        inbox: Callable[[History], Inbox] | None = None,
        on_event: SessionListener = ignore_progress,
    ) -> Self:
        """Go on with a session of `folder`. No call of it is run again.

        What its calls left behind is taken from `artefacts`, as far as it is still kept there.
        `inbox` makes the news of its versions, after what the session was told already.

        Raises:
            UsageError: That is not a session's id, or another process has the session open.
            TranscriptError: There is no such session, or its record is damaged.
        """
        transcript, entries = Transcript.resume(folder, session_id)
        session = cls(
            model=model,
            toolset=toolset,
            transcript=transcript,
            budget=budget,
            instructions=instructions,
            files=files,
            on_event=on_event,
        )
        history = History(entries)
        session._agent.messages.extend(history.messages)
        session._budget.restore(
            usage=history.usage,
            tool_definitions=history.tool_definitions,
            wall_seconds=history.wall_seconds,
        )
        toolset.note_used(*history.used)
        toolset.note_found(*reversed(history.found))
        if inbox is not None:
            session._agent.inbox = inbox(history)
        if artefacts is not None:
            session._take_up_files(history.made_files.values(), artefacts)
        return session

    @property
    def id(self) -> str:
        """The session's id, by which it can be resumed."""
        return self._agent.session_id

    @property
    def messages(self) -> Sequence[Message]:
        """The conversation so far, resumed parts included."""
        return tuple(self._agent.messages)

    @property
    def usage(self) -> Usage:
        """Tokens of the whole session, resumed parts included."""
        return self._budget.usage

    @property
    def budget(self) -> Budget:
        """What the session may spend and has spent."""
        return self._budget

    async def send(self, prompt: str) -> Reply:
        """Answer `prompt`, calling tools as the model asks.

        Cancelling the task, or `cancel`, ends all running calls; each gets a result that says
        so, and the session takes the next prompt.

        Raises:
            UsageError: The prompt is empty, or another one is still being answered.
            ModelError: The model gave no answer; the session takes the next prompt.
            TranscriptError: The record cannot be written.
        """
        prompt = prompt.encode(errors="replace").decode()
        if not prompt.strip():
            raise UsageError("the prompt is empty; say what you want")
        if self._running is not None:
            raise UsageError("the session is still answering a prompt; await it, or cancel it")
        self._running, self._cancel_asked = asyncio.current_task(), False
        self._idle.clear()
        usage, start = self._budget.usage, len(self._agent.messages) + 1
        self._budget.start_prompt()
        try:
            stopped = await self._answer(prompt)
        finally:
            self._running = None
            self._budget.end_prompt()
            self._idle.set()
        return Reply(
            text=_last_text(self._agent.messages[start:]),
            turns=self._budget.turns,
            usage=_difference(self._budget.usage, usage),
            stopped=stopped,
            session_id=self.id,
        )

    def cancel(self) -> None:
        """Stop the prompt that is being answered; its `send` returns an interrupted reply."""
        if self._running is not None and not self._cancel_asked:
            self._cancel_asked = True
            self._running.cancel()

    async def close(self) -> None:
        """Stop what runs, and let other processes resume the session."""
        self.cancel()
        await self._idle.wait()
        if self._transcript is not None:
            self._transcript.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _answer(self, prompt: str) -> SessionStopped | None:
        if announcement := self._agent.files.announcement():
            prompt = f"{prompt}\n\n{announcement}"
        if self._transcript is not None:
            self._transcript.append(PromptGiven(text=prompt))
        self._agent.messages.append(UserMessage(text=prompt))
        try:
            stopped = await self._agent.answer(prompt)
        except asyncio.CancelledError:
            stopped = SessionStopped(
                reason="interrupted", message="the person stopped the session's turn"
            )
            self._emit(stopped)
            task = self._running
            if not self._cancel_asked or task is None or task.uncancel() > 0:
                raise
            return stopped
        if stopped is not None:
            self._emit(stopped)
        return stopped

    def _emit(self, event: SessionEvent) -> None:
        """Keep the event, then show it: what was shown is never missing from the record."""
        if self._transcript is not None and not isinstance(event, TextStreamed | CallProgress):
            self._transcript.append(event)
        self._on_event(event)


def _last_text(messages: Sequence[Message]) -> str:
    answers = [m.text for m in messages if isinstance(m, AssistantMessage) and m.text]
    return answers[-1] if answers else ""


def _difference(after: Usage, before: Usage) -> Usage:
    return Usage(
        **{name: getattr(after, name) - getattr(before, name) for name in Usage.model_fields}
    )

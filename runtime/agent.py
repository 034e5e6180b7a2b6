"""The loop: ask the model, run the calls of its answer side by side, ask again."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial

from policies.config import FileSettings
from runtime.budgets import Budget
from runtime.calls import CallRunner, interrupted, with_distinct_ids
from runtime.errors import ModelError
from runtime.events import (
    AdmissionEvent,
    CallFinished,
    CallProgress,
    CallStarted,
    RequestFinished,
    RequestRetried,
    RequestStarted,
    SessionListener,
    SessionStopped,
    TextStreamed,
)
from runtime.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    ToolResult,
    ToolSpec,
    UserMessage,
)
from runtime.models.base import ChatModel, Completed, ModelRequest, Retrying, TextDelta
from runtime.review.inbox import Inbox, NoInbox
from runtime.sessionfiles import SessionFiles
from runtime.tools import CallContext
from runtime.toolset import Toolset


@dataclass(slots=True)
class Agent:
    """Answers prompts of one session; `messages` is the whole conversation so far."""

    session_id: str
    model: ChatModel
    instructions: str
    toolset: Toolset
    budget: Budget
    calls: CallRunner
    emit: SessionListener
    messages: list[Message] = field(default_factory=list)
    files: SessionFiles = field(default_factory=lambda: SessionFiles(FileSettings()))
    """What tools that read files are given: attached, or made by earlier calls."""

    inbox: Inbox = field(default_factory=NoInbox)
    """What becomes of its tools in review."""

    async def answer(self, prompt: str) -> SessionStopped | None:
        """Go on until an answer without calls (None) or until a budget ends it."""
        limit = asyncio.timeout(self.budget.remaining_seconds)
        try:
            async with limit:
                while (stopped := self.budget.exceeded()) is None:
                    answer, cut_off = await self._ask(prompt)
                    if not answer.tool_calls:
                        return None
                    await self._run_calls(answer.tool_calls, cut_off=cut_off)
                return stopped
        except TimeoutError:
            if limit.expired():
                return self.budget.out_of_time()
            raise

    async def _ask(self, prompt: str) -> tuple[AssistantMessage, bool]:
        """One request; its answer, added to the messages, and whether it was cut off."""
        await self.toolset.refresh()
        await self._read_inbox()
        specs = tuple(tool.spec for tool in await self.toolset.for_request(prompt))
        turn = self.budget.turns + 1
        self.emit(RequestStarted(turn=turn, tools=tuple(spec.name for spec in specs)))
        answer = await self._stream(specs)
        message = with_distinct_ids(answer.message)
        self.budget.add_request(answer.usage)
        self.messages.append(message)
        self.emit(
            RequestFinished.model_construct(
                turn=turn,
                text=message.text,
                tool_calls=message.tool_calls,
                usage=answer.usage,
                native=message.native,
                api=message.api,
            )
        )
        return message, answer.stop_reason == "length"

    async def _read_inbox(self) -> None:
        """Tell the model what became of its tools, and have those that are approved at hand."""
        note = await self.inbox.news()
        if note is not None:
            self.messages.append(UserMessage(text=note.text))
            self.toolset.note_used(*note.made_tools)
            self.emit(note)

    async def _stream(self, specs: tuple[ToolSpec, ...]) -> Completed:
        # Our own values, so not validated again: the history may be long.
        request = ModelRequest.model_construct(
            instructions=self.instructions,
            messages=tuple(self.messages),
            tools=specs,
            max_output_tokens=self.budget.output_ceiling,
        )
        answer = None
        async for event in self.model.stream(request):
            match event:
                case TextDelta():
                    self.emit(TextStreamed.model_construct(text=event.text))
                case Retrying():
                    self.emit(RequestRetried(**event.model_dump(exclude={"kind"})))
                case Completed():
                    answer = event
                case _:
                    pass
        if answer is None:
            raise ModelError(self.model.name, "the answer had no end", advice="Ask again.")
        return answer

    async def _run_calls(self, calls: tuple[ToolCall, ...], *, cut_off: bool) -> None:
        """Run all at once; whatever happens, each gets exactly one result, in their order."""
        results: dict[str, ToolResult] = {}
        try:
            async with asyncio.TaskGroup() as group:
                for call in calls:
                    group.create_task(self._run_call(call, results, cut_off=cut_off))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            missing = [call for call in calls if call.call_id not in results]
            results.update((call.call_id, interrupted(call)) for call in missing)
            ordered = tuple(results[call.call_id] for call in calls)
            self.messages.append(ToolMessage.model_construct(results=ordered))
            for call in missing:
                self.emit(CallFinished(result=results[call.call_id], seconds=0.0))

    async def _run_call(
        self, call: ToolCall, results: dict[str, ToolResult], *, cut_off: bool
    ) -> None:
        started = time.perf_counter()
        self.emit(CallStarted.model_construct(call=call))
        context = CallContext(
            call_id=call.call_id,
            session_id=self.session_id,
            model=self.model.name,
            on_progress=partial(self._show_progress, call.call_id),
            files=self.files.current(),
        )
        answer = await self.calls.run(call, context, cut_off=cut_off)
        self.files.add(answer.made_files)
        self.inbox.expect(answer.waiting_tools, admitted=answer.admitted_tools)
        results[call.call_id] = result = ToolResult.model_construct(
            call_id=call.call_id, name=call.name, content=answer.content, is_error=answer.is_error
        )
        self.emit(
            CallFinished.model_construct(
                result=result,
                seconds=time.perf_counter() - started,
                made_tools=answer.made_tools,
                found_tools=answer.found_tools,
                waiting_tools=answer.waiting_tools,
                admitted_tools=answer.admitted_tools,
                made_files=tuple(artefact.info for artefact in answer.made_files),
            )
        )

    def _show_progress(self, call_id: str, event: AdmissionEvent) -> None:
        self.emit(CallProgress.model_construct(call_id=call_id, event=event))

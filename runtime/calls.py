"""One call of the model, from its JSON text to its one answer, whatever goes wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from policies.validation import validate
from policies.value import JsonObject, parse_json
from runtime.budgets import Budget
from runtime.messages import AssistantMessage, ToolCall, ToolResult, ToolSpec
from runtime.models.strict import from_wire
from runtime.tools import DEFINE_TOOL, CallContext, ToolAnswer
from runtime.toolset import Toolset
from sandbox.errors import SandboxError
from toolstore.errors import ToolNotCallableError, ToolStoreError

MAX_RESULT_CHARACTERS: Final = 32_000
_QUOTED_CHARACTERS: Final = 600
_MAX_VIOLATIONS: Final = 10


class CallRunner:
    """Answers calls with the tools of one session.

    What the model did wrong comes back as an answer that says how to mend the call: what was
    given, what was expected. What we did wrong comes back as an answer that says so.
    """

    def __init__(
        self,
        toolset: Toolset,
        budget: Budget,
        *,
        max_result_characters: int = MAX_RESULT_CHARACTERS,
    ) -> None:
        self._toolset = toolset
        self._budget = budget
        self._max_result_characters = max_result_characters

    async def run(self, call: ToolCall, context: CallContext, *, cut_off: bool) -> ToolAnswer:
        """Answer `call`; raises nothing but cancellation.

        Args:
            call: What the model asked for.
            context: Where the call comes from.
            cut_off: The model's answer reached its length limit, so arguments may be half.
        """
        try:
            answer = await self._answer(call, context, cut_off=cut_off)
        except Exception as error:  # noqa: BLE001 - a call id must get its result
            answer = _error(_our_fault(call.name, error))
        self._toolset.note_used(*answer.made_tools)
        self._toolset.note_found(*answer.found_tools)
        return self._bounded(answer)

    async def _answer(self, call: ToolCall, context: CallContext, *, cut_off: bool) -> ToolAnswer:
        try:
            tool = await self._toolset.get(call.name)
        except ToolNotCallableError as error:  # the session is pinned to what was taken back
            return _error(f"{error}. Nothing was run; look for another tool.")
        if tool is None:
            return _error(self._toolset.explain_unknown(call.name))
        self._toolset.note_used(call.name)
        if call.name == DEFINE_TOOL and not self._budget.admits_definition():
            return _error(self._budget.no_more_definitions())
        arguments = _read_arguments(call, tool.spec, cut_off=cut_off)
        if isinstance(arguments, ToolAnswer):
            return arguments
        return await tool.call(arguments, context)

    def _bounded(self, answer: ToolAnswer) -> ToolAnswer:
        """`answer`, its middle cut out if it is too long: both ends tell what the text is."""
        length, limit = len(answer.content), self._max_result_characters
        if length <= limit:
            return answer
        tail = limit // 4
        head = limit - tail
        note = (
            f"\n[cut here: {length - limit:,} of {length:,} characters left out; "
            "ask for less at a time to see the rest]\n"
        )
        return replace(answer, content=answer.content[:head] + note + answer.content[-tail:])


def interrupted(call: ToolCall) -> ToolResult:
    """What the model later reads about a call that was stopped."""
    content = (
        f"interrupted: {call.name} was stopped before it finished, by the person or by the "
        "session's time limit. Whether it had effects is unknown; it was not run again."
    )
    return ToolResult(call_id=call.call_id, name=call.name, content=content, is_error=True)


def with_distinct_ids(message: AssistantMessage) -> AssistantMessage:
    """`message` with calls that can each have their own result.

    A call that is there twice, id and all, is one call; different calls under one id get ids
    of their own. The provider's own items are left out then, since they have the ids as given.
    """
    ids = {call.call_id for call in message.tool_calls}
    if len(ids) == len(message.tool_calls) and "" not in ids:
        return message
    taken: dict[str, ToolCall] = {}
    for call in dict.fromkeys(message.tool_calls):
        call_id, number = call.call_id or "call", 1
        while call_id in taken or (number > 1 and call_id in ids):
            number += 1
            call_id = f"{call.call_id or 'call'}-{number}"
        taken[call_id] = ToolCall(call_id=call_id, name=call.name, arguments=call.arguments)
    return AssistantMessage(text=message.text, tool_calls=tuple(taken.values()))


def _our_fault(name: str, error: Exception) -> str:
    nothing_ran = isinstance(error, ToolStoreError) or (
        isinstance(error, SandboxError) and error.retry_safe
    )
    advice = (
        "Nothing was run, so the same call may safely be made again."
        if nothing_ran
        else "Whether it had effects is unknown: call it again only if repeating is harmless."
    )
    return (
        f"the runtime failed to carry out {name}; this is not a fault of your call. "
        f"{type(error).__name__}: {_cut(str(error), _QUOTED_CHARACTERS)}. {advice}"
    )


def _read_arguments(call: ToolCall, spec: ToolSpec, *, cut_off: bool) -> JsonObject | ToolAnswer:
    """The arguments, believed; or what is wrong with them."""
    try:
        # No arguments at all is how some models call what takes none.
        value = parse_json(call.arguments.strip() or "{}")
    except ValueError as error:
        why = f"the arguments are not valid JSON: {error}"
        if cut_off:
            why += " (your answer was cut at its length limit: make the call shorter)"
        return _misfit(call, spec, [why])
    if not isinstance(value, dict):
        return _misfit(call, spec, [f"the arguments are {_kind(value)}, not a JSON object"])
    problems = validate(value, spec.parameters)
    if not problems:
        return value
    # Nulls of the strict form, for a tool that the adapter did not know from this request.
    restored = from_wire(value, spec)
    if restored != value and not validate(restored, spec.parameters):
        return restored
    return _misfit(call, spec, problems)


def _misfit(call: ToolCall, spec: ToolSpec, problems: Sequence[str]) -> ToolAnswer:
    shown = list(problems[:_MAX_VIOLATIONS])
    if more := len(problems) - len(shown):
        shown.append(f"and {more} more")
    expected = json.dumps(spec.parameters, ensure_ascii=False, separators=(",", ":"))
    return _error(
        "\n".join(
            [
                f"{spec.name} was not run:",
                *(f"- {problem}" for problem in shown),
                f"Given: {_cut(call.arguments, _QUOTED_CHARACTERS)}",
                f"Expected, as JSON Schema: {_cut(expected, 4 * _QUOTED_CHARACTERS)}",
                "Mend the arguments and make the call again.",
            ]
        )
    )


def _error(content: str) -> ToolAnswer:
    return ToolAnswer(content, is_error=True)


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case _:
            return "an array"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more)"

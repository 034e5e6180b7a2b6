"""Small tools for tests that go through the whole admission."""

from __future__ import annotations

import json

from policies.source import Example, ToolSource
from policies.value import JsonObject
from runtime.messages import AssistantMessage, ToolCall


def adder(name: str, amount: int, *, spelling: str = "a + {}") -> ToolSource:
    """A tool that adds `amount`; `spelling` makes other text of the same meaning."""
    return ToolSource(
        name=name,
        description=f"Adds {amount} to a number.",
        code=(
            f"def {name}(a: int) -> int:\n"
            f'    """Add {amount}.\n\n'
            "    Args:\n"
            "        a: The number.\n\n"
            "    Returns:\n"
            "        The sum.\n"
            '    """\n'
            f"    return {spelling.format(amount)}\n"
        ),
        examples=(Example(arguments={"a": 1}, returns=1 + amount),),
    )


def asks(name: str, arguments: JsonObject, call_id: str = "call_1") -> AssistantMessage:
    """A model's answer that is one call."""
    return AssistantMessage(
        tool_calls=(ToolCall(call_id=call_id, name=name, arguments=json.dumps(arguments)),)
    )


def says(text: str) -> AssistantMessage:
    """A model's answer that is text."""
    return AssistantMessage(text=text)

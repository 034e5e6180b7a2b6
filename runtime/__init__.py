"""The conversation, the command line and the wiring; the only place that knows all parts.

The names below are the way in from Python. They are imported when first used, so that
importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policies.source import Example, ToolSource
    from runtime.hosttools import tool
    from runtime.outcome import CallOutcome, DefinitionOutcome
    from runtime.wiring import Runtime, open_runtime

__all__ = [
    "CallOutcome",
    "DefinitionOutcome",
    "Example",
    "Runtime",
    "ToolSource",
    "open_runtime",
    "tool",
]

_HOMES = {
    "CallOutcome": "runtime.outcome",
    "DefinitionOutcome": "runtime.outcome",
    "Example": "policies.source",
    "Runtime": "runtime.wiring",
    "ToolSource": "policies.source",
    "open_runtime": "runtime.wiring",
    "tool": "runtime.hosttools",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

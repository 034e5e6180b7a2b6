"""Striking out what must not be kept of a call: values of secrets, and what patterns match."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

STRUCK_OUT: Final = "[redacted]"

_LEAST_SECRET: Final = 4
"""A shorter value would be found in everything, and says nothing when it is."""


@dataclass(frozen=True)
class Redaction:
    """What is struck out of the arguments and results of one tool."""

    secrets: tuple[str, ...] = ()
    """Values, not names."""

    patterns: tuple[str, ...] = ()
    """Regular expressions of the policy."""

    def apply(self, value: JsonValue) -> JsonValue:
        """`value` with every match struck out, in keys and numbers too; equal where none is."""
        literal = [re.escape(each) for each in self.secrets if len(each) >= _LEAST_SECRET]
        expressions = [re.compile(text) for text in (*literal, *self.patterns)]
        return _struck(value, expressions) if expressions else value


NO_REDACTION: Final = Redaction()


def _struck(value: JsonValue, expressions: Sequence[re.Pattern[str]]) -> JsonValue:
    match value:
        case str():
            return _text(value, expressions)
        case dict():
            return {_text(k, expressions): _struck(v, expressions) for k, v in value.items()}
        case list():
            return [_struck(item, expressions) for item in value]
        case int() | float() if not isinstance(value, bool):
            return STRUCK_OUT if any(e.search(str(value)) for e in expressions) else value
        case _:
            return value


def _text(text: str, expressions: Sequence[re.Pattern[str]]) -> str:
    for expression in expressions:
        text = expression.sub(STRUCK_OUT, text)
    return text

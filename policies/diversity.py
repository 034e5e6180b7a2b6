"""Choosing few inputs out of many so that they differ in kind, not only in value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import JsonValue

T = TypeVar("T")

_DEPTH = 4
_ITEMS = 6


def most_diverse(items: Sequence[T], kind: Callable[[T], str], count: int) -> list[T]:
    """At most `count` of `items`: one of each kind in turn, each kind in the order given."""
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(kind(item), []).append(item)
    rounds = max(map(len, groups.values()), default=0)
    return [
        group[turn] for turn in range(rounds) for group in groups.values() if turn < len(group)
    ][:count]


def kind_of(value: JsonValue, depth: int = _DEPTH) -> str:
    """What sort of value it is: its type, its rough size, and the same of what is inside."""
    match value:
        case None | bool():
            return repr(value)
        case int():
            return f"int{_rough(value)}"
        case float():
            return f"float{_rough(int(value))}{'' if value.is_integer() else '.'}"
        case str():
            return f"text{_magnitude(len(value))}{'' if value.isascii() else 'u'}{_flavour(value)}"
        case list():
            inside = sorted({kind_of(item, depth - 1) for item in value}) if depth else []
            return f"list{_magnitude(len(value))}[{','.join(inside[:_ITEMS])}]"
        case dict():
            pairs = [f"{k}:{kind_of(v, depth - 1)}" for k, v in value.items()] if depth else []
            return f"dict{_magnitude(len(value))}{{{','.join(pairs[:_ITEMS])}}}"


def _rough(number: int) -> str:
    """Zero and one by themselves; else the sign and the number of binary digits, by threes."""
    if number in {0, 1}:
        return f"={number}"
    return f"{'-' if number < 0 else '+'}{number.bit_length() // 3}"


def _magnitude(length: int) -> int:
    return length.bit_length()


def _flavour(text: str) -> str:
    marks = (
        ("d", str.isdigit),
        ("s", str.isspace),
        ("l", str.islower),
        ("U", str.isupper),
    )
    return "".join(mark for mark, test in marks if any(map(test, text)))

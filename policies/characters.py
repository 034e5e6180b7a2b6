"""Characters that a reader of the code does not see, or sees as something else."""

from __future__ import annotations

import unicodedata
from typing import Final

from policies.display import INVISIBLE, escape_character
from policies.reporter import Reporter, Spot

_BIDIRECTIONAL: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
_LINE_ENDS: Final = frozenset("\u2028\u2029\x85\x0b\x1c\x1d\x1e")
_RULE_OF_CATEGORY: Final = {"Cc": "LM111", "Cf": "LM115", "Co": "LM116", "Cs": "LM116"}
_ASCII_CONTROLS: Final = frozenset(map(chr, [*range(9), *range(11, 32), 127]))


def check_characters(code: str, report: Reporter) -> None:
    """Report what does not print, or shows something else than it is; once a line and rule."""
    if code.isascii() and not any(c in code for c in _ASCII_CONTROLS):
        return
    reported: set[tuple[str, int]] = set()
    for number, line in enumerate(report.lines, start=1):
        for column, character in enumerate(line, start=1):
            rule = character_rule(character)
            if rule is None or (number == column == 1 and character == "\ufeff"):
                continue
            if (rule, number) in reported:
                continue
            reported.add((rule, number))
            report.on(
                rule,
                Spot(number, column, number, column + 1),
                _character_message(rule, character),
                _character_advice(rule, character),
            )


def character_rule(character: str) -> str | None:
    """The rule that `character` breaks anywhere in a text; None for what every reader sees."""
    if " " <= character <= "~" or character == "\t":
        return None
    if character == "\r":
        return "LM112"
    if character in _LINE_ENDS:
        return "LM113" if character not in _ASCII_CONTROLS else "LM111"
    if character in _BIDIRECTIONAL:
        return "LM114"
    if character in INVISIBLE:
        return "LM115"
    category = unicodedata.category(character)
    return _RULE_OF_CATEGORY.get(category)


def _character_message(rule: str, character: str) -> str:
    name = unicodedata.name(character, "")
    what = escape_character(character) + (f" ({name})" if name else "")
    match rule:
        case "LM112":
            return r"a carriage return \r, which ends a line for Python but not for a reader"
        case "LM113":
            return f"a line end {what} that Python does not take for one"
        case "LM114":
            return (
                f"a bidirectional control {what}: the text is shown in another order than it runs"
            )
        case "LM115":
            return f"an invisible character {what}"
        case "LM116":
            return f"a character without a meaning of its own {what}"
        case _:
            return f"a control character {what}"


def _character_advice(rule: str, character: str) -> str:
    if rule == "LM112":
        return r"end lines with \n alone"
    return f"delete it, or write {escape_character(character)} as an escape inside a string"

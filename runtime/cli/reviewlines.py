"""Lines of styled text, as the review screen and `review show` draw them.

Styles are a few words of our own, which each kind of screen has its colours for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final, TypeAlias

from policies.marking import Mark, SafeText


class Style(StrEnum):
    """What a piece of text is, as far as its colour goes."""

    PLAIN = ""
    HEAD = "head"
    FAINT = "faint"
    GOOD = "good"
    BAD = "bad"
    CARE = "care"
    NAME = "name"
    CHOSEN = "chosen"
    ODD = "odd"
    """Something that is not what it seems."""


Fragment: TypeAlias = tuple[Style, str]
Line: TypeAlias = list[Fragment]

RICH_STYLES: Final = {
    Style.PLAIN: "",
    Style.HEAD: "bold",
    Style.FAINT: "dim",
    Style.GOOD: "green",
    Style.BAD: "red",
    Style.CARE: "yellow",
    Style.NAME: "cyan",
    Style.CHOSEN: "bold",
    Style.ODD: "reverse red",
}
"""Our styles in the words of `rich`."""


def styled(text: SafeText, style: Style = Style.PLAIN) -> Line:
    """Safe text, with what is marked standing out."""
    return [
        (style if piece.mark in {None, Mark.CUT} else Style.ODD, piece.text)
        for piece in text.pieces
    ]


def fact(name: str, words: Line) -> Line:
    """A line that says one thing, under its name."""
    return [(Style.FAINT, f"{name:<12}"), *words]


def joined(parts: Sequence[Line]) -> Line:
    """The parts on one line, with commas between them."""
    line: Line = []
    for number, part in enumerate(parts):
        line += [(Style.PLAIN, ", ")] * bool(number) + part
    return line


def paragraph(text: SafeText) -> Iterator[Line]:
    """The lines of a text that keeps its line ends."""
    line: Line = []
    for style, part in styled(text):
        first, *others = part.split("\n")
        line.append((style, first))
        for other in others:
            yield line
            line = [(style, other)]
    yield line

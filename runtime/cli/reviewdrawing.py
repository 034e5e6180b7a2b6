"""What the review screen draws, from values and a width: nothing is cut off, whatever the width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Final

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.utils import get_cwidth

from runtime.cli.reviewlines import Fragment, Line, Style
from runtime.cli.reviewsummary import queue_row
from runtime.review.item import QueueLine

TAB_STOPS: Final = 4
LIST_HINTS: Final[tuple[str, ...]] = ("↑↓ choose", "Enter open", "r read again", "q quit")
ITEM_HINTS: Final[tuple[str, ...]] = (
    "Tab/1-7 part",
    "↑↓ PgUp PgDn scroll",
    "a approve",
    "x reject",
    "c ask",
    "n next",
    "b back",
)
WIDE: Final = 80
"""From here on, a waiting version is told on one row."""


def wrap(line: Line, width: int) -> list[Line]:
    """`line` in rows of at most `width` columns: whole, for nothing may hide at the end of one.

    A row ends behind a space where one stands in its second half.
    """
    rows: list[Line] = []
    row: list[tuple[Style, str, int]] = []
    used = 0
    for style, text in line:
        for character in text.replace("\t", " " * TAB_STOPS):
            cells = get_cwidth(character)
            if used + cells > width:
                end = _end(row, width)
                rows.append(_grouped(row[:end]))
                row = row[end:]
                used = sum(each for _, _, each in row)
            row.append((style, character, cells))
            used += cells
    return [*rows, _grouped(row)]


def _end(row: Sequence[tuple[Style, str, int]], width: int) -> int:
    """Where to break a full row."""
    for end in range(len(row), width // 2, -1):
        if row[end - 1][1] == " ":
            return end
    return len(row)


def _grouped(row: Iterable[tuple[Style, str, int]]) -> Line:
    """Neighbours of one style in one piece."""
    return [
        (style, "".join(character for _, character, _ in same))
        for style, same in groupby(row, key=itemgetter(0))
    ]


def packed(pieces: Iterable[Fragment], width: int) -> list[Line]:
    """The pieces side by side in rows, none broken where a row has room for the whole of it."""
    return _in_rows([(style, f" {text} ") for style, text in pieces], width)


def words(text: str, width: int, style: Style = Style.PLAIN) -> list[Line]:
    """A sentence in rows, broken between its words."""
    return _in_rows([(style, f"{word} ") for word in text.split()], width)


def _in_rows(pieces: Iterable[Fragment], width: int) -> list[Line]:
    rows: list[Line] = []
    left = 0
    for style, text in pieces:
        cells = get_cwidth(text)
        if not rows or cells > left:
            rows.append([])
            left = width
        rows[-1].append((style, text))
        left -= cells
    return [part for row in rows for part in wrap(row, width)]


def title_of_queue(count: int) -> Fragment:
    """How much waits."""
    return (Style.PLAIN, f"{count} wait{'s' if count == 1 else ''} for review")


def queue_rows(
    lines: Sequence[QueueLine], chosen: int, *, now: datetime, width: int, height: int
) -> list[Line]:
    """The part of the queue around the chosen version that fits."""
    if not lines:
        return [[(Style.FAINT, " nothing waits for review")]]
    each = 1 if width >= WIDE else 2
    fit = max(1, height // each)
    first = max(0, min(chosen - fit // 2, len(lines) - fit))
    rows: list[Line] = []
    for number, line in enumerate(lines[first : first + fit], first):
        sign = (Style.HEAD, "> ") if number == chosen else (Style.PLAIN, "  ")
        rows += [*wrap([sign, *queue_row(line, now)], width), [], []][:each]
    return rows


def drawn(rows: Sequence[Line]) -> StyleAndTextTuples:
    """Rows for prompt_toolkit."""
    shown: StyleAndTextTuples = []
    for row in rows:
        shown += [(f"class:{style.value}" if style else "", text) for style, text in row]
        shown.append(("", "\n"))
    return shown[:-1]

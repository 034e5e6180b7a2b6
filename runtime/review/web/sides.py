"""A diff as rows of two sides: what was, and what is to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile, zip_longest
from typing import Final

from markupsafe import Markup

from policies.marking import SafeText
from runtime.review.parts import DiffLine, LineKind
from runtime.review.web.highlight import Line, plain_lines, python_lines
from runtime.review.web.marking import html_of

_LIKE: Final = 0.3
"""Of a line, that must be common to both sides before the rest is worth pointing at."""

_MOVED: Final = (LineKind.REMOVED, LineKind.ADDED)


@dataclass(frozen=True, slots=True)
class Side:
    """A line on one side."""

    number: int
    html: Markup


@dataclass(frozen=True, slots=True)
class Row:
    """A line before and what it is now; with neither, `place` says what follows."""

    before: Side | None = None
    now: Side | None = None
    same: bool = False
    place: Markup | None = None


@dataclass(frozen=True, slots=True)
class Colours:
    """The lines of both sources, by their numbers."""

    before: Mapping[int, Line]
    now: Mapping[int, Line]


def colours_of(diff: Sequence[DiffLine], now: Sequence[SafeText]) -> Colours:
    """Both sources with colour: the earlier one is put together from the later and the diff."""
    return Colours(_numbered(_before(diff, now)), _numbered(now))


def rows_of(diff: Sequence[DiffLine], colours: Colours | None = None) -> tuple[Row, ...]:
    """The rows of a diff, with colour where it is of Python."""
    return tuple(_rows(diff, colours or Colours({}, {})))


def _numbered(lines: Sequence[SafeText]) -> dict[int, Line]:
    return dict(enumerate(python_lines(lines), 1))


def _before(diff: Sequence[DiffLine], now: Sequence[SafeText]) -> list[SafeText]:
    found: list[SafeText] = []
    used = 0
    for line in diff:
        if line.after is not None:
            found += now[used : line.after - 1]
            used = line.after
        if line.before is not None:
            found.append(line.text)
    return [*found, *now[used:]]


def _rows(diff: Sequence[DiffLine], colours: Colours) -> Iterator[Row]:
    for moved, group in groupby(diff, lambda each: each.kind in _MOVED):
        if moved:
            yield from _paired(list(group), colours)
            continue
        for line in group:
            if line.kind is LineKind.PLACE:
                yield Row(place=html_of(line.text))
            else:
                html = _coloured(line, line.after, colours.now).html()
                yield Row(Side(line.before or 0, html), Side(line.after or 0, html), same=True)


def _paired(lines: list[DiffLine], colours: Colours) -> Iterator[Row]:
    gone = [line for line in lines if line.kind is LineKind.REMOVED]
    come = [line for line in lines if line.kind is LineKind.ADDED]
    for left, right in zip_longest(gone, come):
        was = None if left is None else _coloured(left, left.before, colours.before)
        now = None if right is None else _coloured(right, right.after, colours.now)
        out, into = (range(0), range(0)) if was is None or now is None else _changed(was, now)
        yield Row(
            None if left is None or was is None else Side(left.before or 0, was.html(out)),
            None if right is None or now is None else Side(right.after or 0, now.html(into)),
        )


def _coloured(line: DiffLine, number: int | None, colours: Mapping[int, Line]) -> Line:
    found = colours.get(number or 0)
    # Colour is only taken from the very same line.
    return found if found is not None and found.text == line.text else plain_lines([line.text])[0]


def _changed(was: Line, now: Line) -> tuple[range, range]:
    """The characters of either line that the other has not, where they are much alike."""
    left, right = was.text.plain, now.text.plain
    start = _common(left, right)
    end = _common(left[start:][::-1], right[start:][::-1])
    if start + end < _LIKE * max(len(left), len(right)):
        return range(0), range(0)
    return range(start, len(left) - end), range(start, len(right) - end)


def _common(left: str, right: str) -> int:
    """How many characters both begin with."""
    pairs = zip(left, right, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

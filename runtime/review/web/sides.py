"""A diff as rows of two sides: what was, and what is to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

from markupsafe import Markup

from policies.marking import SafeText
from runtime.review.item import DiffLine, LineKind
from runtime.review.web.highlight import highlighted
from runtime.review.web.marking import html_of


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


def rows_of(
    lines: Sequence[DiffLine], colours: Mapping[int, Markup] | None = None
) -> tuple[Row, ...]:
    """The rows of a diff.

    Args:
        lines: The diff.
        colours: The later text with colour, by the number of the line; None for what is no Python.
    """
    return tuple(_rows(lines, colours))


def _rows(lines: Sequence[DiffLine], colours: Mapping[int, Markup] | None) -> Iterator[Row]:
    for moved, group in groupby(lines, lambda each: each.kind in _MOVED):
        if moved:
            yield from _paired(list(group), colours)
            continue
        for line in group:
            if line.kind is LineKind.PLACE:
                yield Row(place=html_of(line.text))
            else:
                html = _now(line, colours)
                yield Row(Side(line.before or 0, html), Side(line.after or 0, html), same=True)


_MOVED = (LineKind.REMOVED, LineKind.ADDED)


def _paired(lines: list[DiffLine], colours: Mapping[int, Markup] | None) -> Iterator[Row]:
    gone = [line for line in lines if line.kind is LineKind.REMOVED]
    come = [line for line in lines if line.kind is LineKind.ADDED]
    for left, right in zip_longest(gone, come):
        yield Row(
            None if left is None else Side(left.before or 0, _before(left.text, colours)),
            None if right is None else Side(right.after or 0, _now(right, colours)),
        )


def _now(line: DiffLine, colours: Mapping[int, Markup] | None) -> Markup:
    found = None if colours is None or line.after is None else colours.get(line.after)
    return html_of(line.text) if found is None else found


def _before(text: SafeText, colours: Mapping[int, Markup] | None) -> Markup:
    # What stood around it is not known here, so a line inside a long string may be coloured as
    # code; what it says is the same.
    return html_of(text) if colours is None else highlighted([text])[0]

"""Python with colour, line by line, as HTML that holds exactly what the reviewer may see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

from markupsafe import Markup, escape
from pygments.lexers.python import PythonLexer
from pygments.token import Token, _TokenType

from policies.marking import SafeText
from runtime.review.web.marking import html_of

_CLASSES: Final = (
    (Token.Keyword, "k"),
    (Token.Operator.Word, "k"),
    (Token.Name.Builtin, "b"),
    (Token.Name.Exception, "b"),
    (Token.Name.Function, "f"),
    (Token.Name.Class, "f"),
    (Token.Name.Decorator, "d"),
    (Token.Literal.String.Doc, "c"),
    (Token.Literal.String, "s"),
    (Token.Literal.Number, "n"),
    (Token.Comment, "c"),
)
"""The first that a token is in decides; the stylesheet has a colour for each, dark and light."""

_Tokens: TypeAlias = list[tuple[str, str]]
"""Class and text, in order; the class is empty where there is no colour."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a text, with what its parts are."""

    text: SafeText
    tokens: _Tokens

    def html(self, changed: range = range(0)) -> Markup:
        """The line; the characters of `changed` stand out. A line with marks has these alone."""
        if self.text.marks:
            return html_of(self.text)
        return Markup().join(_spans(self.tokens, changed))


def plain_lines(lines: Sequence[SafeText]) -> tuple[Line, ...]:
    """Lines of what is no Python."""
    return tuple(Line(line, [("", line.plain)]) for line in lines)


def python_lines(lines: Sequence[SafeText]) -> tuple[Line, ...]:
    """Lines of a source."""
    coloured = _tokens_of("\n".join(line.plain for line in lines))
    if len(coloured) != len(lines):  # an escape that reads as a line end: colour is not worth it
        return plain_lines(lines)
    return tuple(map(Line, lines, coloured))


def _tokens_of(code: str) -> list[_Tokens]:
    lines: list[_Tokens] = [[]]
    seen = []
    # Unprocessed: the ordinary way would first strip and normalise what a reviewer must see.
    for _, kind, text in PythonLexer().get_tokens_unprocessed(code):
        seen.append(text)
        first, *others = text.split("\n")
        name = _class_of(kind)
        lines[-1].append((name, first))
        lines.extend([(name, other)] for other in others)
    # Nothing but the source is shown, and all of it, whatever a lexer does with it.
    return lines if "".join(seen) == code else []


def _class_of(kind: _TokenType) -> str:
    return next((name for parent, name in _CLASSES if kind[: len(parent)] == parent), "")


def _spans(tokens: _Tokens, changed: range) -> Iterator[Markup]:
    place = 0
    for name, text in tokens:
        cuts = sorted({0, len(text), *_inside(changed, place, len(text))})
        for start, end in pairwise(cuts):
            classes = [name] if name else []
            if place + start in changed:
                classes.append("moved")
            yield _span(" ".join(classes), text[start:end])
        place += len(text)


def _inside(changed: range, place: int, length: int) -> list[int]:
    edges = (changed.start - place, changed.stop - place)
    return [edge for edge in edges if 0 < edge < length]


def _span(classes: str, text: str) -> Markup:
    if not classes:
        return escape(text)
    return Markup('<span class="{}">{}</span>').format(classes, text)

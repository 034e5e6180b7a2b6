"""Python with colour, line by line, as HTML that holds exactly what the reviewer may see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

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


def highlighted(lines: Sequence[SafeText]) -> tuple[Markup, ...]:
    """The lines of a source with colour; a line with marks has the marks instead of colour."""
    coloured = _coloured("\n".join(line.plain for line in lines))
    if len(coloured) != len(lines):  # an escape that reads as a line end: colour is not worth it
        return tuple(html_of(line) for line in lines)
    return tuple(
        html_of(line) if line.marks else colour
        for line, colour in zip(lines, coloured, strict=True)
    )


def _coloured(code: str) -> list[Markup]:
    lines: list[list[Markup]] = [[]]
    seen = []
    # Unprocessed: the ordinary way would first strip and normalise what a reviewer must see.
    for _, kind, text in PythonLexer().get_tokens_unprocessed(code):
        seen.append(text)
        first, *others = text.split("\n")
        name = _class_of(kind)
        lines[-1].append(_span(name, first))
        lines.extend([_span(name, other)] for other in others)
    # Nothing but the source is shown, and all of it, whatever a lexer does with it.
    return [Markup().join(line) for line in lines] if "".join(seen) == code else []


def _span(name: str | None, text: str) -> Markup:
    if name is None or not text.strip():
        return escape(text)
    return Markup('<span class="{}">{}</span>').format(name, text)


def _class_of(kind: _TokenType) -> str | None:
    return next((name for parent, name in _CLASSES if kind[: len(parent)] == parent), None)

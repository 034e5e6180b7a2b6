"""Untrusted text as HTML: what `policies.marking` marked stands in a frame that says why."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup, escape

from policies.marking import Mark, Piece, SafeText, mark_text

_WHY: Final = {
    Mark.CONTROL: "control character",
    Mark.BIDIRECTIONAL: "changes the direction of text",
    Mark.INVISIBLE: "invisible character",
    Mark.LOOK_ALIKE: "look-alike",
    Mark.GAP: "wide gap",
    Mark.LONG: "long line",
    Mark.CUT: "left out",
}


def html_of(text: SafeText) -> Markup:
    """`text` as HTML that shows all of it and does nothing."""
    return Markup().join(_piece(piece) for piece in text.pieces)


def marked(text: str, characters: int | None = 2_000) -> Markup:
    """Untrusted text that has not been marked yet, as one line of HTML."""
    return html_of(mark_text(text, characters=characters))


def words_of(marks: frozenset[Mark]) -> str:
    """The kinds of marks in words."""
    return ", ".join(sorted(_WHY[mark] for mark in marks))


def _piece(piece: Piece) -> Markup:
    if piece.mark is None:
        return escape(piece.text)
    why = _WHY[piece.mark]
    title = f"{why}: {piece.note}" if piece.note else why
    return Markup('<mark class="odd {}" title="{}">{}</mark>').format(
        piece.mark.value, title, piece.text
    )

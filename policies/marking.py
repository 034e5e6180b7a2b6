"""Untrusted text for people's eyes: what hides, acts or pretends is written out and marked.

`display` makes text harmless; this says where it was not, so that a screen can show it in another
colour. The pieces of a text, put together, are the escaped text.
"""
# ruff: noqa: RUF001  the characters that are taken for others are what this is about

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from policies.display import escape_character, is_visible
from policies.value import Value

LONG_LINE_CHARACTERS: Final = 200
"""Longer lines are marked: their end is easily not looked at."""

GAP_CHARACTERS: Final = 24
"""So much room inside a line pushes what follows out of sight."""

_BIDIRECTIONAL: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
_RUNS: Final = re.compile(rf"(?<=\S)[ \t]{{{GAP_CHARACTERS},}}(?=\S)|[^\W\d_]+|.", re.DOTALL)
_MORE_LETTERS: Final = {
    **dict(zip("аеорсухіјѕһԁԛԝкмтвн", "aeopcyxijshdqwkmtbh", strict=True)),
    **dict(zip("АВЕЗКМНОРСТХУІЈЅҮ", "ABE3KMHOPCTXYIJSY", strict=True)),
    **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEZHIKMNOPTYX", strict=True)),
    **dict(zip("ονυρικατγ", "ovupikaty", strict=True)),
    **dict(zip("օհոսցքս", "ohnugqu", strict=True)),
    **dict(zip("ᴀʙᴄᴅᴇɢʜɪᴊᴋʟᴍɴᴏᴘʀᴛᴜᴠᴡʏᴢ", "abcdeghijklmnoprtuvwyz", strict=True)),
    **dict(zip("ɑɡıȷℓᏀᏴᎪᏟᎬᎻᏞᎷᏢᏒᏚᎢᏙᎳᏃ", "agijlGBACEHLMPRSTVWZ", strict=True)),
}
"""Letters of other alphabets that are drawn like one of ours, of Unicode's table of confusables."""

_MORE_SIGNS: Final = {
    **dict(zip("\u037e։ː∶⁄∕․ǃ＝⹀＿∗❨❩﹙﹚", ";::://.!==_*()()", strict=True)),
}
"""Signs likewise; typographic quotes and dashes are left out, for people write them in prose."""


class Mark(StrEnum):
    """Why a reader should look twice at a piece of text."""

    CONTROL = "control"
    """It acts on a terminal, or ends a line for some programs: shown as an escape."""

    BIDIRECTIONAL = "bidirectional"
    """It changes the order in which text is shown: shown as an escape."""

    INVISIBLE = "invisible"
    """Nothing of it is seen: shown as an escape."""

    LOOK_ALIKE = "look_alike"
    """It is drawn like an ordinary letter or sign, and is another character."""

    GAP = "gap"
    """Much empty room inside a line: shown as how much it is."""

    LONG = "long"
    """The line is longer than most screens; it says how long before it begins."""

    CUT = "cut"
    """Something is left out here; it says how much."""


class Piece(Value):
    """A part of a text, fit to be shown as it is."""

    text: str
    mark: Mark | None = None
    note: str = ""
    """What a marked character is, such as `CYRILLIC SMALL LETTER A`."""


class SafeText(Value):
    """Text that may be shown: every piece is visible, and says where it is not what it seems."""

    pieces: tuple[Piece, ...] = ()

    @property
    def plain(self) -> str:
        """The whole text without marks; still harmless."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def marks(self) -> frozenset[Mark]:
        """Which marks it has."""
        return frozenset(piece.mark for piece in self.pieces if piece.mark is not None)

    def __str__(self) -> str:
        return self.plain


def mark_text(text: str, *, keep_newlines: bool = False, characters: int | None = None) -> SafeText:
    """`text` with everything in it that a reader could not see, or would misread, marked.

    Args:
        text: Whatever somebody hostile wrote.
        keep_newlines: Leave line ends as they are; else the answer is one line.
        characters: Cut after so many, and say how many are missing; None shows all.
    """
    missing = 0 if characters is None else max(0, len(text) - characters)
    kept = text[:characters] if missing else text
    if kept.isascii() and kept.isprintable() and " " * GAP_CHARACTERS not in kept:
        pieces = [Piece.model_construct(text=kept)] if kept else []
    else:
        pieces = _joined(_pieces(kept, keep_newlines=keep_newlines))
    if missing:
        pieces.append(Piece(text=f" [... {missing:,} more characters]", mark=Mark.CUT))
    return SafeText.model_construct(pieces=tuple(pieces))


def mark_line(line: str) -> SafeText:
    """One line of a source, whole however long it is; tabs stay, so that columns line up."""
    shown = mark_text(line)
    if len(line) <= LONG_LINE_CHARACTERS:
        return shown
    long = Piece(text=f"[{len(line):,} characters] ", mark=Mark.LONG)
    return SafeText.model_construct(pieces=(long, *shown.pieces))


def look_alike(character: str) -> str | None:
    """The ASCII character that `character` is taken for; None for what is only itself."""
    if character.isascii():
        return None
    found = _MORE_LETTERS.get(character) or _MORE_SIGNS.get(character)
    if found is None:  # full-width, mathematical and other forms that Python reads as the plain one
        plain = unicodedata.normalize("NFKC", character)
        found = plain if len(plain) == 1 and plain.isascii() and plain.isprintable() else None
    return found


def _pieces(text: str, *, keep_newlines: bool) -> Iterator[Piece]:
    for match in _RUNS.finditer(text):
        run = match[0]
        if run.isascii() and run.isprintable():
            if run.isspace() and len(run) >= GAP_CHARACTERS:
                yield Piece(text=f" [{len(run)} spaces] ", mark=Mark.GAP)
            else:
                yield Piece.model_construct(text=run)
        elif len(run) >= GAP_CHARACTERS and run.isspace() and "\n" not in run:
            yield Piece(text=f" [{len(run)} spaces and tabs] ", mark=Mark.GAP)
        else:
            pretends = _pretends(run)
            for character in run:
                yield _character(character, keep_newlines=keep_newlines, pretends=pretends)


def _pretends(word: str) -> bool:
    """Whether letters of `word` that look like ours are there to be taken for ours.

    A word in another alphabet has letters of its own; one that is drawn with ours alone, or mixes
    both, is suspect.
    """
    return all(letter.isascii() or look_alike(letter) for letter in word)


def _character(character: str, *, keep_newlines: bool, pretends: bool) -> Piece:
    if character == "\t" or (character == "\n" and keep_newlines):
        return Piece.model_construct(text=character)
    if character in _BIDIRECTIONAL:
        return _escaped(character, Mark.BIDIRECTIONAL)
    if not is_visible(character):
        control = unicodedata.category(character) in {"Cc", "Zl", "Zp"}
        return _escaped(character, Mark.CONTROL if control else Mark.INVISIBLE)
    if pretends and (plain := look_alike(character)) is not None:
        note = f"{unicodedata.name(character, 'unnamed')}, drawn like {plain!r}"
        return Piece(text=character, mark=Mark.LOOK_ALIKE, note=note)
    return Piece.model_construct(text=character)


def _escaped(character: str, mark: Mark) -> Piece:
    return Piece(
        text=escape_character(character), mark=mark, note=unicodedata.name(character, "control")
    )


def _joined(pieces: Iterator[Piece]) -> list[Piece]:
    """Neighbours without a mark as one."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and piece.mark is None and joined[-1].mark is None:
            joined[-1] = Piece.model_construct(text=joined[-1].text + piece.text)
        else:
            joined.append(piece)
    return joined

"""Untrusted text, made fit to be shown: in a terminal, in a report, in text handed to a model."""

from __future__ import annotations

from typing import Final

EXCERPT_CHARACTERS: Final = 160
"""How much of a line is shown beside a finding."""

CUT_MARK: Final = " [...]"

_KEPT: Final = frozenset("\n\t")
_SHORT: Final = {"\n": r"\n", "\t": r"\t", "\r": r"\r"}

INVISIBLE: Final = frozenset(
    [
        *map(chr, range(0xE0100, 0xE01F0)),  # variation selectors: bytes hidden behind a letter
        *map(chr, range(0xFE00, 0xFE0E)),
        *map(chr, range(0x180B, 0x1810)),
        "\u034f",  # combining grapheme joiner
        "\u115f",  # Hangul fillers: letters that draw nothing
        "\u1160",
        "\u3164",
        "\uffa0",
        "\u17b4",  # Khmer inherent vowels
        "\u17b5",
        "\u2800",  # the empty Braille pattern
    ]
)
"""Characters that Python calls printable although nothing is seen of them."""


def is_visible(character: str) -> bool:
    """Whether a reader sees `character` and a terminal does nothing but draw it."""
    return character.isprintable() and character not in INVISIBLE


def escape_character(character: str) -> str:
    r"""`character` in Python's notation, such as `\x1b` or `\u202e`."""
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if code <= 0xFF:  # noqa: PLR2004 - what fits the two digits of \x
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - as above


def escape_text(text: str, *, keep_newlines: bool = True) -> str:
    r"""`text` with everything that does not print written as a visible escape.

    Control characters (C0, C1, ESC), bidirectional and zero-width characters, line separators,
    odd spaces, private-use characters and lone surrogates become `\x1b`, `\u202e` and so on.
    With `keep_newlines`, `\n` and `\t` stay as they are; without it the answer is one line.
    """
    if text.isascii() and text.isprintable():
        return text
    kept = _KEPT if keep_newlines else frozenset[str]()
    return "".join(
        character if is_visible(character) or character in kept else escape_character(character)
        for character in text
    )


def excerpt(line: str, *, characters: int = EXCERPT_CHARACTERS) -> str:
    """One source line for display: escaped, tabs kept so that columns still line up, and cut."""
    shown = escape_text(line[: characters + 1].replace("\n", r"\n"))
    return shown if len(shown) <= characters else shown[:characters] + CUT_MARK

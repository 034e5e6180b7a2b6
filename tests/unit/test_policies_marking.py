"""Marks: nothing hides or acts, nothing is lost, ordinary words of any alphabet stay unmarked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.display import escape_text, is_visible
from policies.marking import (
    GAP_CHARACTERS,
    LONG_LINE_CHARACTERS,
    Mark,
    look_alike,
    mark_line,
    mark_text,
)

texts = st.text(max_size=80) | st.text("a\u0430\u202e\u200b\x1b \t\n\uff41x", max_size=80)


@given(texts)
def test_what_is_shown_is_visible_whatever_was_written(text: str) -> None:
    for piece in mark_text(text).pieces:
        assert all(is_visible(character) or character == "\t" for character in piece.text)


@given(texts.filter(lambda text: " " * GAP_CHARACTERS not in text.replace("\t", " ")))
def test_the_pieces_are_the_escaped_text_and_nothing_else(text: str) -> None:
    assert mark_text(text, keep_newlines=True).plain == escape_text(text)
    assert mark_text(text).plain.replace("\t", "\\t") == escape_text(text, keep_newlines=False)


@pytest.mark.parametrize(
    ("text", "mark", "shown"),
    [
        ("a\x1b[31mb", Mark.CONTROL, "\\x1b"),
        ("a\rb", Mark.CONTROL, "\\r"),
        ("a\u2028b", Mark.CONTROL, "\\u2028"),
        ("a\u202eb", Mark.BIDIRECTIONAL, "\\u202e"),
        ("a\u2066b", Mark.BIDIRECTIONAL, "\\u2066"),
        ("a\u200bb", Mark.INVISIBLE, "\\u200b"),
        ("a\u3164b", Mark.INVISIBLE, "\\u3164"),
        ("a\U000e0100b", Mark.INVISIBLE, "\\U000e0100"),
        ("p\u0430yload", Mark.LOOK_ALIKE, "\u0430"),
        ("\u0441\u043e\u0440\u0435", Mark.LOOK_ALIKE, "\u0441"),
        ("\uff45val", Mark.LOOK_ALIKE, "\uff45"),
        ("\U0001d41eval", Mark.LOOK_ALIKE, "\U0001d41e"),
        ("a \u037e b", Mark.LOOK_ALIKE, "\u037e"),
        ("x = 1" + " " * 60 + "; evil()", Mark.GAP, " [60 spaces] "),
        ("x = 1" + "\t" * 60 + "; evil()", Mark.GAP, " [60 spaces and tabs] "),
    ],
)
def test_what_hides_acts_or_pretends_is_marked(text: str, mark: Mark, shown: str) -> None:
    marked = [piece for piece in mark_text(text).pieces if piece.mark is not None]
    assert (marked[0].mark, marked[0].text) == (mark, shown)


@pytest.mark.parametrize(
    "text",
    [
        "def double(number: int) -> int:",
        "        return {'naïve': 'café', 'größe': 1}",
        "\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440",
        "\u4f60\u597d \u2013 \u201cquoted\u201d \u2026",
        " " * 40 + "indented",
    ],
)
def test_ordinary_text_has_no_marks(text: str) -> None:
    assert mark_text(text).marks == frozenset()
    assert mark_text(text).plain == text


def test_a_long_line_is_whole_and_says_so_before_it_begins() -> None:
    line = "x" * LONG_LINE_CHARACTERS + "evil()"
    shown = mark_line(line)

    assert shown.pieces[0].mark is Mark.LONG
    assert shown.plain == f"[{len(line)} characters] {line}"
    assert mark_line(line[:LONG_LINE_CHARACTERS]).marks == frozenset()


def test_what_is_cut_says_how_much_is_missing() -> None:
    shown = mark_text("x" * 5_000, characters=100)

    assert shown.plain == "x" * 100 + " [... 4,900 more characters]"
    assert shown.pieces[-1].mark is Mark.CUT


def test_only_other_characters_look_like_ours() -> None:
    assert all(look_alike(chr(code)) is None for code in range(128))
    assert look_alike("\u0436") is None
    assert look_alike("\u0430") == "a"

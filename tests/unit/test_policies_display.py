from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.display import CUT_MARK, EXCERPT_CHARACTERS, INVISIBLE, escape_text, excerpt

anything = st.text(st.characters())


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("", ""),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\x00b", r"a\x00b"),
        ("a\rb", r"a\rb"),
        ("\x9b1m", r"\x9b1m"),
        ("\x7f", r"\x7f"),
        ("user\u202e", r"user\u202e"),
        ("a\u200bb", r"a\u200bb"),
        ("\u2028", r"\u2028"),
        ("\u2029", r"\u2029"),
        ("\x85", r"\x85"),
        ("\ufeff", r"\ufeff"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        ("\ue000", r"\ue000"),
        ("\xa0", r"\xa0"),
        ("\u3164", r"\u3164"),
        ("grüße 漢字 ❤️", "grüße 漢字 ❤️"),
        (r"C:\x1b", r"C:\x1b"),
    ],
)
def test_what_does_not_print_becomes_a_visible_escape(raw: str, shown: str) -> None:
    assert escape_text(raw) == shown


def test_newlines_and_tabs_stay_only_when_told() -> None:
    assert escape_text("a\n\tb") == "a\n\tb"
    assert escape_text("a\n\tb", keep_newlines=False) == r"a\n\tb"


@given(anything)
def test_nothing_unprintable_is_left(text: str) -> None:
    for character in escape_text(text, keep_newlines=False):
        assert character.isprintable()
        assert character not in INVISIBLE
        assert unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@given(anything)
def test_escaping_twice_changes_nothing_more(text: str) -> None:
    assert escape_text(escape_text(text)) == escape_text(text)


@given(st.text(st.characters(), max_size=500))
def test_an_excerpt_is_one_short_line(line: str) -> None:
    shown = excerpt(line)
    assert "\n" not in shown
    assert len(shown) <= EXCERPT_CHARACTERS + len(CUT_MARK)

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proposals import CLEAN, body, findings, proposal, rules

from policies.limits import SourceLimits
from policies.textcheck import HIDING_SPACES, check_text, may_be_parsed

TROJANS = {
    "commenting out": "access = 'user\u202e \u2066# check if admin\u2069 \u2066'",
    "stretched string": "x = 'a\u2066 + b\u2069'",
    "invisible function": "def is_admin\u200b(): return True",
    "early return": "'''Subtract \u2067'''",
    "Arabic letter mark": "# \u061c",
    "left-to-right mark": "# \u200e",
    "zero-width joiner": "x = '\u200d'",
    "soft hyphen": "x = '\xad'",
    "tags that hide words": "# \U000e0069\U000e0067",
    "variation selectors that hide bytes": "# a\U000e0101",
    "Hangul filler": "x = '\u3164'",
    "lone carriage return": "# harmless\rimport os",
    "carriage return and line feed": "x = 1\r\ny = 2",
    "form feed": "x = 1\x0cimport os",
    "vertical tab": "x = 1\x0by = 2",
    "null": "x = '\x00'",
    "escape": "# \x1b[1A\x1b[2K",
    "C1 control": "# \x9b1A",
    "backspace": "# import os\x08\x08",
    "next line": "# a\x85import os",
    "line separator": "# a\u2028import os",
    "private use": "# \uf8ff",
    "cookie": "# coding: utf-7",
    "cookie on line two": "#!/usr/bin/python\n# vim: set fileencoding=latin-1 :",
    "hidden by width": "x = 1" + " " * 100 + "; import os",
    "hidden behind tabs": "x = 1" + "\t" * 60 + "; import os",
}


@pytest.mark.parametrize("code", TROJANS.values(), ids=TROJANS.keys())
def test_text_that_deceives_a_reader_is_refused(code: str) -> None:
    found = rules(code + "\n\n\n" + CLEAN)

    assert any(rule.startswith("LM1") for rule in found)


@pytest.mark.parametrize(
    "code",
    [
        "x = 'naïve 漢字 עברית العربية 🙂 ❤️'",
        "# a comment in any script: привет",
        "\tx = 1".strip(),
        "x = {\n" + " " * 60 + "'deep': 1,\n}",
        "# emoji with a selector: ☎️",
        "coding = 'utf-8'",
    ],
)
def test_text_of_any_language_is_taken(code: str) -> None:
    assert not [rule for rule in rules(body(code)) if rule.startswith("LM1")]


def test_a_cookie_counts_only_where_python_reads_it() -> None:
    assert "LM117" not in rules("x = 1\ny = 2\n# coding: latin-1\n" + CLEAN)


def test_a_place_is_that_of_the_character() -> None:
    (finding,) = findings("# ok\nx = 'ab\u202ecd'\n\n\n" + CLEAN)

    assert (finding.rule, finding.line, finding.column, finding.end_column) == ("LM114", 2, 8, 9)
    assert finding.source_line == r"x = 'ab\u202ecd'"


def test_one_bad_line_is_one_finding_of_a_kind() -> None:
    assert [f.rule for f in findings("# " + "\x1b" * 30 + "\n\n\n" + CLEAN)] == ["LM111"]


def test_text_that_cannot_be_trusted_to_have_lines_is_not_parsed() -> None:
    source = proposal("# a\rimport os\nx = eval('1')\n")
    found = check_text(source, SourceLimits())

    assert not may_be_parsed(found)
    assert rules(source.code) == {"LM112"}


def test_a_deceiving_text_is_still_linted() -> None:
    assert {"LM114", "RP301"} <= rules(body("x = eval('1')  # \u202e"))


def test_all_examples_together_are_bounded() -> None:
    example = {"arguments": {"text": "a" * 60_000}, "returns": 1}

    assert "LM402" not in rules(examples=[example] * 4)
    assert "LM402" in rules(examples=[example] * 5)


@pytest.mark.parametrize(
    "value",
    [float("inf"), "\ud800", {"\udfff": 1}, [[float("-inf")]], 10**2000],
    ids=["infinite", "surrogate", "surrogate key", "inside", "huge"],
)
def test_an_example_that_json_cannot_carry_is_a_finding(value: object) -> None:
    assert "LM403" in rules(examples=[{"arguments": {"text": "a"}, "returns": value}])


def test_an_example_nested_too_deep_is_a_finding() -> None:
    value: object = 1
    for _ in range(40):
        value = [value]

    assert "LM403" in rules(examples=[{"arguments": {"text": value}, "returns": 1}])


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_breaks_the_checks(text: str) -> None:
    source = proposal(text, description=text, name=text)
    for finding in check_text(source, SourceLimits()):
        assert finding.message.isprintable()
        if finding.line is not None:
            assert 1 <= finding.line <= text.count("\n") + 1
            line = text.split("\n")[finding.line - 1]
            assert 1 <= (finding.column or 0) <= max(1, len(line)) + 1


@given(st.characters(categories=["Cc", "Cf", "Cs", "Co", "Zl", "Zp"], exclude_characters="\n\t"))
def test_no_character_without_a_shape_passes(character: str) -> None:
    if unicodedata.category(character) != "Cs":  # a source cannot even hold one
        assert any(r.startswith("LM1") for r in rules(f"# a{character}b\n" + CLEAN))


@given(st.integers(HIDING_SPACES, 200))
def test_spaces_at_the_end_of_a_line_hide_nothing(count: int) -> None:
    assert "LM104" not in rules(body("x = 1" + " " * count))

"""Finding tools by words."""

from __future__ import annotations

import pytest
from factories import make_schema, make_source
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.source import ToolSource
from toolstore.search import Bm25Index, docstring, searchable_text, terms

unhurried = settings(deadline=None)

TOOLS = {
    "parse_iso_date": "Read an ISO 8601 date.",
    "days_between": "Count the days between two dates.",
    "slugify_title": "Make a URL slug from a title.",
    "word_frequencies": "Count how often each word occurs in a text.",
    "median": "The middle value of a list of numbers.",
    "fibonacci": "The nth Fibonacci number.",
    "romanNumeral": "Write a number in Roman numerals.",
    "haversine_km": "Distance between two places on Earth, from latitude and longitude.",
}


def tool_index() -> Bm25Index[str]:
    return Bm25Index((name, f"{name}\n{text}") for name, text in TOOLS.items())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parseHTTPDates_v2", ["parse", "http", "date", "v", "2"]),
        ("snake_case_name", ["snake", "case", "name"]),
        ("classes, queries; status!", ["class", "query", "status"]),
        ("Über Straße", ["über", "strasse"]),
        ("as its bus", ["as", "its", "bus"]),
        ("", []),
        ("__ -- \n", []),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("how many days are there between two dates", "days_between"),
        ("distance from latitude and longitude", "haversine_km"),
        ("roman numerals", "romanNumeral"),
        ("count words in a text", "word_frequencies"),
        ("iso date", "parse_iso_date"),
        ("SLUG for a title", "slugify_title"),
        ("median", "median"),
    ],
)
def test_the_best_match_comes_first(query: str, best: str) -> None:
    assert tool_index().search(query, 3)[0] == best


def test_only_what_shares_a_word_is_found() -> None:
    assert tool_index().search("compile kernel modules", 10) == []
    assert tool_index().search("", 10) == []
    assert tool_index().search("fibonacci", 10) == ["fibonacci"]
    assert Bm25Index[str]().search("anything", 10) == []


def test_equal_matches_are_in_the_order_of_their_names() -> None:
    index = Bm25Index((name, "the same text") for name in ["c", "a", "b"])

    assert index.search("text", 10) == ["a", "b", "c"]
    assert index.search("text", 2) == ["a", "b"]


def test_a_rare_word_outweighs_a_common_one() -> None:
    documents = [(f"common_{number}", "number value list") for number in range(20)]
    index = Bm25Index([*documents, ("rare", "number haversine list")])

    assert index.search("number haversine", 1) == ["rare"]


def test_documents_come_and_go() -> None:
    index = tool_index()
    index.add("median", "Now it is about llamas.")
    index.remove("fibonacci")
    index.remove("never there")

    assert index.search("llamas", 1) == ["median"]
    assert index.search("fibonacci middle", 10) == []
    assert "fibonacci" not in index
    assert len(index) == len(TOOLS) - 1


words = st.sampled_from(["date", "count", "word", "list", "number", "parse"])
documents = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d", "e"]), st.lists(words, max_size=8).map(" ".join)
)


@unhurried
@given(documents, documents, words)
def test_coming_and_going_leaves_no_trace(
    stay: dict[str, str], gone: dict[str, str], query: str
) -> None:
    index: Bm25Index[str] = Bm25Index(gone.items())
    for key in gone:
        index.remove(key)
    for key, text in stay.items():
        index.add(key, text)

    assert index.ranked(query, 10) == Bm25Index(stay.items()).ranked(query, 10)
    assert all(score > 0 for _, score in index.ranked(query, 10))


def test_what_is_searched_of_a_tool() -> None:
    code = 'def double(number):\n    """Multiply by two.\n\n    Also for zebras."""\n    return 1\n'
    schema = make_schema(
        properties={
            "price_list": {
                "type": "array",
                "description": "What things cost.",
                "items": {
                    "type": "object",
                    "properties": {"currency": {"type": "string", "description": "Such as EUR."}},
                },
            },
            "either": {"anyOf": [{"type": "null", "description": "Perhaps nothing."}]},
        }
    )

    found = terms(searchable_text(make_source(code=code), schema))

    assert {"zebra", "price", "cost", "currency", "eur", "perhap", "either"} <= set(found)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('def double(x):\n    """Two."""\n', "Two."),
        ("async def double(x):\n    '''Two.'''\n", "Two."),
        ("def double(x):\n    return 2\n", ""),
        ('"""Module."""\ndef other(): pass\n', ""),
        ('def double(x):\n    """never closed', "never closed"),
        ("", ""),
        ("(" * 10_000, ""),
    ],
)
def test_docstrings_are_found_without_parsing(code: str, expected: str) -> None:
    assert docstring(ToolSource(name="double", description="", code=code)) == expected

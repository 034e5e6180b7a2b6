# ruff: noqa: E501  a sample of code, or a message, is one row of its table
from __future__ import annotations

import ast
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator
from proposals import CLEAN, analysed, errors, findings, proposal, rules

from policies.extraction import extract_schema
from policies.schema import ToolSchema
from policies.validation import validate

DEFINITIONS = '''
import enum
import typing as t
import collections
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum, auto
from typing import *

class Colour(Enum):
    RED = "red"
    BLUE = "blue"

class Level(IntEnum):
    LOW = auto()
    HIGH = auto()

class Mode(StrEnum):
    FAST = auto()

class Place(TypedDict):
    """A place.

    Args:
        name: What it is called.
    """
    name: str
    height: NotRequired[float]

class Partial(TypedDict, total=False):
    a: Required[int]
    b: str

class Sub(Place):
    zip: int

@dataclass
class Point:
    x: float
    y: float = 0.0
    """How high."""
    tags: list[str] = field(default_factory=list)
    must: int = field(metadata={})
    kind: ClassVar[int] = 1

class Pair(NamedTuple):
    left: int
    right: str

Short = collections.namedtuple("Short", "a b")
Quick = TypedDict("Quick", {"a": int})
Vector = list[float]
UserId = NewType("UserId", int)
Tree: TypeAlias = "dict[str, Tree]"
class Plain: pass
'''


def schema_of(code: str, name: str = "f") -> ToolSchema:
    schema, _ = extract_schema(ast.parse(code), proposal(code, name=name))
    assert schema is not None
    for part in (schema.parameters, schema.returns):
        Draft202012Validator(part)
    return schema


def annotated(annotation: str) -> Any:
    """The schema of a parameter with this annotation."""
    code = f"{DEFINITIONS}\ndef f(x: {annotation}) -> None: ..."
    return schema_of(code).parameters["properties"]["x"]  # type: ignore[index, call-overload]


def returned(annotation: str) -> Any:
    return schema_of(f"{DEFINITIONS}\ndef f() -> {annotation}: ...").returns


INTEGER = {"type": "integer"}
STRING = {"type": "string"}
NUMBER = {"type": "number"}
PLACE: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {**STRING, "description": "What it is called."}, "height": NUMBER},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("int", INTEGER),
        ("float", NUMBER),
        ("str", STRING),
        ("bool", {"type": "boolean"}),
        ("None", {"type": "null"}),
        ("'int'", INTEGER),
        ("'list[\"int\"]'", {"type": "array", "items": INTEGER}),
        ("list[int]", {"type": "array", "items": INTEGER}),
        ("List[float]", {"type": "array", "items": NUMBER}),
        (
            "t.List[t.Optional[str]]",
            {"type": "array", "items": {"anyOf": [STRING, {"type": "null"}]}},
        ),
        ("Seq[int]", {"type": "array", "items": INTEGER}),
        ("Iterable[str]", {"type": "array", "items": STRING}),
        ("dict[str, int]", {"type": "object", "additionalProperties": INTEGER}),
        (
            "Mapping[str, list[int]]",
            {"type": "object", "additionalProperties": {"type": "array", "items": INTEGER}},
        ),
        (
            "dict[Literal['a', 'b'], int]",
            {
                "type": "object",
                "additionalProperties": INTEGER,
                "propertyNames": {"enum": ["a", "b"]},
            },
        ),
        ("Counter[str]", {"type": "object", "additionalProperties": INTEGER}),
        ("tuple[int, ...]", {"type": "array", "items": INTEGER}),
        (
            "Tuple[int, str]",
            {
                "type": "array",
                "prefixItems": [INTEGER, STRING],
                "items": False,
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        ("tuple[()]", {"type": "array", "maxItems": 0}),
        ("int | str", {"anyOf": [INTEGER, STRING]}),
        ("Union[int, str, int]", {"anyOf": [INTEGER, STRING]}),
        ("int | None | str", {"anyOf": [INTEGER, {"type": "null"}, STRING]}),
        ("Optional[int]", {"anyOf": [INTEGER, {"type": "null"}]}),
        ("Union[int]", INTEGER),
        ("int | Any", {}),
        ("Literal['a', 'b']", {"type": "string", "enum": ["a", "b"]}),
        ("Literal[1, True, 'x', None]", {"enum": [1, True, "x", None]}),
        ("Literal[-1]", {"type": "integer", "enum": [-1]}),
        ("Literal[Colour.RED]", {"type": "string", "enum": ["red"]}),
        ("Colour", {"type": "string", "enum": ["red", "blue"]}),
        ("Level", {"type": "integer", "enum": [1, 2]}),
        ("Mode", {"type": "string", "enum": ["fast"]}),
        ("Place", PLACE),
        (
            "Sub",
            {
                **PLACE,
                "properties": {**PLACE["properties"], "zip": INTEGER},
                "required": ["name", "zip"],
            },
        ),
        (
            "Partial",
            {
                "type": "object",
                "properties": {"a": INTEGER, "b": STRING},
                "required": ["a"],
                "additionalProperties": False,
            },
        ),
        (
            "Quick",
            {
                "type": "object",
                "properties": {"a": INTEGER},
                "required": ["a"],
                "additionalProperties": False,
            },
        ),
        (
            "Point",
            {
                "type": "object",
                "properties": {
                    "x": NUMBER,
                    "y": {**NUMBER, "description": "How high."},
                    "tags": {"type": "array", "items": STRING},
                    "must": INTEGER,
                },
                "required": ["x", "must"],
                "additionalProperties": False,
            },
        ),
        (
            "Pair",
            {
                "type": "array",
                "prefixItems": [INTEGER, STRING],
                "items": False,
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        ("Vector", {"type": "array", "items": NUMBER}),
        ("UserId", INTEGER),
        ("Annotated[int, 'How many.']", {**INTEGER, "description": "How many."}),
        ("Annotated[int, Ge(1), Le(9)]", {**INTEGER, "minimum": 1, "maximum": 9}),
        ("Annotated[list[int], MinLen(1)]", {"type": "array", "items": INTEGER, "minItems": 1}),
        ("list", {"type": "array"}),
        ("dict", {"type": "object"}),
        ("Any", {}),
        ("Final[int]", INTEGER),
    ],
)
def test_annotations_become_schemas(annotation: str, expected: dict[str, Any]) -> None:
    assert annotated(annotation) == expected


def test_a_returned_record_has_all_of_its_fields() -> None:
    assert returned("Point")["required"] == ["x", "y", "tags", "must"]


@pytest.mark.parametrize(
    ("annotation", "rule"),
    [
        ("set[int]", "SC107"),
        ("frozenset", "SC107"),
        ("bytes", "SC107"),
        ("complex", "SC107"),
        ("datetime.date", "SC107"),
        ("Decimal", "SC107"),
        ("Callable[[int], int]", "SC107"),
        ("Iterator[int]", "SC107"),
        ("dict[int, str]", "SC107"),
        ("Plain", "SC107"),
        ("list", "SC105"),
        ("Dict", "SC105"),
        ("Any", "SC105"),
        ("object", "SC105"),
        ("np.ndarray", "SC106"),
        ("1 + 1", "SC106"),
        ("'not python ('", "SC106"),
        ("Literal[b'a']", "SC106"),
        ("Tree", "SC114"),
        ("Colour", "SC108"),
        ("Point", "SC108"),
        ("Pair", "SC108"),
    ],
)
def test_annotations_that_say_too_little_are_findings(annotation: str, rule: str) -> None:
    code = f"{DEFINITIONS}\ndef f(x: {annotation}) -> None: ..."
    _, found = extract_schema(ast.parse(code), proposal(code, name="f"))

    assert rule in {f.rule for f in found}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is of 3.12")
def test_a_type_statement_is_an_alias() -> None:
    code = "type Vector = list[float]\ndef f(x: Vector) -> Vector: ..."
    assert schema_of(code).returns == {"type": "array", "items": NUMBER}


@pytest.mark.parametrize(
    ("code", "function"),
    [
        ("def f(): ...\ndef g(): ...", "f"),
        ("async def f(): ...", "f"),
        ("def F(): ...\ndef g(): ...", "F"),
        ("def _f(): ...\ndef g(): ...", "_f"),
        ("def g(): ...\ndef h(): ...\nf = g", "f"),
        ("def only(): ...\ndef _helper(): ...", "only"),
        ("def f(): ...\ndef f(x): ...", "f"),
    ],
)
def test_the_function_that_is_called(code: str, function: str) -> None:
    assert schema_of(code).function == function


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("x = 1", "SC101"),
        ("class f: pass", "SC101"),
        ("f = lambda: 1", "SC101"),
        ("def a(): ...\ndef b(): ...", "SC102"),
        ("def a(): ...\nf = 1", "SC101"),
        ("if True:\n    def f(): ...", "SC101"),
    ],
)
def test_no_function_is_guessed(code: str, rule: str) -> None:
    schema, found = extract_schema(ast.parse(code), proposal(code, name="f"))

    assert schema is None
    assert [f.rule for f in found] == [rule]


def test_defaults_make_parameters_optional() -> None:
    code = """
LIMIT = 3
from enum import Enum
class Colour(Enum):
    RED = "red"
def f(a, b=1, c="x", d=(1, 2), e=LIMIT, g=[], h=-1.5, i=None, *, j, k={"a": [1]}, l=Colour.RED): ...
"""
    parameters = schema_of(code).parameters
    properties = parameters["properties"]
    assert isinstance(properties, dict)

    assert parameters["required"] == ["a", "j"]
    assert {n: p["default"] for n, p in properties.items() if "default" in p} == {  # type: ignore[operator, index, call-overload]
        "b": 1,
        "c": "x",
        "d": [1, 2],
        "g": [],
        "h": -1.5,
        "i": None,
        "k": {"a": [1]},
        "l": "red",
    }


def test_a_default_of_none_widens_the_type() -> None:
    code = "def f(a: int = None, b: int | str = None) -> None: ..."
    assert schema_of(code).parameters["properties"] == {
        "a": {"anyOf": [INTEGER, {"type": "null"}], "default": None},
        "b": {"anyOf": [INTEGER, STRING, {"type": "null"}], "default": None},
    }


@pytest.mark.parametrize(
    "docstring",
    [
        "Do.\n\n    Args:\n        a (int): How many.\n\n    Raises:\n        ValueError: If not.\n        json.JSONDecodeError: Else.\n    ",
        "Do.\n\n    :param a: How many.\n    :raises ValueError: If not.\n    :raises JSONDecodeError: Else.\n    ",
        "Do.\n\n    Parameters\n    ----------\n    a : int\n        How many.\n\n    Raises\n    ------\n    ValueError\n        If not.\n    JSONDecodeError\n        Else.\n    ",
    ],
    ids=["google", "sphinx", "numpy"],
)
def test_docstrings_describe(docstring: str) -> None:
    schema = schema_of(f'def f(a: int) -> int:\n    """{docstring}"""\n')

    assert schema.parameters["properties"] == {"a": {**INTEGER, "description": "How many."}}
    assert schema.raises == ("ValueError", "JSONDecodeError")


def test_descriptions_are_short_printable_lines() -> None:
    text = "a\\u202e" + "b" * 400
    code = f'def f(a: int) -> int:\n    """Do.\n\n    Args:\n        a: {text}\n    """\n'
    properties = schema_of(code).parameters["properties"]
    assert isinstance(properties, dict)
    description = properties["a"]["description"]  # type: ignore[index, call-overload]

    assert isinstance(description, str)
    assert len(description) <= 300
    assert description.isprintable()


@pytest.mark.parametrize(
    "test",
    [
        'mode == "fast" or mode == "slow"',
        'mode in ("fast", "slow")',
        'mode not in ["fast", "slow"]',
        'mode != "fast" and mode != "slow"',
    ],
)
def test_a_closed_set_of_strings_is_noticed(test: str) -> None:
    code = f"def count_words(mode: str) -> bool:\n    return {test}\n"
    (finding,) = [f for f in findings(code) if f.rule == "SC111"]

    assert 'Literal["fast", "slow"]' in finding.suggestion


def test_a_match_over_strings_is_noticed() -> None:
    code = 'def count_words(m: str) -> int:\n    match m:\n        case "a" | "b":\n            return 1\n    return 2\n'
    assert "SC111" in rules(code)


def test_an_example_is_checked_against_the_schema() -> None:
    found = findings(
        examples=[
            {"arguments": {"text": 1}, "returns": 2},
            {"arguments": {}, "returns": 2},
            {"arguments": {"text": "a", "txt": "b"}, "returns": True},
        ]
    )

    assert [(f.rule, f.message) for f in found] == [
        ("SC201", "the arguments of example 1 do not fit: text: expected string, got 1 (integer)"),
        (
            "SC201",
            "the arguments of example 2 do not fit: the value: 'text' is missing, expected string",
        ),
        (
            "SC201",
            "the arguments of example 3 do not fit: the value: unexpected 'txt'; did you mean 'text'?",
        ),
        (
            "SC202",
            "the result of example 3 is not of the declared type: the value: expected integer, got true (boolean)",
        ),
    ]


@pytest.mark.parametrize(
    ("value", "schema", "fits"),
    [
        (1, INTEGER, True),
        (1.0, INTEGER, True),
        (1.5, INTEGER, False),
        (True, INTEGER, False),
        (10**30, INTEGER, True),
        (1, NUMBER, True),
        (True, NUMBER, False),
        (float("nan"), NUMBER, False),
        (None, {"type": "null"}, True),
        ("\ud800", STRING, False),
        ([1, "a"], {"prefixItems": [INTEGER, STRING], "items": False}, True),
        ([1, "a", 2], {"prefixItems": [INTEGER, STRING], "items": False}, False),
        ("c", {"enum": ["a", "b"]}, False),
        (1, {}, True),
    ],
)
def test_values_are_validated(value: Any, schema: Any, fits: bool) -> None:
    assert (validate(value, schema) == ()) is fits


@pytest.mark.parametrize("value", ["a\ud800", ["\udfff"], {"\ud800": 1}])
def test_half_a_character_is_no_value(value: Any) -> None:
    (problem,) = validate(value, {})

    assert problem.startswith("the value is not JSON: it holds half of a surrogate pair (\\ud")


def test_problems_are_in_words_with_the_place() -> None:
    schema: Any = {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"anyOf": [INTEGER, {"type": "null"}]}},
            "b": {"type": "string", "enum": ["x", "y"]},
            "c": {**INTEGER, "minimum": 3},
        },
        "required": ["a", "d"],
        "additionalProperties": False,
    }

    assert set(validate({"a": [1, "2\x1b"], "b": "z", "c": 1}, schema)) == {
        r"a[1]: expected integer or null, got " + r'"2\u001b" (string)',
        'b: expected one of "x", "y", got "z" (string)',
        "c: expected at least 3, got 1",
        "the value: 'd' is missing, expected any value",
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    json_values,
    st.sampled_from(
        [annotated(a) for a in ("int", "list[Place]", "Tuple[int, str]", "Point", "Colour")]
    ),
)
def test_no_value_breaks_validation(value: Any, schema: Any) -> None:
    for problem in validate(value, schema):
        assert problem.isprintable()


def test_the_schema_is_plain() -> None:
    text = json.dumps(analysed(CLEAN).model_dump(mode="json"))

    assert "$ref" not in text
    assert "pattern" not in text


def test_an_async_function_is_a_tool() -> None:
    assert errors("async def count_words(text: str) -> int:\n    return 1\n") == []

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from proposals import analysed

from policies.schema import ToolSchema
from policies.source import Example
from policies.validation import validate
from runtime.generate import generate_arguments


def schema_of(parameters: str, definitions: str = "") -> ToolSchema:
    code = f"{definitions}\ndef count_words({parameters}) -> int:\n    return 1\n"
    schema = analysed(code).source_schema
    assert schema is not None
    return schema


def example(**arguments: Any) -> Example:
    return Example(arguments=arguments, returns=1)


SCHEMAS = {
    "numbers": ("a: int, b: float, c: bool", [example(a=1, b=2.0, c=True)]),
    "text": ("a: str, b: str = 'x'", [example(a="hello")]),
    "containers": (
        "a: list[int], b: dict[str, list[str]], c: tuple[int, str], d: tuple[float, ...]",
        [],
    ),
    "choices": ("a: Literal['x', 'y', 'z'], b: int | None, c: str | list[int]", []),
    "unknown": ("a, b, c=1", [example(a=[1, 2], b={"k": [1.5]}, c="x"), example(a=[], b={})]),
    "unknown without examples": ("a, b", []),
    "bare": ("a: list, b: dict", [example(a=["x", 1], b={"q": None})]),
    "bounded": ("a: Annotated[int, Ge(3), Le(9)], b: Annotated[str, MinLen(2), MaxLen(3)]", []),
    "large bounds": ("a: Annotated[int, Ge(5_000_000)], b: Annotated[float, Gt(0), Lt(1)]", []),
}


@pytest.mark.parametrize(("parameters", "examples"), SCHEMAS.values(), ids=SCHEMAS.keys())
def test_arguments_fit_and_are_distinct_and_new(parameters: str, examples: list[Example]) -> None:
    schema = schema_of(parameters)
    made = generate_arguments(schema, examples, count=15, seed=1)

    assert made
    assert len({str(sorted(m.items())) for m in made}) == len(made)
    assert not [m for m in made if m in [e.arguments for e in examples]]
    for arguments in made:
        assert validate(arguments, schema.parameters) == ()


def test_records_are_made() -> None:
    definitions = """
from typing import TypedDict, NotRequired

class P(TypedDict):
    x: int
    y: NotRequired[str]
"""
    made = generate_arguments(schema_of("p: P", definitions), [], count=20, seed=1)

    assert any("y" in m["p"] for m in made)  # type: ignore[operator]
    assert any("y" not in m["p"] for m in made)  # type: ignore[operator]


def test_optional_parameters_are_left_out_sometimes() -> None:
    made = generate_arguments(schema_of("a: int, b: int = 1"), [], count=20, seed=1)

    assert {len(m) for m in made} == {1, 2}


def test_a_seed_decides() -> None:
    schema = schema_of("a: int, b: list[str]")
    one = generate_arguments(schema, [], count=10, seed=1)

    assert one == generate_arguments(schema, [], count=10, seed=1)
    assert one != generate_arguments(schema, [], count=10, seed=2)


def test_another_process_makes_the_same() -> None:
    program = (
        "from policies.schema import ToolSchema; from runtime.generate import generate_arguments;"
        "p = {'type': 'object', 'properties': {'a': {'type': 'integer'}, 'b': {'type': 'string'}},"
        " 'required': ['a', 'b'], 'additionalProperties': False};"
        "s = ToolSchema(function='f', parameters=p, returns={});"
        "print(repr(generate_arguments(s, [], count=12, seed=7)))"
    )
    plain, busy = (
        subprocess.run(
            [sys.executable, "-I", "-c", head + program], capture_output=True, text=True, check=True
        ).stdout
        for head in ("", "import runtime.cli, random; random.seed(5);")
    )

    assert plain == busy


def test_examples_are_varied() -> None:
    examples = [example(a=["alpha", "beta"])]
    made = generate_arguments(schema_of("a: list[str]"), examples, count=30, seed=1)
    words = {word for m in made for word in m["a"]}  # type: ignore[union-attr]

    assert words & {"alpha", "beta", "ALPHA", "lpha", "alph"}


def test_a_small_domain_ends() -> None:
    made = generate_arguments(schema_of("a: bool"), [example(a=True)], count=20, seed=1)

    assert made == ({"a": False},)


def test_nothing_is_made_without_parameters() -> None:
    assert generate_arguments(schema_of(""), [], count=5, seed=1) == ()
    assert generate_arguments(schema_of("a: int"), [], count=0, seed=1) == ()


def test_examples_that_do_not_fit_are_not_varied() -> None:
    made = generate_arguments(schema_of("a: int"), [example(a="x", b=1)], count=5, seed=1)

    assert made

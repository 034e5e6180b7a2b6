"""From a file to a `ToolSource`: nothing of it is run, and hostile text does no harm."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from policies.value import JsonObject
from runtime.cli.toolfile import (
    MAX_INPUT_BYTES,
    looks_like_json,
    parse_json,
    parse_object,
    read_docstrings,
    read_text,
    source_from_json,
    source_from_python,
)
from runtime.errors import UsageError

CODE = '''"""A module about adding."""


def add(a: int, b: int = 2) -> int:
    """Add two numbers.

    They may be negative.

    Args:
        a: One.

    >>> add(1)
    3
    >>> add(1, b=-1)
    0
    >>> add("a", 1)
    Traceback (most recent call last):
        ...
    builtins.TypeError: no
    >>> add(*[1, 2])
    3
    >>> add(open("/etc/passwd"), 1)
    3
    >>> add(1, 2) + 1
    4
    >>> add(1, 3)
    <object>
    """
    return a + b
'''


async def test_name_description_and_examples_come_from_the_docstring() -> None:
    source = await source_from_python(CODE, origin="x/sums.py", overrides={})

    assert source.code == CODE
    assert source.name == "add"
    assert source.description == "Add two numbers. They may be negative."
    assert [example.to_json() for example in source.examples] == [
        {"arguments": {"a": 1}, "returns": 3},
        {"arguments": {"a": 1, "b": -1}, "returns": 0},
        {"arguments": {"a": "a", "b": 1}, "raises": "TypeError"},
    ]


async def test_the_command_line_wins_over_the_docstring() -> None:
    overrides: JsonObject = {
        "name": "plus",
        "description": "Plus.",
        "examples": [{"arguments": {}, "returns": None}],
        "permissions": {"level": "L2"},
    }
    source = await source_from_python(CODE, origin="-", overrides=overrides)

    assert (source.name, source.description, source.permissions.level) == ("plus", "Plus.", "L2")
    assert source.examples[0].returns is None


async def test_the_function_called_like_the_file_is_the_tool() -> None:
    code = "def helper(): pass\ndef main(): pass\ndef _hidden(): pass\n"

    assert (await source_from_python(code, origin="main.py", overrides={})).name == "main"
    with pytest.raises(UsageError, match="helper, main"):
        await source_from_python(code, origin="other.py", overrides={})


@pytest.mark.parametrize(
    "code",
    [
        "def broken(:",
        "(" * 5_000,
        "x = " + "-" * 100_000 + "1",
        "x = " + "[" * 100_000,
        "x = 1" + "+1" * 100_000,
        "\x00",
        "",
        "lambda: " * 20_000,
        "def f():\n    '''\n    >>> f(" + "(" * 50_000 + ")\n    1\n    '''\n",
    ],
    ids=["syntax", "parens", "unary", "lists", "chain", "nul", "empty", "lambdas", "doctest"],
)
async def test_what_cannot_be_parsed_goes_on_to_the_lint_as_it_is(code: str) -> None:
    source = await source_from_python(code, origin="dir/thing.py", overrides={})

    assert source.code == code
    assert source.name in {"thing", "f"}


async def test_nothing_of_the_source_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    code = (
        f"open({str(mark)!r}, 'w')\n"
        f"def f(a=open({str(mark)!r}, 'w')):\n    '''>>> f(open({str(mark)!r}, 'w'))\n    1'''\n"
    )
    await read_docstrings(code)

    assert not mark.exists()


def test_json_has_the_fields_of_a_source() -> None:
    text = json.dumps({"name": "a", "description": "b", "code": "c"})

    assert looks_like_json(f"  {text}")
    source = source_from_json(text, origin="t.json", overrides={"description": "mine"})
    assert (source.name, source.description) == ("a", "mine")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1]", "not a JSON object"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"name": 1}', "`name`"),
        ('{"name": "a", "description": "b", "code": "c", "cod": 1}', "the fields are name"),
        (
            '{"name": "a", "description": "b", "code": "c", "examples": [{"arguments": {}}]}',
            "needs",
        ),
    ],
)
def test_json_that_is_no_source_is_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        source_from_json(text, origin="t.json", overrides={})


@pytest.mark.parametrize(
    "text", ["NaN", '{"a": -Infinity}', '{"a": 1e999}', '"\\ud800"', "[" * 9_999]
)
def test_what_no_canonical_form_could_hold_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not JSON"):
        parse_json(text, origin="x")


def test_arguments_must_be_an_object() -> None:
    assert parse_object('{"a": [1]}', origin="x") == {"a": [1]}
    with pytest.raises(UsageError, match="such as"):
        parse_object("3", origin="ARGUMENTS")


def test_files_are_read_as_bytes_with_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.py"
    file.write_bytes(b"x = 1\r\n")
    assert read_text(str(file)) == "x = 1\r\n"

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"y\r\n")))
    assert read_text("-") == "y\r\n"

    file.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_text(str(file))
    file.write_bytes(b"x" * (MAX_INPUT_BYTES + 1))
    with pytest.raises(UsageError, match="larger"):
        read_text(str(file))
    with pytest.raises(UsageError, match="No such file"):
        read_text(str(tmp_path / "none"))

"""Two texts of one tool have one normal form; two tools that differ in meaning never have."""

from __future__ import annotations

import ast
import io
import keyword
import random
import tokenize

import pytest
from factories import make_schema
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.normal import normal_digest, shape_digest

TOOL = '''
import math as m
from typing import List

LIMIT = 10

def _total(xs):
    "Adds up."
    return sum(x for x in xs if x < LIMIT)

def f(xs: List[int]) -> int:
    """Doc."""
    total: int = 0
    for i, x in enumerate(xs):
        total += m.floor(x) + i  # as it is
    try:
        low, *rest = sorted(xs)
    except ValueError as e:
        raise KeyError(str(e))
    pick = lambda a, b=total: a if a > b else b
    return pick(total) + _total(rest)
'''
SAME = """
from math import floor
import math
TOP = 10
def g(xs):
    acc = 0
    for position, each in enumerate(xs):
        acc += math.floor(each) + position
    try: least, *others = sorted(xs)
    except ValueError as problem:
        raise KeyError(str(problem))
    choose = lambda c, d=acc: c if c > d else d
    return choose(acc) + helper(others)
def helper(items: list):
    return sum(y for y in items if y < TOP)
"""


def form(code: str, function: str = "f") -> str:
    return normal_digest(ast.parse(code), function)


def test_names_of_locals_docstrings_annotations_order_and_layout_do_not_matter():
    assert form(TOOL) == form(SAME, "g")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(a): return a + 1", "def f(a): return a + 2"),
        ("def f(a): return a == 1", "def f(a): return a == True"),
        ("def f(a): return 'x' + a", "def f(a): return 'y' + a"),
        ("def f(a, b): return a - b", "def f(b, a): return a - b"),
        ("def f(a):\n b = a\n c = 1\n return b", "def f(a):\n b = a\n c = 1\n return c"),
        (
            "def f(a): return g(1, 2)\ndef g(x, y): return x - y",
            "def f(a): return g(1, 2)\ndef g(y, x): return x - y",
        ),
        (
            "def f(a): return h(x=1, y=2)\ndef h(x, y): return x",
            "def f(a): return h(x=1, y=2)\ndef h(y, x): return y",
        ),
        (
            "def f(a): return h(**a)\ndef h(x, y): return x",
            "def f(a): return h(**a)\ndef h(y, x): return y",
        ),
        (
            "class A: x = 1\nclass B: x = 2\ndef f(a): return A.x",
            "class A: x = 1\nclass B: x = 2\ndef f(a): return B.x",
        ),
        (
            "def f(a):\n class A: x = 1\n class B: x = 2\n return A.x",
            "def f(a):\n class A: x = 1\n class B: x = 2\n return B.x",
        ),
        (
            "import math as m\nx = m.e\nimport cmath as m\ndef f(a): return x",
            "import cmath as m\nx = m.e\ndef f(a): return x",
        ),
        (
            "def f(a):\n import math as m\n return m.e",
            "def f(a):\n import cmath as m\n return m.e",
        ),
        (
            "def f(a):\n if a:\n  import math as m\n return m.e",
            "def f(a):\n if a:\n  import cmath as m\n return m.e",
        ),
        (
            "def g(): return 1\ng = 2\ndef f(a): return g",
            "g = 2\ndef g(): return 1\ndef f(a): return g",
        ),
        ("def f(a):\n x = a\n return locals()", "def f(a):\n y = a\n return locals()"),
        (
            "x = 1\ndef f(a):\n global x\n x = a\n return x",
            "x = 1\ndef f(a):\n x = a\n return x",
        ),
        (
            "def f(a):\n match a:\n  case [x, y]: return x",
            "def f(a):\n match a:\n  case [y, x]: return x",
        ),
        (
            "def f(a): return [x for x in a for y in x]",
            "def f(a): return [y for x in a for y in x]",
        ),
        ("def f(a): return {x: y for x, y in a}", "def f(a): return {y: x for x, y in a}"),
        ("def f(a): return f'{a}'", "def f(a): return f'{a!r}'"),
        ("def f(a, b=1): return b", "def f(a, b=2): return b"),
        ("def f(a): return g\ndef g(): yield 1", "def f(a): return g\ndef g(): return 1"),
    ],
)
def test_what_differs_in_meaning_differs_in_form(one: str, other: str):
    assert form(one) != form(other)


@settings(max_examples=10)
@given(st.randoms(use_true_random=False))
def test_any_renaming_of_what_is_local_is_the_same(chance: random.Random):
    words = ["total", "i", "x", "e", "low", "rest", "pick", "_total", "LIMIT"]
    fresh = [f"w{number}" for number in chance.sample(range(1000), len(words))]
    names = dict(zip(words, fresh, strict=True))
    tokens = [
        token._replace(string=names.get(token.string, token.string))
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string)
        else token
        for token in tokenize.generate_tokens(io.StringIO(TOOL).readline)
    ]
    renamed = tokenize.untokenize((token.type, token.string) for token in tokens)
    assert form(renamed) == form(TOOL)


def test_the_shape_is_types_and_names_without_words():
    described = make_schema("f", properties={"a": {"type": "integer", "description": "One."}})
    other = make_schema("g", properties={"a": {"type": "integer", "description": "Two."}})
    assert shape_digest(described) == shape_digest(other)
    named = make_schema("g", properties={"description": {"type": "integer"}})
    assert shape_digest(named) != shape_digest(make_schema("g", properties={}))
    texts = make_schema("f", properties={"a": {"type": "string"}})
    assert shape_digest(texts) != shape_digest(described)

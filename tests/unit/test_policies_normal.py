"""Two texts of one tool have one normal form; two tools that differ in meaning never have."""

from __future__ import annotations

import ast
import io
import keyword
import random
import sys
import tokenize
from pathlib import Path

import pytest
from factories import make_schema
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.mutation import mutants_of
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


REGISTRY = "H = []\ndef note(g):\n H.append(g)\n return g\n"
NEXT = "i = iter([1, 2])\ndef f(x): return a()\n"
FIRST = "def f(x): return H[0](x)"
DISPATCH = (
    "from functools import singledispatch\n@singledispatch\ndef s(x): return 0\n"
    "def f(x): return s(x)\n"
)


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
        # Whoever is decorated first is the first in the list.
        (
            f"{REGISTRY}@note\ndef a(x): return x\n@note\ndef b(x): return -x\n{FIRST}",
            f"{REGISTRY}@note\ndef b(x): return -x\n@note\ndef a(x): return x\n{FIRST}",
        ),
        (
            f"{DISPATCH}@s.register\ndef p(x: int): return 1\n@s.register\ndef q(x: str): return 2",
            f"{DISPATCH}@s.register\ndef p(x: str): return 1\n@s.register\ndef q(x: int): return 2",
        ),
        ("def f(x):\n 'one'\n return f.__doc__", "def f(x):\n 'two'\n return f.__doc__"),
        (
            "import typing\ndef f(x: int): return str(typing.get_type_hints(f))",
            "import typing\ndef f(x: str): return str(typing.get_type_hints(f))",
        ),
        (
            f"{NEXT}def a(x=next(i)): return x\ndef b(x=next(i)): return x",
            f"{NEXT}def b(x=next(i)): return x\ndef a(x=next(i)): return x",
        ),
        (
            "try:\n v = g()\nexcept NameError:\n v = 0\ndef g(): return 1\ndef f(x): return v",
            "def g(): return 1\ntry:\n v = g()\nexcept NameError:\n v = 0\ndef f(x): return v",
        ),
        (
            "import sys\ndef f(x):\n y = 1\n return list(sys._getframe().f_locals)",
            "import sys\ndef f(x):\n z = 1\n return list(sys._getframe().f_locals)",
        ),
        ("A = 1\nA = 2\ndef f(x): return A", "A = 2\nA = 1\ndef f(x): return A"),
        (
            "A = [1]\nB = A[:]\nA.append(2)\ndef f(x): return B",
            "A = [1]\nA.append(2)\nB = A[:]\ndef f(x): return B",
        ),
    ],
)
def test_what_differs_in_meaning_differs_in_form(one: str, other: str):
    assert form(one) != form(other)


PARTS = {
    "imports": "import math as m\nimport itertools\nfrom typing import List\n",
    "LIMIT": "LIMIT = 10\n",
    "WORDS": "WORDS = {'low': (1, -2), 'high': [3.5]}\n",
    "small": "def small(items, *, top=10):\n    return [x for x in items if x < top]\n",
    "total": (
        "def total(xs):\n    'Adds up.'\n"
        "    return sum(x for x in small(xs, top=LIMIT)) + WORDS['low'][0]\n"
    ),
    "f": (
        "def f(xs: List[int], start: int = 0) -> int:\n"
        '    """Doc."""\n'
        "    result: int = start\n"
        "    for i, x in enumerate(xs):\n"
        "        result += m.floor(x) + i\n"
        "    try:\n"
        "        low, *rest = sorted(xs)\n"
        "    except ValueError as e:\n"
        "        raise KeyError(str(e))\n"
        "    pick = lambda a, b=result: a if a > b else b\n"
        "    return pick(low) + total(rest) + len(list(itertools.chain(xs)))\n"
    ),
}
TOLD = "".join(PARTS.values())
LOCALS = ("result", "i", "x", "e", "rest", "pick", "total", "small", "LIMIT", "WORDS")
SPELLINGS = {
    "xs: List[int], start: int = 0": ("xs: list[int], start: int = 0", "xs, start=0"),
    " -> int": (" -> 'int'", ""),
    "'Adds up.'": ("'Sums up, with care.'", "pass", "'''Other.'''"),
    '"""Doc."""': ("'Said otherwise.'", "pass"),
    "result: int = start": ("result = start",),
}


def retold(chance: random.Random) -> str:
    """The same tool in other words: parts in another order, other names, spellings, layout."""
    first, *others = PARTS
    code = "".join(PARTS[name] for name in (first, *chance.sample(others, len(others))))
    for said, instead in SPELLINGS.items():
        code = code.replace(said, chance.choice((said, *instead)))
    names = {each: f"w{chance.randrange(10**6)}_{each}" for each in LOCALS if chance.random() < 0.7}
    tokens = [
        token._replace(string=names.get(token.string, token.string))
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string)
        else token
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
    ]
    lines = tokenize.untokenize((token.type, token.string) for token in tokens).splitlines()
    remarks = ("", "", "  # a remark", "\n", "\n# a line of its own\n")
    return "\n".join(line + chance.choice(remarks) for line in lines)


@settings(max_examples=15)
@given(st.randoms(use_true_random=False))
def test_the_same_tool_in_other_words_has_the_same_form(chance: random.Random):
    assert form(retold(chance)) == form(TOLD)


def test_no_small_mistake_has_the_form_of_what_is_right():
    wrong = {form(mutant.code) for mutant in mutants_of(TOLD, 1_000, "any")}
    assert len(wrong) > 30
    assert form(TOLD) not in wrong


def test_what_nobody_uses_does_not_matter():
    used = "def g(a): return a\ndef f(a): return g(a)\n"
    assert form(f"X = 5\ndef h(a): return h(X)\n{used}") == form(used)
    assert form(f"X = print(5)\n{used}") != form(used)


def test_the_shape_is_types_and_names_without_words():
    described = make_schema("f", properties={"a": {"type": "integer", "description": "One."}})
    other = make_schema("g", properties={"a": {"type": "integer", "description": "Two."}})
    assert shape_digest(described) == shape_digest(other)
    named = make_schema("g", properties={"description": {"type": "integer"}})
    assert shape_digest(named) != shape_digest(make_schema("g", properties={}))
    texts = make_schema("f", properties={"a": {"type": "string"}})
    assert shape_digest(texts) != shape_digest(described)

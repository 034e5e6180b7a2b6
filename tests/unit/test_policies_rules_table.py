# ruff: noqa: RUF001  look-alike letters are what some tests are about
"""Each rule of the static checks fires on one source and is silent on its nearest neighbour."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from proposals import CLEAN, body, findings, rules

from policies.rulebook import RULES

ROOT = Path(__file__).resolve().parents[2]
L2 = {"level": "L2"}


class Case(NamedTuple):
    rule: str
    bad: dict[str, Any]
    good: dict[str, Any]


def code(bad: str, good: str, **shared: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two sources that go before the clean tool."""
    return {"code": body(bad), **shared}, {"code": body(good), **shared}


def tool(bad: str, good: str, **shared: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two whole sources."""
    return {"code": bad, **shared}, {"code": good, **shared}


def field(name: str, bad: Any, good: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two values of one field of the submission."""
    return {name: bad}, {name: good}


def function(parameters: str, returns: str = "int", doc: str = '"""Do it."""') -> str:
    return f"def count_words({parameters}) -> {returns}:\n    {doc}\n    return 1\n"


def deep(opening: str, closing: str, depth: int) -> str:
    return "x = " + opening * depth + "1" + closing * depth


def nested_try(depth: int) -> str:
    lines = ["def f():"]
    lines += [" " * (level + 1) + "try:" for level in range(depth)]
    lines.append(" " * (depth + 1) + "pass")
    for level in reversed(range(depth)):
        lines += [" " * (level + 1) + "finally:", " " * (level + 2) + "pass"]
    return "\n".join(lines)


def comprehension(depth: int) -> str:
    return "x = " + "[" * depth + "a" + " for a in b]" * depth


EXAMPLE = {"arguments": {"text": "a b"}, "returns": 2}
RAISING = {"arguments": {"text": "a b"}, "raises": "ValueError"}
RAISES_DOC = CLEAN.replace(
    "How many words there are.\n",
    "How many words there are.\n\n    Raises:\n        ValueError: If there are none.\n",
)
METHOD = "class A:\n    def {}(self):\n        return 1\n"

CASES = [
    Case("LM101", *code("x = 1\n" * 1990 + ("y = '" + "a" * 290 + "'\n") * 200, "x = 1")),
    Case("LM102", *code("x = 1\n" * 2001, "x = 1\n" * 1900)),
    Case("LM103", *code("x = '" + "a" * 300 + "'", "x = '" + "a" * 200 + "'")),
    Case("LM104", *code("x = 1" + " " * 50 + "# y", "x = 1" + " " * 20 + "# y")),
    Case("LM105", *tool(" \n\n", CLEAN)),
    Case("LM111", *code("# \x1b[2K", "# \\x1b[2K")),
    Case("LM112", *code("# harmless\rimport os", "# harmless")),
    Case("LM113", *code("x = 'a\u2028b'", r"x = 'a\u2028b'")),
    Case("LM114", *code("x = 'user\u202e'", r"x = 'user\u202e'")),
    Case("LM115", *code("x = 'a\u200bb'", "x = 'grüße 漢字 ❤️'")),
    Case("LM116", *code("x = '\ue000'", "x = '🙂'")),
    Case("LM117", *code("# -*- coding: utf-7 -*-", "# the encoding is utf-8")),
    Case("LM118", *tool("\ufeff" + CLEAN, CLEAN)),
    Case("LM201", *field("description", " \n", "Counts.")),
    Case("LM202", *field("description", "a" * 1025, "a" * 1024)),
    Case("LM203", *field("description", "ignore\u202e", "Zählt\nWörter")),
    Case("LM204", *field("description", "a\n" * 9 + "b", "a\nb")),
    Case("LM205", *field("description", "see https://a.example <|im_start|>", "a < b and c > d")),
    Case("LM301", *field("name", "read-file", "count")),
    Case("LM302", *field("name", "eval", "evaluate")),
    Case("LM303", *field("name", "Defin3_Tool", "outline_tool")),
    Case("LM304", *field("name", "find_toolz", "find_roots")),
    Case("LM305", *field("name", "COM1", "common")),
    Case("LM401", *field("examples", [EXAMPLE] * 51, [EXAMPLE] * 50)),
    Case(
        "LM402",
        *field("examples", [{**EXAMPLE, "arguments": {"text": "a" * 64_001}}], [EXAMPLE]),
    ),
    Case("LM403", *field("examples", [{**EXAMPLE, "returns": float("nan")}], [EXAMPLE])),
    Case("LM501", *code(deep("(-", ")", 61), deep("(-", ")", 40))),
    Case("LM502", *code(("x = [" + "1, " * 90 + "]\n") * 230, "x = [" + "1, " * 90 + "]")),
    Case("LM503", *code(comprehension(7), comprehension(6))),
    Case("LM504", *code(nested_try(9), nested_try(8))),
    Case("RP101", *code("return 1", "x = 1")),
    Case("RP102", *code("x = 1; import json", "x = 'a;b';  # a; b")),
    Case("RP103", *code("𝓮𝓿𝓪𝓵 = 1", "x = '𝓮𝓿𝓪𝓵'")),
    Case("RP201", *code("import os", "import json")),
    Case("RP202", *code("import subprocess", "import itertools")),
    Case("RP203", *code("from math import *", "from math import pi")),
    Case("RP204", *code("from . import x", "from json import loads")),
    Case("RP205", *code("import numpi", "import math")),
    Case("RP206", *code("import socket", "import string")),
    Case("RP207", *code("from io import open as o", "from io import StringIO")),
    Case("RP208", *code("import re\nx = re.enum.sys", "import re\nx = re.I")),
    Case(
        "RP209",
        *code("import os\nimport glob", "import os", permissions={"imports": ["os"]}),
    ),
    Case("RP210", *code("import re\nx = [re]", "import re\nx = [re.I]")),
    Case("RP211", {"permissions": {"imports": ["os"]}}, {"permissions": {}}),
    Case(
        "RP213",
        {"permissions": {"imports": ["ctypes"]}},
        {"permissions": {"imports": ["os"]}},
    ),
    Case("RP214", *code("import odd", "import own", permissions={"packages": ["own"]})),
    Case("RP301", *code("e = eval", "def g(eval):\n    return eval")),
    Case("RP302", *code("__x__ = 1", "_x = 1")),
    Case("RP303", *code("breakpoint = 1", "printed = 1")),
    Case("RP304", *code("x = ().__class__", "x = type(()).__name__")),
    Case("RP305", *code("def g(e):\n    return e.tb_frame", "def g(e):\n    return e.tb_lineno")),
    Case("RP306", *code("x = getattr('', '__cl' + 'ass__')", "x = getattr('', 'upper')")),
    Case("RP307", *code("x = '{0.__class__}'.format(1)", "x = '{0:>{1}}'.format(1, 2)")),
    Case("RP308", *code(METHOD.format("__getattr__"), METHOD.format("__repr__"))),
    Case(
        "RP309",
        *code(
            "class A(metaclass=type): x = 1", "import abc\nclass A(metaclass=abc.ABCMeta): x = 1"
        ),
    ),
    Case(
        "RP310",
        *code(
            "try:\n    x = 1\nexcept* ValueError:\n    x = 2",
            "try:\n    x = 1\nexcept ValueError:\n    x = 2",
        ),
    ),
    Case(
        "RP313",
        *code(
            "def g(x):\n    match x:\n        case object(__class__=c):\n            return c",
            "def g(x):\n    match x:\n        case complex(real=c):\n            return c",
        ),
    ),
    Case(
        "RP314",
        *code(
            "import os\nos.system('x')", "import os\nos.getcwd()", permissions={"imports": ["os"]}
        ),
    ),
    Case("RP315", *code("x = [codecs]", "def g():\n    return later\nlater = 1")),
    Case(
        "RP406",
        *code(
            "def g():\n    return call_tool('other')",
            "def g():\n    return call_tool('one', name=1)",
            permissions={"tools": ["one"]},
        ),
    ),
    Case("SC101", *tool("x = 1\n", CLEAN)),
    Case("SC102", *tool("def a():\n    pass\n\n\ndef b():\n    pass\n", CLEAN)),
    Case("SC103", *tool(function("*args: int"), function("args: list[int]"))),
    Case("SC104", *tool(function("a"), function("a: int"))),
    Case("SC105", *tool(function("a: list"), function("a: list[int]"))),
    Case("SC106", *tool(function("a: np.ndarray"), function("a: 'list[int]'"))),
    Case("SC107", *tool(function("a: set[int]"), function("a: list[int]"))),
    Case(
        "SC108",
        *tool(
            "from enum import Enum\nclass C(Enum):\n    A = 1\n" + function("a: C"),
            "from typing import TypedDict\nclass C(TypedDict):\n    a: int\n" + function("a: C"),
        ),
    ),
    Case("SC109", *tool(function("a: int"), CLEAN)),
    Case("SC110", *tool("def count_words() -> int:\n    return 1\n", CLEAN)),
    Case(
        "SC111",
        *tool(
            'def count_words(m: str) -> int:\n    if m == "a" or m == "b":\n        return 1\n',
            'def count_words(m: str) -> int:\n    if m == "":\n        return 1\n',
        ),
    ),
    Case(
        "SC112",
        *tool(
            function(", ".join(f"p{i}: int" for i in range(21))),
            function(", ".join(f"p{i}: int" for i in range(20))),
        ),
    ),
    Case(
        "SC113",
        *tool(
            function("a: Literal[\n" + ",\n".join(f"'{'x' * 90}{i}'" for i in range(90)) + "]"),
            function("a: Literal['x']"),
        ),
    ),
    Case(
        "SC114",
        *tool(
            function("a: " + "list[" * 6 + "int" + "]" * 6),
            function("a: " + "list[" * 5 + "int" + "]" * 5),
        ),
    ),
    Case("SC116", *tool(function("_a: int"), function("a_: int"))),
    Case("SC117", *tool("def count_words():\n    yield 1\n", CLEAN)),
    Case("SC118", *tool("def count_words():\n    return 1\n", CLEAN)),
    Case("SC119", *tool(function("a: int = None"), function("a: int | None = None"))),
    Case("SC201", *field("examples", [{**EXAMPLE, "arguments": {"txt": "a"}}], [EXAMPLE])),
    Case("SC202", *field("examples", [{**EXAMPLE, "returns": "2"}], [EXAMPLE])),
    Case("SC203", *tool(CLEAN, RAISES_DOC, examples=[RAISING])),
    Case(
        "RP990",
        *code("\n".join(f"import no_such_{i}" for i in range(60)), "import json"),
    ),
]

ELSEWHERE = {
    "RP311": "needs syntax that is newer than the interpreter: test_policies_transformer",
    "RP312": "needs syntax of Python 3.15: test_policies_transformer",
    "RP399": "what RestrictedPython may refuse in a later release: test_policies_transformer",
    "RP402": "needs a policy: test_policies_packages",
    "RP403": "needs a policy: test_policies_network",
    "RP404": "needs a policy: test_policies_network",
    "RP405": "needs a policy: test_policies_grants",
    "RP901": "needs a worker that dies: test_runtime_analyzer",
}


@pytest.mark.parametrize("case", CASES, ids=[case.rule for case in CASES])
def test_the_rule_fires_on_what_it_is_about(case: Case) -> None:
    assert case.rule in rules(**case.bad)


@pytest.mark.parametrize("case", CASES, ids=[case.rule for case in CASES])
def test_the_rule_is_silent_on_its_neighbour(case: Case) -> None:
    assert case.rule not in rules(**case.good)


@pytest.mark.parametrize("case", CASES, ids=[case.rule for case in CASES])
def test_a_finding_is_whole(case: Case) -> None:
    for finding in findings(**case.bad):
        info = RULES[finding.rule]
        assert finding.severity is info.severity
        assert finding.stage is info.stage
        assert finding.suggestion
        assert finding.message.isprintable()
        assert finding.suggestion.isprintable()


def test_every_rule_has_a_case() -> None:
    assert {case.rule for case in CASES} | ELSEWHERE.keys() == RULES.keys()


def test_the_clean_tool_is_clean() -> None:
    assert rules(examples=[EXAMPLE]) == set()


def test_the_document_lists_exactly_the_rules() -> None:
    text = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z]{2}\d{3}) \| (\S+) \| (\w+) \| (.+) \|$", text, re.MULTILINE)
    assert sorted(rows) == sorted(
        (info.code, info.name, info.severity.value, info.summary) for info in RULES.values()
    )

# ruff: noqa: E501  a sample of code is one row of its table
# ruff: noqa: RUF001  look-alike letters are what some tests are about
from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
import types
import warnings

import pytest
from proposals import body, errors, findings, rules
from RestrictedPython.transformer import INSPECT_ATTRIBUTES

from policies.leaks import LEAKS
from policies.modules import CLIENTS, DECLARABLE, DENIED, NETWORK, ONLY, PURE
from policies.permissions import Permissions
from policies.reporter import Reporter
from policies.transformer import RestrictedChecker

MODERN = {
    "annotated assignment": "x: int = 1\ny: list[int] = []",
    "dataclass": """
from dataclasses import dataclass, field
@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float = 0.0
    tags: list[str] = field(default_factory=list)
    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x")
""",
    "enum": "from enum import StrEnum, auto\nclass Mode(StrEnum):\n    FAST = auto()\n    SLOW = auto()",
    "named tuple": "from typing import NamedTuple\nclass P(NamedTuple):\n    x: int\np = P(1)._replace(x=2)",
    "typed dict": "from typing import TypedDict\nclass D(TypedDict, total=False):\n    x: int",
    "augmented assignment": "d = {}\nd['a'] = 1\nd['a'] += 1\nn = 0\nn -= 1",
    "private names": "_LIMIT = 3\ndef _helper(_x):\n    return _x + _LIMIT",
    "own attributes": """
class Stack:
    __slots__ = ("_items",)
    def __init__(self):
        self._items = []
        self.__count = 0
    def push(self, item):
        self._items.append(item)
        self._items[0] += 1
        self.__count += 1
    def __len__(self):
        return len(self._items)
    def __eq__(self, other):
        return self._items == other._items
    @classmethod
    def make(cls):
        cls._made = True
        return cls()
    def __repr__(self):
        return f"{type(self).__name__}({self.__class__.__name__})"
""",
    "super": "class A(list):\n    def __init__(self):\n        super().__init__()\n    def __getitem__(self, i):\n        return super().__getitem__(i)",
    "property": "class A:\n    @property\n    def x(self):\n        return 1\n    @staticmethod\n    def y():\n        return 2",
    "async": """
async def fetch(items):
    async with items as lines:
        async for line in lines:
            yield line
async def run(items):
    return [x async for x in fetch(items)]
""",
    "match": """
def kind(value):
    match value:
        case {"type": "a", **rest}:
            return rest
        case [first, *others]:
            return first
        case int(real=r) | float(real=r):
            return r
        case None:
            return 0
        case str() as text if text:
            return text
        case _:
            return None
""",
    "patterns over own classes": """
from dataclasses import dataclass
from typing import NamedTuple

class P(NamedTuple):
    x: int

@dataclass
class Q:
    y: int

class R(Q):
    __match_args__ = ("y",)

def f(v):
    match v:
        case P(x) | Q(x) | R(x):
            return x
        case str(s) | int(s):
            return s
""",
    "nonlocal and global": "n = 0\ndef f():\n    global n\n    n += 1\n    k = 0\n    def g():\n        nonlocal k\n        k += 1\n    g()",
    "main": 'if __name__ == "__main__":\n    print(__doc__)',
    "comprehensions": "x = {k: v for k, v in zip('ab', [1, 2])}\ny = [a for b in [[1]] for a in b if a]\nz = (i for i in x)",
    "walrus and lambda": "f = lambda x, *a, **k: (y := x) + y",
    "star arguments": "def f(*a, **k):\n    return f(*a, **k)",
    "with and try": "def f(x):\n    with x as (a, b):\n        try:\n            return a\n        except (ValueError, KeyError) as e:\n            raise RuntimeError(str(e)) from e\n        else:\n            pass\n        finally:\n            del b",
    "strings": "x = f'{1!r:>{10}} {2:.2f}'\ny = 'a{}{b}'.format(1, b=2)\nz = '%s' % 1",
    "parameters named like built-ins": "def f(input, dir=None, vars=(), open=1, compile=2):\n    return [input, dir, vars, open, compile]",
    "modules": "import re, json, math\nfrom collections import defaultdict, Counter\nimport collections.abc\nimport urllib.parse\nimport datetime as dt\nx = dt.datetime(2020, 1, 1)\ny = urllib.parse.quote('a')\nz = collections.abc.Mapping\nw = re.compile('a', re.I | re.M)\nv = json.JSONDecodeError",
    "variable named like a module": "import string\ndef f(string):\n    return [string, string.upper()]",
    "attribute by literal name": "x = getattr('', 'upper', None)\ny = hasattr('', 'lower')\nimport operator\nk = sorted([], key=operator.attrgetter('real.imag'))",
    "sys and io members": "import sys, io\nx = sys.maxsize\ny = io.StringIO('a')",
    "type checking": "def f(x):\n    return type(x) is int and isinstance(x, type(1))",
    "generators": "def f():\n    x = yield 1\n    yield from [x]",
    "decorator": "import functools\ndef d(f):\n    @functools.wraps(f)\n    def inner(*a):\n        return f(*a)\n    return inner\n@functools.lru_cache(maxsize=None)\n@d\ndef g(x):\n    return f'{g.__name__}{x}'",
    "throwaway": "for _ in range(3):\n    for __ in range(2):\n        pass",
    "future": "from __future__ import annotations",
    "version and exports": "__all__ = ['count_words']\n__version__ = '1'",
}


@pytest.mark.parametrize("code", MODERN.values(), ids=MODERN.keys())
def test_l0_takes_ordinary_modern_python(code: str) -> None:
    assert errors(body(code)) == []


@pytest.mark.parametrize("code", MODERN.values(), ids=MODERN.keys())
def test_l2_takes_it_too(code: str) -> None:
    assert errors(body(code), permissions={"level": "L2"}) == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is of 3.12")
def test_l0_takes_type_parameters() -> None:
    code = "type Pair[T] = tuple[T, T]\ndef first[T: int](x: list[T]) -> T:\n    return x[0]\nclass Box[T]:\n    item: T"
    assert errors(body(code)) == []


ATTACKS = {
    "import by computed name": ("x = getattr(__builtins__, '__imp' + 'ort__')('os')", "RP306"),
    "alias of eval": ("e = eval\ne('1')", "RP301"),
    "eval in a decorator": ("@eval\ndef g(): pass", "RP301"),
    "eval in a class body": ("class A:\n    eval = eval", "RP301"),
    "eval after a deletion": ("eval = 1\ndel eval\nx = eval", "RP301"),
    "eval declared global": ("def g():\n    global eval\n    return eval", "RP301"),
    "open": ("x = open('/etc/passwd')", "RP301"),
    "compile": ("x = compile('1', '', 'eval')", "RP301"),
    "subclasses": ("x = ().__class__.__bases__[0].__subclasses__()", "RP304"),
    "method resolution order": ("x = int.__mro__", "RP304"),
    "globals of a function": ("def g(): pass\nx = g.__globals__", "RP304"),
    "code of a function": ("def g(): pass\nx = g.__code__", "RP304"),
    "frame of a generator": ("x = (i for i in []).gi_frame.f_back.f_globals", "RP305"),
    "frame of a traceback": ("def g(e):\n    return e.__traceback__.tb_frame", "RP305"),
    "computed attribute": ("x = getattr('', '__cl' + 'ass__')", "RP306"),
    "private literal": ("x = getattr('', '__class__')", "RP306"),
    "getattr as a value": ("x = list(map(getattr, [1], ['real']))", "RP306"),
    "attrgetter with dunder": (
        "import operator\nx = operator.attrgetter('__class__.__base__')",
        "RP306",
    ),
    "attrgetter imported": ("from operator import attrgetter as g\nx = g('a' + 'b')", "RP306"),
    "attrgetter as a value": ("from operator import attrgetter\nx = [attrgetter]", "RP306"),
    "methodcaller": ("import operator\nx = operator.methodcaller('__reduce__')", "RP306"),
    "setattr": ("import math\nsetattr(math, 'pi', 3)", "RP207"),
    "getattr on a module": ("import re\nx = getattr(re, 'enum')", "RP208"),
    "format of an attribute": ("x = '{0.__class__}'.format(1)", "RP307"),
    "format of an item": ("x = '{a[0]}'.format(a=[1])", "RP307"),
    "format in a nested field": ("x = '{0:{1.real}}'.format(1, 2)", "RP307"),
    "format of a sum": ("x = ('{0.__cl' + 'ass__}').format(1)", "RP307"),
    "format unbound": ("x = str.format('{0.__class__}', 1)", "RP307"),
    "format computed": ("def g(t):\n    return t.format(1)", "RP307"),
    "format_map": ("x = '{a.b}'.format_map({})", "RP307"),
    "format as a value": ("x = list(map('{0.__class__}'.format, [1]))", "RP307"),
    "Formatter": ("import string\nx = string.Formatter()", "RP207"),
    "module through module": ("import json\nx = json.codecs.builtins", "RP208"),
    "module through alias": ("import dataclasses as d\nx = d.sys.modules", "RP208"),
    "module from module": ("from re import enum", "RP208"),
    "submodule that is loaded": ("import urllib.parse\nx = urllib.request", "RP206"),
    "module as a value": ("import re\ndef g(m): return m.enum\ng(re)", "RP210"),
    "module as a default": ("import re\ndef g(m=re): return m", "RP210"),
    "change of a module": ("import json\njson.loads = None", "RP207"),
    "io.open": ("import io\nx = io.open('a')", "RP207"),
    "pathlib": ("from pathlib import Path", "RP207"),
    "sys.modules": ("import sys\nx = sys.modules", "RP207"),
    "frames": ("import sys\nx = sys._getframe()", "RP304"),
    "code objects": ("from types import CodeType", "RP207"),
    "type hints that are evaluated": ("from typing import get_type_hints", "RP207"),
    "class out of text": ("from dataclasses import make_dataclass", "RP207"),
    "type with three arguments": ("X = type('X', (), {})", "RP309"),
    "metaclass": ("class M(type): pass\nclass A(metaclass=M): pass", "RP309"),
    "ctypes": ("import ctypes", "RP202"),
    "importlib": ("import importlib.util", "RP202"),
    "pickle": ("from pickle import loads", "RP202"),
    "private module": ("import _thread", "RP202"),
    "builtins": ("import builtins", "RP202"),
    "subprocess": ("from subprocess import run", "RP202"),
    "requests": ("import requests", "RP206"),
    "network": ("from urllib.request import urlopen", "RP206"),
    "pattern reads a class": (
        "def g(x):\n    match x:\n        case object(__class__=c): return c",
        "RP313",
    ),
    "pattern binds a hook": ("def g(x):\n    match x:\n        case [*_getattr_]: pass", "RP302"),
    "hook as a name": ("_getattr_ = 1", "RP302"),
    "hook as a parameter": ("def g(_write_): pass", "RP302"),
    "hook as a global": ("def g():\n    global _getiter_\n    _getiter_ = 1", "RP302"),
    "hook as a nonlocal": ("def g():\n    _a_ = 1\n    def h():\n        nonlocal _a_", "RP302"),
    "hook by import": ("from math import pi as _getattr_", "RP302"),
    "hook by exception": ("try:\n    pass\nexcept ValueError as _getattr_: pass", "RP302"),
    "temporary of the transformer": ("_tmp1 = 1", "RP302"),
    "attribute of another object": ("def g(o): return o._secret", "RP304"),
    "rebound self": (
        "class A:\n    def g(self, o):\n        self = o\n        return self._x",
        "RP304",
    ),
    "self of a plain function": ("def g(self): return self._x", "RP304"),
    "self of a static method": ("class A:\n    @staticmethod\n    def g(o): return o._x", "RP304"),
    "self of an inner function": (
        "class A:\n    def g(self):\n        def h(self): return self._x",
        "RP304",
    ),
    "dict of self": ("class A:\n    def g(self): return self.__dict__", "RP304"),
    "special method": ("class A:\n    def __reduce__(self): return eval, ('1',)", "RP308"),
    "hook on subclasses": ("class A:\n    def __init_subclass__(cls): pass", "RP308"),
    "finalizer": ("class A:\n    def __del__(self): pass", "RP308"),
    "format by getattr": ("x = getattr('{0.__class__}', 'format')(1)", "RP306"),
    "format by methodcaller": ("import operator\nx = operator.methodcaller('format', 1)", "RP306"),
    "attrgetter renamed, second name": (
        "from operator import attrgetter as g\nx = g('real', '__class__')",
        "RP306",
    ),
    "attributes copied by name": (
        "import functools, json\ndef g(): pass\nfunctools.update_wrapper(g, json.loads, (), ('__globals__',))",
        "RP207",
    ),
    "attributes copied by a decorator": (
        "import functools, json\n@functools.wraps(json.loads, updated=('__globals__',))\ndef g(): pass",
        "RP306",
    ),
    "name that was put into the globals": ("x = codecs.builtins", "RP315"),
    "annotation that is evaluated": ("from functools import singledispatch", "RP207"),
    "annotation that can be evaluated": ("import typing\nx = typing.get_args(list['a'])", "RP207"),
    "match arguments": ("class A:\n    __match_args__ = ('__globals__',)", "RP313"),
    "match arguments computed": ("class A:\n    __match_args__ = ('__glo' + 'bals__',)", "RP313"),
    "match arguments annotated": ("class A:\n    __match_args__: tuple = ('x',)", "RP313"),
    "match arguments in a loop": ("class A:\n    for __match_args__ in []: pass", "RP313"),
    "pattern over a class made elsewhere": (
        "def g(x, A):\n    match x:\n        case A(g): return g",
        "RP313",
    ),
    "pattern over a decorated class": (
        "def d(c): return c\n@d\nclass A: pass\ndef g(x):\n    match x:\n        case A(g): return g",
        "RP313",
    ),
    "pattern over a class with a base made elsewhere": (
        "B = type(1)\nclass A(B): pass\ndef g(x):\n    match x:\n        case A(g): return g",
        "RP313",
    ),
    "private member of a module that shares its name with a class": (
        "class A:\n    class sys: pass\nimport sys\nx = sys._getframe()",
        "RP304",
    ),
    "below a refused node": (
        "try:\n    x = eval('1')\nexcept* ValueError:\n    x = eval('2')",
        "RP301",
    ),
    "inside an f-string": ("x = f'{eval(1)}'", "RP301"),
    "inside an annotation": ("x: eval('1') = 1", "RP301"),
    "inside a default": ("def g(x=eval('1')): pass", "RP301"),
    "inside a comprehension": ("x = [eval(a) for a in 'a' if exec(a)]", "RP301"),
    "NFKC": ("𝓮𝓿𝓪𝓵('1')", "RP301"),
}


@pytest.mark.parametrize(("code", "rule"), ATTACKS.values(), ids=ATTACKS.keys())
def test_l0_refuses(code: str, rule: str) -> None:
    assert rule in rules(body(code))


L2_ATTACKS = {
    "eval": ("x = eval('1')", "RP301"),
    "alias of exec": ("e = exec", "RP301"),
    "compile": ("x = compile('1', '', 'eval')", "RP301"),
    "import by name": ("x = __import__('os')", "RP301"),
    "builtins": ("x = __builtins__", "RP301"),
    "globals": ("x = globals()", "RP301"),
    "computed attribute": ("x = getattr('', '__cl' + 'ass__')", "RP306"),
    "subclasses": ("x = type(1).__subclasses__", "RP304"),
    "bases": ("x = int.__bases__", "RP304"),
    "globals of a function": ("def g(): pass\nx = g.__globals__", "RP304"),
    "frames": ("import sys\nx = sys._getframe()", "RP304"),
    "frame attributes": ("def g(e): return e.tb_frame", "RP305"),
    "process": ("import os\nos.system('a')", "RP314"),
    "process by from": ("from os import fork", "RP314"),
    "exec family": ("import os\nos.execv('a', [])", "RP314"),
    "spawn": ("import os\nos.posix_spawn('a', [], {})", "RP314"),
    "processes of asyncio": ("import asyncio\nasyncio.create_subprocess_shell('a')", "RP207"),
    "processes of the loop": ("def g(loop): return loop.subprocess_exec", "RP314"),
    "process pool": ("from concurrent.futures import ProcessPoolExecutor", "RP207"),
    "native code": ("def g(c): c.enable_load_extension(True)", "RP314"),
    "subprocess": ("import subprocess", "RP202"),
    "ctypes": ("import ctypes", "RP202"),
    "pickle": ("import pickle", "RP202"),
    "inspect": ("import inspect", "RP202"),
    "modules": ("import sys\nx = sys.modules", "RP207"),
    "module through module": ("import logging\nx = logging.sys", "RP208"),
    "not declared": ("import glob", "RP209"),
    "network": ("import socket", "RP206"),
    "special method": ("class A:\n    def __reduce__(self): return 1", "RP308"),
    "special name": ("x = __spec__", "RP301"),
    "pattern": ("def g(x):\n    match x:\n        case object(__globals__=c): return c", "RP313"),
    "code objects": ("import types\nx = types.CodeType", "RP207"),
}
DECLARED = ["asyncio", "concurrent.futures", "io", "logging", "os", "pathlib", "sys", "tempfile"]


@pytest.mark.parametrize(("code", "rule"), L2_ATTACKS.values(), ids=L2_ATTACKS.keys())
def test_l2_refuses(code: str, rule: str) -> None:
    assert rule in rules(body(code), permissions={"imports": DECLARED})


def test_l2_takes_what_was_declared() -> None:
    code = """
import asyncio
import io
import logging
import os
import os.path
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

class Base:
    def __new__(cls):
        return super().__new__(cls)
    def __init_subclass__(cls):
        pass

def f(other):
    with open("/tmp/a") as a, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / os.path.basename(a.name)
    try:
        other._private += 1
    except* ValueError:
        pass
    return os.environ.get("HOME"), path, io.open, sys.argv, other.__class__.__name__
"""
    assert errors(body(code), permissions={"imports": DECLARED}) == []


def test_the_suggestion_names_all_that_is_to_be_declared() -> None:
    found = [f for f in findings(body("import os\nimport glob")) if f.rule == "RP201"]

    assert {f.suggestion for f in found} == {'declare "permissions": {"imports": ["glob", "os"]}'}


def test_applying_the_suggestion_mends_it() -> None:
    code = body("import os\nfrom pathlib import Path\nx = os.getcwd()\ny = Path('a')")
    assert "RP201" in rules(code)

    assert errors(code, permissions={"imports": ["os", "pathlib"]}) == []


@pytest.mark.parametrize(
    ("module", "near"), [("numpi", "numpy"), ("jsn", "json"), ("mathh", "math")]
)
def test_a_misspelt_module_is_recognised(module: str, near: str) -> None:
    (finding,) = [f for f in findings(body(f"import {module}")) if f.rule == "RP205"]
    assert near in finding.suggestion


HOSTS: dict[str, object] = {"hosts": ["https://api.example.com/v1/"]}


@pytest.mark.parametrize("module", sorted(CLIENTS))
def test_clients_come_with_hosts_and_without_them_not(module: str) -> None:
    code = body(f"import {module} as client\nx = client.anything")

    assert not errors(code, permissions=HOSTS)
    assert "RP206" in rules(code)
    assert "RP206" in rules(code, permissions={"imports": ["os"]})


@pytest.mark.parametrize(
    "code",
    [
        "import urllib.request\nwith urllib.request.urlopen('https://a.example') as r: x = r.read()",
        "from urllib.request import Request, urlopen\nfrom urllib.error import HTTPError",
        "from urllib import request\nx = request.urlopen",
        "import http.client\nx = http.client.HTTPSConnection('a.example')",
        "from http import HTTPStatus",
    ],
)
def test_the_usual_ways_to_send_a_request_pass(code: str) -> None:
    assert not errors(body(code), permissions=HOSTS)


def test_a_module_through_a_client_is_refused() -> None:
    assert "RP208" in rules(
        body("import urllib.request\nx = urllib.request.os.environ"), permissions=HOSTS
    )
    assert "RP208" in rules(body("import http.client as h\nx = h.sys"), permissions=HOSTS)


@pytest.mark.parametrize("module", ["ftplib", "smtplib", "xmlrpc.client", "http.server"])
def test_what_is_not_http_is_refused_with_the_way_out(module: str) -> None:
    found = [f for f in findings(body(f"import {module}"), permissions=HOSTS) if f.rule == "RP206"]

    assert "urllib.request" in found[0].suggestion


def test_every_finding_comes_at_once() -> None:
    code = "import os\nx = eval('1')\ny = ().__class__\nclass A:\n    def __del__(self): pass"
    assert {"RP201", "RP301", "RP304", "RP308"} <= rules(body(code))


def test_a_finding_points_at_the_characters() -> None:
    (finding,) = [f for f in findings(body("x = 'ä漢🙂', eval")) if f.rule == "RP301"]

    assert (finding.line, finding.column, finding.end_column) == (1, 12, 16)
    assert finding.source_line == "x = 'ä漢🙂', eval"


def test_unknown_syntax_is_refused_and_looked_into() -> None:
    class Novelty(ast.stmt):
        _fields = ("value",)

    inner = ast.parse("eval.__class__", mode="eval").body
    node = Novelty(lineno=1, col_offset=0, end_lineno=1, end_col_offset=4)
    node.value = inner  # type: ignore[attr-defined]
    tree = ast.Module(body=[node], type_ignores=[])
    report = Reporter("eval")
    RestrictedChecker(tree, report).visit(tree)

    assert [f.rule for f in report.findings] == ["RP311", "RP304"]


def test_other_refusals_of_restrictedpython_are_findings() -> None:
    tree = ast.parse("x = 1")
    report = Reporter("x = 1")
    checker = RestrictedChecker(tree, report)
    checker.error(tree.body[0], "Something new is not allowed.")
    checker.error(tree.body[0], "Unpacking in comprehensions is not allowed.")

    assert [f.rule for f in report.findings] == ["RP399", "RP312"]


@pytest.mark.parametrize("name", sorted(INSPECT_ATTRIBUTES))
@pytest.mark.parametrize("level", ["L0", "L2"])
def test_no_frame_attribute_is_readable(name: str, level: str) -> None:
    assert "RP305" in rules(body(f"def g(x): return x.{name}"), permissions={"level": level})


def _importable(name: str) -> types.ModuleType | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


@pytest.mark.parametrize("name", sorted(PURE | DECLARABLE | CLIENTS))
def test_no_module_leads_to_another_that_is_not_listed(name: str) -> None:
    module = _importable(name)
    if module is None:
        pytest.skip("not in this version of Python")
    reached = {a for a, value in vars(module).items() if isinstance(value, types.ModuleType)}
    reached |= {info.name for info in pkgutil.iter_modules(getattr(module, "__path__", ()))}
    public = {a for a in reached if not a.startswith("_")}
    listed = {a for a in public if f"{name}.{a}" in PURE | DECLARABLE | CLIENTS}

    assert public - listed <= LEAKS.get(name, frozenset()) | DENIED.get(name, frozenset())


def test_the_lists_of_modules_do_not_overlap() -> None:
    assert not PURE & DECLARABLE
    assert not (PURE | DECLARABLE) & NETWORK
    assert CLIENTS < NETWORK
    assert ONLY.keys() <= PURE
    assert DENIED.keys() <= PURE | DECLARABLE


def test_permissions_of_this_test_ask_for_l2() -> None:
    assert Permissions(imports=tuple(DECLARED)).lint_level == "L2"

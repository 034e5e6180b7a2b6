"""Small mistakes in the syntax tree of a function, one at a time, and a program that tries many.

The operators are the usual ones: another arithmetic, comparing or logical operator, a constant
that is off by one, a negated condition, a statement that is left out, `min` for `max`.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

FUEL: Final = 30_000
"""Turns of loops and calls of functions that one input may take; what needs more is stuck."""

_ARITHMETIC: Final[dict[type[ast.operator], tuple[type[ast.operator], ...]]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add, ast.FloorDiv),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitOr,),
}
_COMPARING: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_CALLED: Final = {
    "max": "min",
    "min": "max",
    "any": "all",
    "all": "any",
    "upper": "lower",
    "lower": "upper",
    "startswith": "endswith",
    "endswith": "startswith",
    "isupper": "islower",
    "islower": "isupper",
    "ceil": "floor",
    "floor": "ceil",
}

Change = Callable[[ast.AST], None]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed text."""

    operator: str
    code: str


def mutants_of(code: str, count: int, seed: str) -> list[Mutant]:
    """At most `count` different mutants of `code` that compile, the same ones for one seed."""
    tree = ast.parse(code)
    _forget_docstrings(tree)
    nodes = list(ast.walk(tree))
    places = [(i, name, change) for i, n in enumerate(nodes) for name, change in _changes(n)]
    random.Random(seed).shuffle(places)  # noqa: S311 - a sample, not a secret
    found: dict[str, Mutant] = {ast.unparse(tree): Mutant("none", "")}
    for index, name, change in places:
        if len(found) > count:
            break
        changed = copy.deepcopy(tree)
        change(list(ast.walk(changed))[index])
        text = ast.unparse(ast.fix_missing_locations(changed))
        if text not in found and _compiles(text):
            found[text] = Mutant(name, text)
    return list(found.values())[1:]


def _changes(node: ast.AST) -> Iterator[tuple[str, Change]]:  # noqa: C901, PLR0912 - one case an operator
    match node:
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator):
            for other in _ARITHMETIC.get(type(operator), ()):
                yield "arithmetic", _set("op", other)
        case ast.Compare(ops=[operator]):
            for comparing in _COMPARING.get(type(operator), ()):
                yield "comparison", _set_first_op(comparing)
        case ast.BoolOp(op=ast.And()):
            yield "logic", _set("op", ast.Or)
        case ast.BoolOp():
            yield "logic", _set("op", ast.And)
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            yield "sign", _set("op", ast.UAdd if isinstance(node.op, ast.USub) else _Truth)
        case ast.Constant(value=bool() as value):
            yield "constant", _value(not value)
        case ast.Constant(value=int() as value):
            for number in {value + 1, value - 1, 0} - {value}:
                yield "constant", _value(number)
        case ast.Constant(value=str() as text):
            yield "constant", _value("" if text else "x")
        case ast.If() | ast.IfExp() | ast.While():
            yield "condition", _negate
        case ast.Name(id=name) if name in _CALLED:
            yield "call", _set("id", _CALLED[name])
        case ast.Attribute(attr=name) if name in _CALLED:
            yield "call", _set("attr", _CALLED[name])
        case _:
            pass
    for field in ("body", "orelse"):
        body = getattr(node, field, None)
        if isinstance(body, list) and not isinstance(node, ast.Module):
            for number, statement in enumerate(body):
                if isinstance(
                    statement, ast.Assign | ast.AugAssign | ast.Expr | ast.If | ast.Break
                ):
                    yield "omission", _leave_out(field, number)


class _Truth(ast.Not):
    """Marks a `not` that is to be taken away."""


def _set(field: str, value: object) -> Change:
    def change(node: ast.AST) -> None:
        if value is _Truth and isinstance(node, ast.UnaryOp):
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
        else:
            setattr(node, field, value() if isinstance(value, type) else value)

    return change


def _set_first_op(kind: type[ast.cmpop]) -> Change:
    def change(node: ast.AST) -> None:
        if isinstance(node, ast.Compare):
            node.ops[0] = kind()

    return change


def _value(value: object) -> Change:
    def change(node: ast.AST) -> None:
        if isinstance(node, ast.Constant):
            node.value = value  # type: ignore[assignment] # a constant, like the one before

    return change


def _negate(node: ast.AST) -> None:
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        node.test = ast.UnaryOp(ast.Not(), node.test)


def _leave_out(field: str, number: int) -> Change:
    def change(node: ast.AST) -> None:
        getattr(node, field)[number] = ast.Pass()

    return change


def _forget_docstrings(tree: ast.Module) -> None:
    """They would be mutated for nothing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]


def _compiles(code: str) -> bool:
    try:
        compile(code, "<mutant>", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


_HEAD: Final = """
class _OutOfFuel(BaseException):
    pass

_left = 0

def _tick():
    global _left
    _left -= 1
    if _left < 0:
        raise _OutOfFuel

def _one(function, arguments):
    global _left
    _left = {fuel}
    try:
        return ["returned", function(**arguments)]
    except _OutOfFuel:
        return ["stuck", None]
    except RecursionError:
        return ["stuck", None]
    except Exception as error:
        return ["raised", type(error).__name__]

def _plain(value, depth=40):
    if depth == 0:
        raise TypeError
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if value - value == 0 else ["not a number", str(value)]
    if isinstance(value, (list, tuple)):
        return [_plain(each, depth - 1) for each in value]
    if isinstance(value, dict) and all(type(key) is str for key in value):
        return {{key: _plain(each, depth - 1) for key, each in value.items()}}
    raise TypeError

def try_all(which: int, inputs: list) -> list:
    import copy
    function = _MADE[which]()
    answers = []
    for arguments in inputs:
        outcome, value = _one(function, copy.deepcopy(arguments))
        try:
            answers.append([outcome, _plain(value)])
        except (TypeError, RecursionError):
            answers.append(["raised", "ResultNotJSON"])
    return answers
"""


def program_of(codes: list[str], function: str) -> str:
    """One source whose `try_all(which, inputs)` runs one of `codes` on many inputs.

    Each answer is `[outcome, value]`: returned, raised, or stuck without fuel.
    """
    made = []
    for number, code in enumerate(codes):
        tree = ast.parse(code)
        _forget_docstrings(tree)
        _Fuelled().visit(tree)
        body = [*tree.body, ast.Return(ast.Name(function, ast.Load()))]
        wrapped = ast.parse(f"def _made_{number}(): pass")
        definition = wrapped.body[0]
        assert isinstance(definition, ast.FunctionDef)
        definition.body = body
        made.append(ast.unparse(ast.fix_missing_locations(wrapped)))
    names = ", ".join(f"_made_{number}" for number in range(len(codes)))
    return "\n".join([_HEAD.format(fuel=FUEL), *made, f"_MADE = [{names}]"])


class _Fuelled(ast.NodeTransformer):
    """Puts a tick into every loop and function."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._with_tick(node)

    def visit_For(self, node: ast.For) -> ast.AST:
        return self._with_tick(node)

    def visit_While(self, node: ast.While) -> ast.AST:
        return self._with_tick(node)

    def _with_tick(self, node: ast.FunctionDef | ast.For | ast.While) -> ast.AST:
        self.generic_visit(node)
        node.body = [ast.parse("_tick()").body[0], *node.body]
        return node

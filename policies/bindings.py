"""Which names a piece of a syntax tree binds, and where."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass
class Scope:
    """The names that one function, class, comprehension or module binds."""

    names: dict[str, str] = field(default_factory=dict)
    is_class: bool = False


def parameters(arguments: ast.arguments) -> list[str]:
    """The names of all parameters."""
    stars = [star for star in (arguments.vararg, arguments.kwarg) if star is not None]
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *stars]
    return [each.arg for each in every]


def inside(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """The nodes of a body that run in its own scope, and those that open another one."""
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Lambda, *COMPREHENSIONS)):
            waiting.extend(ast.iter_child_nodes(node))


def bound(body: list[ast.stmt]) -> list[str]:
    """The names that a body binds in its own scope."""
    found: list[str] = []
    for node in inside(body):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.append(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.append(name)
            case ast.ClassDef(name=name):
                found.append(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                found += map(bound_by, aliases)
            case (
                ast.ExceptHandler(name=str() as name)
                | ast.MatchAs(name=str() as name)
                | ast.MatchStar(name=str() as name)
                | ast.MatchMapping(rest=str() as name)
            ):
                found.append(name)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                found += [
                    each.target.id for each in ast.walk(node) if isinstance(each, ast.NamedExpr)
                ]
            case _:
                pass
    return found


def bound_by(alias: ast.alias) -> str:
    """The name that an import binds."""
    return alias.asname or alias.name.partition(".")[0]


def scope_of(body: list[ast.stmt]) -> Scope:
    """The scope of a body.

    A class keeps its name, which shows in what it prints; what is imported, and never bound
    again, is called after what it is.
    """
    names = dict.fromkeys(bound(body), "")
    often = {name for name, count in Counter(bound(body)).items() if count > 1}
    for node in inside(body):
        match node:
            case ast.ClassDef(name=name):
                names[name] = name
            case ast.Import(names=aliases):
                for alias in aliases:
                    full = alias.name if alias.asname else bound_by(alias)
                    names[bound_by(alias)] = f"import {full}"
            case ast.ImportFrom(names=aliases, module=module, level=level):
                for alias in aliases:
                    names[bound_by(alias)] = f"import {'.' * level}{module}:{alias.name}"
            case _:
                pass
    return Scope({name: "" if name in often else normal for name, normal in names.items()})


def stored(target: ast.expr) -> list[str]:
    """The names in what is assigned to."""
    return [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]


def bound_elsewhere(body: list[ast.stmt]) -> list[str]:
    """The names that a body says are another scope's."""
    return [
        name
        for node in inside(body)
        if isinstance(node, (ast.Global, ast.Nonlocal))
        for name in node.names
    ]

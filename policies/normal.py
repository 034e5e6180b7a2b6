"""The normal form of a tool: what is left of its text when all that does not matter is gone.

Two tools with one normal form and one shape do the same: only names of locals and helpers,
docstrings, annotations of functions, the order of helpers and imports, comments and spacing
differ. The other way round nothing is promised.

Whoever walks a tree here has it from `policies.syntax`, which bounds its depth.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from pydantic import JsonValue

from policies.schema import ToolSchema
from policies.value import JsonObject, canonical_json, sha256_digest

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_Comprehension: TypeAlias = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SEES_NAMES: Final = frozenset({"locals", "globals", "vars", "dir", "eval", "exec", "getattr"})
_SAID: Final = frozenset({"description", "title", "examples", "$comment"})


def normal_digest(tree: ast.Module, function: str) -> str:
    """Digest of the normal form of `tree`, of which a call runs `function`."""
    return sha256_digest("\n".join(_Normalizer(tree, function).lines()).encode())


def shape_digest(schema: ToolSchema) -> str:
    """Digest of what a tool takes and gives, without words: one for all that fit one caller."""
    shape: JsonObject = {
        "parameters": _wordless(schema.parameters),
        "returns": _wordless(schema.returns),
    }
    return sha256_digest(canonical_json(shape))


def _wordless(schema: JsonValue) -> JsonValue:
    match schema:
        case dict():
            kept = {key: schema[key] for key in sorted(schema) if key not in _SAID}
            return {key: _part(key, value) for key, value in kept.items()}
        case list():
            return [_wordless(item) for item in schema]
        case _:
            return schema


def _part(key: str, value: JsonValue) -> JsonValue:
    if key == "properties" and isinstance(value, dict):  # its keys are names, whatever they say
        return {name: _wordless(value[name]) for name in sorted(value)}
    if key in {"default", "const", "enum"}:
        return value
    if key == "required" and isinstance(value, list):
        return sorted(value, key=str)
    return _wordless(value)


@dataclass
class _Scope:
    """The names that one function, class, comprehension or module binds."""

    names: dict[str, str] = field(default_factory=dict)
    is_class: bool = False


class _Normalizer:
    def __init__(self, tree: ast.Module, function: str) -> None:
        self._tree = tree
        self._function = function
        self._count = 0
        self._keeps_names = _names_are_seen(tree)
        self._keywords = _keywords(tree)
        self._helpers: dict[str, _Function] = {}
        self._wanted: list[str] = []
        self._module = _scope_of(tree.body)
        self._scopes = [self._module]

    def lines(self) -> Iterator[str]:
        """The entry first, then the helpers in the order of their use, then the other parts."""
        bound = Counter(_bound(self._tree.body))
        functions = {n.name: n for n in self._tree.body if isinstance(n, _FUNCTIONS)}
        # Where a name is bound twice, only the order of all tells what it means.
        self._helpers = {name: n for name, n in functions.items() if bound[name] == 1}
        rest = [n for n in self._tree.body if n not in self._helpers.values()]
        self._module.names[self._function] = "%entry"
        if self._function in self._helpers:
            yield self._dump(self._helpers.pop(self._function))
        yield from self._dump_wanted()
        yield self._dump_body([n for n in rest if not self._is_told(n)])
        yield from self._dump_wanted()
        for name in sorted(self._helpers):  # nobody uses them
            yield self._dump(self._helpers[name])

    def _dump_wanted(self) -> Iterator[str]:
        while self._wanted:
            helper = self._helpers.pop(self._wanted.pop(0), None)
            if helper is not None:
                yield self._dump(helper)

    def _is_told(self, node: ast.stmt) -> bool:
        """Whether it is an import that shows wherever a name of it is used."""
        return isinstance(node, _IMPORTS) and all(
            self._module.names.get(_bound_by(alias), "").startswith("import ")
            for alias in node.names
        )

    # -- names -----------------------------------------------------------------------------------

    def _name(self, name: str) -> str:
        """The normal name of `name`, as it is looked up from here."""
        innermost = len(self._scopes) - 1
        for depth in range(innermost, -1, -1):
            scope = self._scopes[depth]
            if name in scope.names and not (scope.is_class and depth != innermost):
                if not scope.names[name]:
                    scope.names[name] = self._fresh(name)
                if scope is self._module and name in self._helpers:
                    self._wanted.append(name)
                return scope.names[name]
        return name

    def _fresh(self, name: str) -> str:
        if self._keeps_names:
            return name
        self._count += 1
        return f"%{self._count}"

    # -- trees as text ---------------------------------------------------------------------------

    def _dump(self, node: object) -> str:  # noqa: C901, PLR0911, PLR0912 - a line a kind of node
        match node:
            case None:
                return "-"
            case list():
                return f"[{','.join(map(self._dump, node))}]"
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return self._dump_function(node)
            case ast.Lambda():
                return self._dump_lambda(node)
            case ast.ClassDef():
                return self._dump_class(node)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                return self._dump_comprehension(node)
            case ast.Name():
                return f"Name({self._name(node.id)})"
            case ast.alias():
                return f"alias({node.name},{self._name(_bound_by(node))})"
            case ast.Constant():
                return f"{type(node.value).__name__}:{node.value!r}"
            case ast.AnnAssign() if not self._scopes[-1].is_class:
                return self._dump_annotated(node)
            case ast.Global() | ast.Nonlocal():
                names = sorted(self._name(name) for name in node.names)
                return f"{type(node).__name__}({','.join(names)})"
            case ast.AST():
                return self._dump_fields(node)
            case _:
                return repr(node)

    def _dump_fields(self, node: ast.AST) -> str:
        parts = []
        for name, value in ast.iter_fields(node):
            if name in {"ctx", "type_comment", "kind"} or value is None or value == []:
                continue
            if name in _BODIES and isinstance(value, list):
                shown = self._dump_body(value)
            elif isinstance(value, str) and (type(node), name) in _BINDING_FIELDS:
                shown = self._name(value)
            else:
                shown = self._dump(value)
            parts.append(f"{name}={shown}")
        return f"{type(node).__name__}({','.join(parts)})"

    def _dump_body(self, body: list[ast.stmt]) -> str:
        if all(isinstance(node, ast.stmt) for node in body):
            return f"[{';'.join(self._dump(node) for node in _without_words(body))}]"
        return self._dump(list(body))

    def _dump_annotated(self, node: ast.AnnAssign) -> str:
        if node.value is None:
            return f"Declared({self._dump(node.target)})"
        return f"Assign(targets=[{self._dump(node.target)}],value={self._dump(node.value)})"

    def _dump_function(self, node: _Function) -> str:
        outer = [self._dump(node.decorator_list), self._dump_defaults(node.args)]
        name = self._name(node.name)
        public = len(self._scopes) == 1 and node.name == self._function
        scope = _scope_of(node.body)
        for parameter in _parameters(node.args):
            scope.names[parameter] = self._parameter(parameter, public=public)
        for elsewhere in _elsewhere(node.body):
            scope.names.pop(elsewhere, None)
        self._scopes.append(scope)
        inner = [self._dump_parameters(node.args), self._dump_body(node.body)]
        self._scopes.pop()
        return f"{type(node).__name__}({name},{','.join(outer)},{','.join(inner)})"

    def _dump_lambda(self, node: ast.Lambda) -> str:
        defaults = self._dump_defaults(node.args)
        names = {each: self._parameter(each, public=False) for each in _parameters(node.args)}
        self._scopes.append(_Scope(names))
        text = f"Lambda({defaults},{self._dump_parameters(node.args)},{self._dump(node.body)})"
        self._scopes.pop()
        return text

    def _parameter(self, name: str, *, public: bool) -> str:
        """Names by which callers pass something are part of what a function is."""
        stays = public or name in self._keywords or None in self._keywords
        return name if stays else self._fresh(name)

    def _dump_defaults(self, arguments: ast.arguments) -> str:
        return self._dump([*arguments.defaults, *arguments.kw_defaults])

    def _dump_parameters(self, arguments: ast.arguments) -> str:
        return "|".join(
            ",".join(self._scopes[-1].names[each.arg] for each in group)
            for group in (
                arguments.posonlyargs,
                arguments.args,
                [arguments.vararg] if arguments.vararg else [],
                arguments.kwonlyargs,
                [arguments.kwarg] if arguments.kwarg else [],
            )
        )

    def _dump_class(self, node: ast.ClassDef) -> str:
        outer = [self._dump(part) for part in (node.decorator_list, node.bases, node.keywords)]
        # Its name shows in what it prints, its attributes are reached by their names.
        self._scopes.append(_Scope({name: name for name in _bound(node.body)}, is_class=True))
        body = self._dump_body(node.body)
        self._scopes.pop()
        return f"ClassDef({node.name},{','.join(outer)},{body})"

    def _dump_comprehension(self, node: _Comprehension) -> str:
        first = self._dump(node.generators[0].iter)  # evaluated outside of the comprehension
        names = dict.fromkeys((name for p in node.generators for name in _stored(p.target)), "")
        self._scopes.append(_Scope(names))
        parts = []
        for position, part in enumerate(node.generators):
            source = self._dump(part.iter) if position else first
            conditions = self._dump(list(part.ifs))
            parts.append(f"{source}>{self._dump(part.target)}?{conditions}~{part.is_async}")
        made = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        text = f"{type(node).__name__}({';'.join(parts)}:{self._dump(list(made))})"
        self._scopes.pop()
        return text


_IMPORTS: Final = (ast.Import, ast.ImportFrom)
_BODIES: Final = frozenset({"body", "orelse", "finalbody"})
_BINDING_FIELDS: Final = {
    (ast.ExceptHandler, "name"),
    (ast.MatchAs, "name"),
    (ast.MatchStar, "name"),
    (ast.MatchMapping, "rest"),
}


def _without_words(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements that do something."""
    return [
        node
        for node in body
        if not isinstance(node, ast.Pass)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]


def _names_are_seen(tree: ast.Module) -> bool:
    """Whether the code could look at its own names, so that they matter."""
    return any(
        (isinstance(node, ast.Name) and node.id in _SEES_NAMES)
        or (isinstance(node, ast.Attribute) and node.attr.startswith("__"))
        for node in ast.walk(tree)
    )


def _keywords(tree: ast.Module) -> set[str | None]:
    """The names by which something is passed; None stands for names that are computed."""
    return {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}


def _parameters(arguments: ast.arguments) -> list[str]:
    stars = [star for star in (arguments.vararg, arguments.kwarg) if star is not None]
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *stars]
    return [each.arg for each in every]


def _inside(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """The nodes of a body that run in its own scope, and those that open another one."""
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.Lambda, *_COMPREHENSIONS)):
            waiting.extend(ast.iter_child_nodes(node))


def _bound(body: list[ast.stmt]) -> list[str]:
    """The names that a body binds in its own scope."""
    found: list[str] = []
    for node in _inside(body):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.append(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.append(name)
            case ast.ClassDef(name=name):
                found.append(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                found += map(_bound_by, aliases)
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


def _bound_by(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _scope_of(body: list[ast.stmt]) -> _Scope:
    """The scope of a body.

    A class keeps its name, which shows in what it prints; what is imported, and never bound
    again, is called after what it is.
    """
    names = dict.fromkeys(_bound(body), "")
    often = {name for name, count in Counter(_bound(body)).items() if count > 1}
    for node in _inside(body):
        match node:
            case ast.ClassDef(name=name):
                names[name] = name
            case ast.Import(names=aliases):
                for alias in aliases:
                    full = alias.name if alias.asname else _bound_by(alias)
                    names[_bound_by(alias)] = f"import {full}"
            case ast.ImportFrom(names=aliases, module=module, level=level):
                for alias in aliases:
                    names[_bound_by(alias)] = f"import {'.' * level}{module}:{alias.name}"
            case _:
                pass
    return _Scope({name: "" if name in often else normal for name, normal in names.items()})


def _stored(target: ast.expr) -> list[str]:
    return [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]


def _elsewhere(body: list[ast.stmt]) -> list[str]:
    return [
        name
        for node in _inside(body)
        if isinstance(node, (ast.Global, ast.Nonlocal))
        for name in node.names
    ]

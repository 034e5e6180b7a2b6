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
from typing import Final, TypeAlias

from pydantic import JsonValue

from policies.bindings import (
    FUNCTIONS,
    Scope,
    bound,
    bound_by,
    bound_elsewhere,
    parameters,
    scope_of,
    stored,
)
from policies.schema import ToolSchema
from policies.value import JsonObject, canonical_json, sha256_digest

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_Comprehension: TypeAlias = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_SEES_NAMES: Final = frozenset(
    {
        *("locals", "globals", "vars", "dir", "eval", "exec", "getattr", "inspect"),
        *("get_type_hints", "get_annotations", "signature", "getdoc", "getsource"),
        *("f_locals", "f_globals", "f_code", "co_names", "co_varnames", "tb_frame", "gi_frame"),
    }
)
"""With these, and with attributes of two underscores, code can look at its own text."""

_MOVED: Final = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Expr)
"""Among these statements, and functions, no definition changes what another one means."""

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


class _Normalizer:
    def __init__(self, tree: ast.Module, function: str) -> None:
        self._tree = tree
        self._function = function
        self._count = 0
        self._keeps_names = _names_are_seen(tree)
        self._keywords = _keywords(tree)
        self._helpers: dict[str, ast.stmt] = {}
        self._wanted: list[str] = []
        self._module = scope_of(tree.body)
        self._scopes = [self._module]

    def lines(self) -> Iterator[str]:
        """The entry, then what it uses in the order of its use, then what has to stay in order."""
        self._helpers = {} if self._keeps_names else _movable(self._tree)
        rest = [n for n in self._tree.body if n not in self._helpers.values()]
        self._module.names[self._function] = "%entry"
        if self._function in self._helpers:
            yield self._dump(self._helpers.pop(self._function))
        yield from self._dump_wanted()
        yield self._dump_body([n for n in rest if not self._is_told(n)])
        yield from self._dump_wanted()  # what is left then is used by nobody

    def _dump_wanted(self) -> Iterator[str]:
        while self._wanted:
            helper = self._helpers.pop(self._wanted.pop(0), None)
            if helper is not None:
                yield self._dump(helper)

    def _is_told(self, node: ast.stmt) -> bool:
        """Whether it is an import that shows wherever a name of it is used."""
        return isinstance(node, _IMPORTS) and all(
            self._module.names.get(bound_by(alias), "").startswith("import ")
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
                return f"alias({node.name},{self._name(bound_by(node))})"
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
            told = body if self._keeps_names else _without_words(body)
            return f"[{';'.join(map(self._dump, told))}]"
        return self._dump(list(body))

    def _dump_annotated(self, node: ast.AnnAssign) -> str:
        if node.value is None:
            return f"Declared({self._dump(node.target)})"
        return f"Assign(targets=[{self._dump(node.target)}],value={self._dump(node.value)})"

    def _dump_function(self, node: _Function) -> str:
        outer = [self._dump(node.decorator_list), self._dump_defaults(node.args)]
        if node.decorator_list or self._keeps_names:  # somebody may look at them
            outer.append(self._dump(_annotations(node)))
        called = self._name(node.name)
        public = len(self._scopes) == 1 and node.name == self._function
        scope = scope_of(node.body)
        for parameter in parameters(node.args):
            scope.names[parameter] = self._parameter(parameter, public=public)
        for name in bound_elsewhere(node.body):
            scope.names.pop(name, None)
        self._scopes.append(scope)
        inner = [self._dump_parameters(node.args), self._dump_body(node.body)]
        self._scopes.pop()
        return f"{type(node).__name__}({called},{','.join(outer)},{','.join(inner)})"

    def _dump_lambda(self, node: ast.Lambda) -> str:
        defaults = self._dump_defaults(node.args)
        names = {each: self._parameter(each, public=False) for each in parameters(node.args)}
        self._scopes.append(Scope(names))
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
        self._scopes.append(Scope({name: name for name in bound(node.body)}, is_class=True))
        body = self._dump_body(node.body)
        self._scopes.pop()
        return f"ClassDef({node.name},{','.join(outer)},{body})"

    def _dump_comprehension(self, node: _Comprehension) -> str:
        first = self._dump(node.generators[0].iter)  # evaluated outside of the comprehension
        names = dict.fromkeys((name for p in node.generators for name in stored(p.target)), "")
        self._scopes.append(Scope(names))
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
    """Whether the code could look at its own text, so that names, words and order matter."""
    return any(
        name in _SEES_NAMES or (isinstance(node, ast.Attribute) and name.startswith("__"))
        for node in ast.walk(tree)
        for name in _used_names(node)
    )


def _used_names(node: ast.AST) -> tuple[str, ...]:
    match node:
        case ast.Name():
            return (node.id,)
        case ast.Attribute():
            return (node.attr,)
        case ast.alias():
            return (node.name,)
        case _:
            return ()


def _movable(tree: ast.Module) -> dict[str, ast.stmt]:
    """What can stand anywhere in the module, by the one name that it binds there.

    Functions and constants that do nothing when they are defined. Where a name is bound twice, or
    the module branches, only the order of all tells what a name means.
    """
    if not all(isinstance(node, (*FUNCTIONS, *_MOVED)) for node in tree.body):
        return {}
    often = Counter(bound(tree.body))
    return {
        name: node
        for node in tree.body
        if (name := _defined(node)) is not None and often[name] == 1
    }


def _defined(node: ast.stmt) -> str | None:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            defaults = (*node.args.defaults, *node.args.kw_defaults)
            inert = not node.decorator_list and all(map(_is_literal, defaults))
            return node.name if inert else None
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if _is_literal(value):
            return name
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            return name if _is_literal(value) else None
        case _:
            return None


def _is_literal(node: ast.AST | None) -> bool:
    parts = (ast.Constant, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.UnaryOp)
    marks = (ast.expr_context, ast.unaryop)
    return node is None or all(isinstance(each, (*parts, *marks)) for each in ast.walk(node))


def _annotations(node: _Function) -> list[ast.expr | None]:
    arguments = node.args
    stars = [star for star in (arguments.vararg, arguments.kwarg) if star is not None]
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *stars]
    return [*(each.annotation for each in every), node.returns]


def _keywords(tree: ast.Module) -> set[str | None]:
    """The names by which something is passed; None stands for names that are computed."""
    return {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}

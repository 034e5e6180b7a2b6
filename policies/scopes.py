"""What a name means where it is read: a function's own variable, a module, or a built-in."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, TypeAlias

_Comprehension: TypeAlias = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class _Kind(Enum):
    MODULE = auto()
    CLASS = auto()
    FUNCTION = auto()
    COMPREHENSION = auto()


@dataclass(slots=True)
class _Scope:
    kind: _Kind
    parent: _Scope | None
    bound: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)
    """Names that a `global` or `nonlocal` statement moves out of this scope."""

    modules: dict[str, set[str]] = field(default_factory=dict)
    members: dict[str, set[tuple[str, str]]] = field(default_factory=dict)


class Scopes:
    """The scopes of one tree, and which of them each name that is read belongs to."""

    def __init__(self, tree: ast.Module) -> None:
        builder = _Builder()
        builder.visit(tree)
        self._scope_of = builder.scope_of
        self._root = builder.root

    def is_local(self, node: ast.Name) -> bool:
        """Whether `node` is a variable of a function around it, so never a built-in."""
        return self._function_scope(node) is not None

    def is_bound(self, node: ast.Name) -> bool:
        """Whether anything in the source gives `node` a meaning."""
        return any(node.id in scope.bound for scope in self._scopes(node))

    def bound_names(self) -> set[str]:
        """The names that the source defines at its top level."""
        return set(self._root.bound)

    def modules(self, node: ast.Name) -> frozenset[str]:
        """The modules that `node` may stand for, by their dotted names."""
        return frozenset[str]().union(
            *(scope.modules.get(node.id, set()) for scope in self._scopes(node))
        )

    def members(self, node: ast.Name) -> frozenset[tuple[str, str]]:
        """The members of modules that `node` may stand for, as (module, member)."""
        return frozenset[tuple[str, str]]().union(
            *(scope.members.get(node.id, set()) for scope in self._scopes(node))
        )

    def _scopes(self, node: ast.Name) -> list[_Scope]:
        found = self._function_scope(node)
        if found is not None:
            return [found]
        own = self._scope_of.get(node)
        return [self._root] if own is None or own is self._root else [self._root, own]

    def _function_scope(self, node: ast.Name) -> _Scope | None:
        scope = self._scope_of.get(node)
        while scope is not None:
            closed = scope.kind in {_Kind.FUNCTION, _Kind.COMPREHENSION}
            if closed and node.id in scope.bound and node.id not in scope.elsewhere:
                return scope
            scope = scope.parent
        return None


class _Builder(ast.NodeVisitor):
    """Walks once: notes what each scope binds, and the scope of each name that is read."""

    def __init__(self) -> None:
        self.root: Final = _Scope(_Kind.MODULE, None)
        self.scope_of: dict[ast.Name, _Scope] = {}
        self._scope = self.root

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.scope_of[node] = self._scope
        else:
            self._bind(node.id)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._defaults(node.args)
        outer = self._enter(_Kind.FUNCTION)
        self._parameters(node.args)
        self.visit(node.body)
        self._scope = outer

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name)
        for decorator in node.decorator_list:
            self.visit(decorator)
        outer = self._enter_type_parameters(node)
        for outside in (*node.bases, *node.keywords):
            self.visit(outside)
        self._enter(_Kind.CLASS)
        for statement in node.body:
            self.visit(statement)
        self._scope = outer

    def visit_TypeAlias(self, node: ast.AST) -> None:
        name, value = getattr(node, "name", None), getattr(node, "value", None)
        if isinstance(name, ast.Name):
            self._bind(name.id)
        outer = self._enter_type_parameters(node)
        if isinstance(value, ast.expr):
            self.visit(value)
        self._scope = outer

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._comprehension(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        scope = self._scope
        while scope.kind is _Kind.COMPREHENSION and scope.parent is not None:
            scope = scope.parent
        scope.bound.add(node.target.id)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            module = alias.name if alias.asname else name
            self._bind(name)
            for scope in self._import_scopes(name):
                scope.modules.setdefault(name, set()).add(module)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name
            self._bind(name)
            for scope in self._import_scopes(name):
                scope.members.setdefault(name, set()).add((node.module or "", alias.name))

    def visit_Global(self, node: ast.Global) -> None:
        self._scope.elsewhere.update(node.names)
        self.root.bound.update(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self._scope.elsewhere.update(node.names)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._bind_optional(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self._bind_optional(node.name)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        self._bind_optional(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self._bind_optional(node.rest)
        self.generic_visit(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._bind(node.name)
        for decorator in node.decorator_list:
            self.visit(decorator)
        outer = self._enter_type_parameters(node)
        self._defaults(node.args)
        if node.returns is not None:
            self.visit(node.returns)
        self._enter(_Kind.FUNCTION)
        self._parameters(node.args)
        for statement in node.body:
            self.visit(statement)
        self._scope = outer

    def _defaults(self, arguments: ast.arguments) -> None:
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self.visit(default)
        for argument in _all_arguments(arguments):
            if argument.annotation is not None:
                self.visit(argument.annotation)

    def _parameters(self, arguments: ast.arguments) -> None:
        for argument in _all_arguments(arguments):
            self._bind(argument.arg)

    def _comprehension(self, node: _Comprehension) -> None:
        self.visit(node.generators[0].iter)  # evaluated outside of the comprehension
        outer = self._enter(_Kind.COMPREHENSION)
        for position, generator in enumerate(node.generators):
            self.visit(generator.target)
            if position:
                self.visit(generator.iter)
            for condition in generator.ifs:
                self.visit(condition)
        parts = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
        for part in parts:
            self.visit(part)
        self._scope = outer

    def _enter_type_parameters(self, node: ast.AST) -> _Scope:
        """Enter the scope of the parameters in `def f[T]`, if there are any."""
        parameters = getattr(node, "type_params", ())
        if not parameters:
            return self._scope
        outer = self._enter(_Kind.FUNCTION)
        for parameter in parameters:
            self._bind(parameter.name)
            self.generic_visit(parameter)
        return outer

    def _enter(self, kind: _Kind) -> _Scope:
        outer = self._scope
        self._scope = _Scope(kind, outer)
        return outer

    def _bind_optional(self, name: str | None) -> None:
        if name is not None:
            self._bind(name)

    def _bind(self, name: str) -> None:
        self._scope.bound.add(name)

    def _import_scopes(self, name: str) -> list[_Scope]:
        """Where an import lands: here, or where `global` and `nonlocal` may send it."""
        if name not in self._scope.elsewhere:
            return [self._scope]
        found, scope = [], self._scope
        while scope.parent is not None:
            scope = scope.parent
            found.append(scope)
        return found


def _all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    """Every parameter, in the order of the source."""
    stars = [star for star in (arguments.vararg, arguments.kwarg) if star is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *stars]

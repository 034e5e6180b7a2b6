# ruff: noqa: N802, N815  the names of visitors are the names of the syntax tree's classes
"""Level L0: RestrictedPython's transformer, used to find problems; what it rewrites is discarded.

The stock transformer refuses half of what is ordinary in today's Python. It is widened where
nothing can be reached through the widening: annotated and augmented assignment, `async`,
`match`, `nonlocal`, the special methods of the data model, private names, and private
attributes of a tool's own objects. The visitor goes on below what it refuses, so that the
author hears of everything at once.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from RestrictedPython.transformer import INSPECT_ATTRIBUTES, RestrictingNodeTransformer

from policies.reporter import Reporter, shown
from policies.vocabulary import (
    ASSIGNABLE_SPECIAL_NAMES,
    FORBIDDEN_NAMES,
    NAMED_TUPLE_ATTRIBUTES,
    READABLE_SPECIAL_ATTRIBUTES,
    READABLE_SPECIAL_NAMES,
    SPECIAL_METHODS,
    is_class_name,
)

_AnyFunction: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

FRAME_ATTRIBUTES: Final = INSPECT_ATTRIBUTES
"""Attributes that lead to frames, code objects and running generators."""

_PRIVATE_NAME: Final = re.compile(r"_(?!print$)(?!tmp\d+$)[A-Za-z0-9](?:[A-Za-z0-9_]*[A-Za-z0-9])?")
_PRIVATE_ATTRIBUTE: Final = re.compile(r"_[A-Za-z0-9](?:[A-Za-z0-9_]*[A-Za-z0-9])?")
_MANGLED_ATTRIBUTE: Final = re.compile(r"__[A-Za-z0-9](?:[A-Za-z0-9_]*[A-Za-z0-9])?")
_THROWAWAY: Final = frozenset({"_", "__"})

_REPORTED_ELSEWHERE: Final = ("Exec calls", "Eval calls", '"*" imports')
_RULE_OF_MESSAGE: Final = (("Unpacking in comprehensions", "RP312"), ("Lazy import", "RP202"))


@dataclass(frozen=True, slots=True)
class _Frame:
    """One function around the place that is being checked."""

    parameters: frozenset[str]
    own: frozenset[str]
    """Parameters that hold objects of the class that the function is a method of."""


class RestrictedChecker(RestrictingNodeTransformer):
    """Checks a tree at level L0. The tree is changed by it and useless afterwards."""

    def __init__(self, tree: ast.Module, report: Reporter) -> None:
        super().__init__()
        self._report = report
        self._own_classes = {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
        self._frames: list[_Frame] = []
        self._in_class_body = False

    def error(self, node: ast.AST, info: str) -> None:
        """Turn a refusal of RestrictedPython into a finding."""
        if info.startswith(_REPORTED_ELSEWHERE):
            return
        rule = next((rule for head, rule in _RULE_OF_MESSAGE if info.startswith(head)), "RP399")
        self._refuse(rule, node, shown(info, characters=200), "write it without this construct")

    def warn(self, node: ast.AST, info: str) -> None:
        """Drop it: the warnings are about printing, which is not rewritten here."""

    def not_allowed(self, node: ast.AST) -> None:
        """Refuse a construct, and go on with what it contains."""
        what = type(node).__name__
        self._refuse(
            "RP311", node, f"{what} has not been reviewed for L0", "write it without this construct"
        )
        self.node_contents_visit(node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Refuse what has no visitor: syntax newer than the checks."""
        self.not_allowed(node)
        return node

    def inject_print_collector(self, node: ast.Module | ast.FunctionDef, position: int = 0) -> None:
        """Leave printing alone: standard output belongs to the program that runs the tool."""

    def check_name(
        self,
        node: ast.AST,
        name: str | None,
        allow_magic_methods: bool = False,  # noqa: FBT001, FBT002 - the base class's signature
    ) -> None:
        """Check a name that is bound or read."""
        if name is None or not name.startswith("_"):
            if name in {"builtins", "breakpoint"} or (name or "").endswith("__roles__"):
                self._refuse("RP303", node, f"{name!r} is a reserved name", "use another name")
            return
        if name in _THROWAWAY or _PRIVATE_NAME.fullmatch(name):
            return
        if allow_magic_methods and self._in_class_body:
            if name in SPECIAL_METHODS or _MANGLED_ATTRIBUTE.fullmatch(name):
                return
            self._refuse(
                "RP308",
                node,
                f"the special method {name!r} changes how objects are made or seen",
                "use an ordinary method",
            )
            return
        self._refuse(
            "RP302",
            node,
            f"the name {name!r} belongs to the language or to RestrictedPython",
            f"call it {name.strip('_') or 'value'!r}",
        )

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Check the name; forbidden built-ins are reported by the lint at all levels."""
        reads = isinstance(node.ctx, ast.Load)
        if reads and (node.id in READABLE_SPECIAL_NAMES or node.id in FORBIDDEN_NAMES):
            return node
        if not reads and node.id in ASSIGNABLE_SPECIAL_NAMES:
            return node
        self.check_name(node, node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Check the attribute's name against whose object it is read from."""
        self._check_attribute(node)
        if is_class_name(node) and isinstance(node.value, ast.Attribute):
            node.value = node.value.value  # x.__class__.__name__ is a string, as type(x).__name__
        return self.node_contents_visit(node)

    def _allow(self, node: ast.AST) -> ast.AST:
        """Allow a construct, check what it contains, and rewrite nothing."""
        return self.node_contents_visit(node)

    visit_AnnAssign = visit_AugAssign = visit_Call = visit_TypeAlias = _allow
    visit_Await = visit_AsyncFor = visit_AsyncWith = _allow
    visit_Match = visit_match_case = visit_MatchOr = visit_MatchSequence = _allow
    visit_MatchValue = visit_MatchSingleton = _allow

    def visit_Global(self, node: ast.Global) -> ast.AST:
        """Allow it for names that are allowed."""
        for name in node.names:
            self.check_name(node, name)
        return node

    def visit_Nonlocal(self, node: ast.Nonlocal) -> ast.AST:
        """Allow it for names that are allowed; they are raw strings in the tree."""
        for name in node.names:
            self.check_name(node, name)
        return node

    def check_import_names(self, node: ast.ImportFrom | ast.Import) -> ast.AST:
        """Check the names that an import binds; the modules are checked by the lint."""
        if getattr(node, "is_lazy", 0):
            self.error(node, "Lazy import statements are not allowed.")
        for alias in node.names:
            if isinstance(node, ast.ImportFrom) and node.module != "__future__":
                self.check_name(alias, alias.name)
            self.check_name(alias, alias.asname)
        return node

    def visit_TryStar(self, node: ast.AST) -> ast.AST:
        """Refuse `except*`."""
        self._refuse(
            "RP310", node, "`except*` is not available at L0", "catch with a plain `except`"
        )
        return self.node_contents_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Check the function's names, then its contents as a method or a plain function."""
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """Check it like any function."""
        return self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        """Check the parameters, then the body."""
        parameters = self._check_parameters(node.args)
        self._frames.append(_Frame(parameters, frozenset()))
        visited = self.node_contents_visit(node)
        self._frames.pop()
        return visited

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Check names and keywords; a metaclass may only be the one of abstract classes."""
        self.check_name(node, node.name)
        for keyword in node.keywords:
            if keyword.arg == "metaclass" and not _is_abc_meta(keyword.value):
                self._refuse(
                    "RP309",
                    keyword,
                    "a metaclass can rewrite what a class does",
                    "derive from abc.ABC, or use a class decorator",
                )
        outer, self._in_class_body = self._in_class_body, True
        visited = self.node_contents_visit(node)
        self._in_class_body = outer
        return visited

    def visit_MatchAs(self, node: ast.MatchAs) -> ast.AST:
        """Check the name that it binds."""
        self.check_name(node, node.name)
        return self.node_contents_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> ast.AST:
        """Check the name that it binds."""
        self.check_name(node, node.name)
        return node

    def visit_MatchMapping(self, node: ast.MatchMapping) -> ast.AST:
        """Check the name that takes the rest."""
        self.check_name(node, node.rest)
        return self.node_contents_visit(node)

    def visit_MatchClass(self, node: ast.MatchClass) -> ast.AST:
        """Check the attributes that the pattern reads."""
        for name in node.kwd_attrs:
            if name.startswith("_") or name in FRAME_ATTRIBUTES:
                self._refuse(
                    "RP313",
                    node,
                    f"the pattern reads the attribute {name!r}",
                    "match on public attributes",
                )
        return self.node_contents_visit(node)

    def visit_TypeVar(self, node: ast.AST) -> ast.AST:
        """Check the type parameter's name."""
        self.check_name(node, getattr(node, "name", None))
        return self.node_contents_visit(node)

    visit_ParamSpec = visit_TypeVar
    visit_TypeVarTuple = visit_TypeVar

    def _function(self, node: _AnyFunction) -> ast.AST:
        self.check_name(node, node.name, allow_magic_methods=True)
        parameters = self._check_parameters(node.args)
        own = _own_parameters(node) if self._in_class_body else frozenset[str]()
        outer, self._in_class_body = self._in_class_body, False
        self._frames.append(_Frame(parameters, own))
        visited = self.node_contents_visit(node)
        self._frames.pop()
        self._in_class_body = outer
        return visited

    def _check_parameters(self, arguments: ast.arguments) -> frozenset[str]:
        stars = [star for star in (arguments.vararg, arguments.kwarg) if star is not None]
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *stars]
        for argument in every:
            self.check_name(argument, argument.arg)
        return frozenset(argument.arg for argument in every)

    def _check_attribute(self, node: ast.Attribute) -> None:
        name = node.attr
        if name in FRAME_ATTRIBUTES:
            self._refuse(
                "RP305",
                node,
                f"the attribute {name!r} leads to frames or code objects",
                "delete the use",
            )
        elif name.startswith("_") and name != "_" and not self._may_be_private(node):
            self._refuse(
                "RP304",
                node,
                f"the attribute {name!r} belongs to the inside of another object",
                "use the public interface, or type(x).__name__ for a name",
            )
        elif name.endswith("__roles__"):
            self._refuse("RP303", node, f"{name!r} is a reserved name", "use another name")

    def _may_be_private(self, node: ast.Attribute) -> bool:
        name, base = node.attr, node.value
        reads = isinstance(node.ctx, ast.Load)
        if name in NAMED_TUPLE_ATTRIBUTES or (reads and name in READABLE_SPECIAL_ATTRIBUTES):
            return True
        if name in SPECIAL_METHODS:
            return reads and _is_super_call(base)
        if not isinstance(base, ast.Name):
            return False
        if _PRIVATE_ATTRIBUTE.fullmatch(name):
            return base.id in self._own_classes or self._is_own(base.id)
        return bool(_MANGLED_ATTRIBUTE.fullmatch(name)) and self._is_own(base.id)

    def _is_own(self, name: str) -> bool:
        for frame in reversed(self._frames):
            if name in frame.own:
                return True
            if name in frame.parameters:
                return False
        return False

    def _refuse(self, rule: str, node: ast.AST, message: str, suggestion: str) -> None:
        self._report.at(rule, node, message, suggestion)


def _own_parameters(node: _AnyFunction) -> frozenset[str]:
    """The parameters that hold objects of the method's class, unless they are rebound."""
    if any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list):
        return frozenset()
    positional = [*node.args.posonlyargs, *node.args.args]
    count = 2 if node.name in SPECIAL_METHODS and len(positional) == 2 else 1  # noqa: PLR2004 - __eq__(self, other)
    rebound = {
        inner.id
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load)
    }
    return frozenset(argument.arg for argument in positional[:count]) - rebound


def _is_super_call(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
    )


def _is_abc_meta(node: ast.expr) -> bool:
    return ast.unparse(node) in {"ABCMeta", "abc.ABCMeta"}

"""The lint: what the syntax tree of a tool says about what the code could reach."""

from __future__ import annotations

import ast
import string
from typing import Final

from policies.codepolicy import CodeChecker
from policies.findings import Finding
from policies.imports import ImportChecker
from policies.modules import CALL_ONLY, ImportRules
from policies.permissions import LintLevel, Permissions
from policies.reporter import Reporter, shown
from policies.scopes import Scopes
from policies.syntax import reparse
from policies.transformer import FRAME_ATTRIBUTES, RestrictedChecker
from policies.vocabulary import FORBIDDEN_NAMES

_BY_NAME: Final = {"getattr": 2, "hasattr": 2, "setattr": 3, "delattr": 2}
"""Built-ins that take an attribute's name as their second argument."""

_ALLOWED_AT_L2: Final = frozenset({"open", "dir", "memoryview", "vars"})
_RESERVED: Final = {
    LintLevel.L1: ("L1, packages", "use the standard library, and leave out permissions.packages"),
    LintLevel.L3: (
        "L3, network and secrets",
        "take what is fetched as a parameter; leave out permissions.hosts and .secrets",
    ),
}


def lint(code: str, tree: ast.Module, permissions: Permissions) -> tuple[Finding, ...]:
    """All findings on `tree`, the tree of `code`, at the level that `permissions` ask for."""
    report = Reporter(code)
    level = permissions.lint_level
    check_level(permissions, report)
    rules = ImportRules(level, frozenset(permissions.imports))
    scopes = Scopes(tree)
    imports = ImportChecker(rules, scopes, report)
    imports.survey(tree)
    _CommonChecker(rules, scopes, imports, report).visit(tree)
    imports.check_permissions(permissions.imports)
    if rules.code_level:
        CodeChecker(report).visit(tree)
    else:
        RestrictedChecker(tree, report).visit(reparse(code))
    return tuple(report.findings)


def lint_permissions(permissions: Permissions) -> tuple[Finding, ...]:
    """The findings that need no tree: levels that are reserved."""
    report = Reporter("")
    check_level(permissions, report)
    return tuple(report.findings)


def check_level(permissions: Permissions, report: Reporter) -> None:
    """Refuse what asks for a level that nothing provides yet."""
    asked = {permissions.lint_level, permissions.level}
    if permissions.packages:
        asked.add(LintLevel.L1)
    for level in sorted(asked & _RESERVED.keys()):
        what, advice = _RESERVED[level]
        report.on("RP401", None, f"the permissions ask for level {what}: reserved", advice)


class _CommonChecker(ast.NodeVisitor):
    """What holds at every level: imports, forbidden built-ins, attributes named by strings."""

    def __init__(
        self, rules: ImportRules, scopes: Scopes, imports: ImportChecker, report: Reporter
    ) -> None:
        self._rules = rules
        self._scopes = scopes
        self._imports = imports
        self._report = report

    def visit_Import(self, node: ast.Import) -> None:
        self._imports.check_import(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._imports.check_import_from(node)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            return
        self._imports.check_value(node)
        if self._reads_by_name(node) is not None:
            self._refuse_by_name(node, node.id)
        if self._scopes.is_local(node):
            return
        if node.id in _BY_NAME:
            self._refuse_by_name(node, node.id)
        elif node.id in FORBIDDEN_NAMES and not (
            self._rules.code_level and node.id in _ALLOWED_AT_L2
        ):
            self._report.at(
                "RP301",
                node,
                f"the built-in {node.id!r} is not available to tools",
                FORBIDDEN_NAMES[node.id],
            )

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self._reads_by_name(node) is not None:
            self._refuse_by_name(node, ast.unparse(node))
        self._check_format(node)
        if not self._imports.check_chain(node):
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        arguments: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
        func = node.func
        if isinstance(func, ast.Name) and func.id in _BY_NAME and not self._scopes.is_local(func):
            self._check_by_name(node, func.id)
            if node.args and self._is_module(node.args[0]):
                arguments = arguments[1:]
        elif isinstance(func, ast.Name) and func.id == "type" and len(node.args) > 1:
            self._report.at(
                "RP309",
                node,
                "type() with three arguments makes a class out of data",
                "write a class statement",
            )
        elif self._reads_by_name(func) is not None:
            self._check_getter(node)
        else:
            self.visit(func)
        for argument in arguments:
            self.visit(argument)

    def _is_module(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and bool(self._scopes.modules(node))

    def _reads_by_name(self, node: ast.expr) -> tuple[str, str] | None:
        """The member of `operator` that `node` is, if it reads attributes by name."""
        found: set[tuple[str, str]] = set()
        if isinstance(node, ast.Name):
            found = set(self._scopes.members(node))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found = {(module, node.attr) for module in self._scopes.modules(node.value)}
        return next(iter(sorted(found & CALL_ONLY)), None)

    def _check_by_name(self, node: ast.Call, function: str) -> None:
        name = node.args[1] if len(node.args) > 1 else None
        if not _is_public_literal(name):
            self._refuse_by_name(node, function)
        elif self._is_module(node.args[0]) and isinstance(name, ast.Constant):
            chain = ast.Attribute(node.args[0], str(name.value), ast.Load())
            if function in {"setattr", "delattr"}:
                chain.ctx = ast.Store()
            self._imports.check_chain(ast.copy_location(chain, node))

    def _check_getter(self, node: ast.Call) -> None:
        names = node.args if ast.unparse(node.func).endswith("attrgetter") else node.args[:1]
        if not names or not all(_is_public_literal(name) for name in names):
            self._refuse_by_name(node, ast.unparse(node.func))

    def _refuse_by_name(self, node: ast.AST, function: str) -> None:
        self._report.at(
            "RP306",
            node,
            f"{shown(function)} is available only as a direct call with a literal public name",
            "write the attribute out, such as x.name, or look the value up in a dict",
        )

    def _check_format(self, node: ast.Attribute) -> None:
        if node.attr not in {"format", "format_map"} or not isinstance(node.ctx, ast.Load):
            return
        text = _literal_text(node.value)
        if text is not None:
            if _reaches(text):
                self._report.at(
                    "RP307",
                    node,
                    f"the format string {shown(text)!r} reads attributes or items",
                    "use an f-string, or pass the values themselves",
                )
        elif not self._rules.code_level and not self._has_a_format_of_its_own(node.value):
            self._report.at(
                "RP307",
                node,
                "a format string that is computed could read attributes",
                "use an f-string, or a literal format string",
            )

    def _has_a_format_of_its_own(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and (node.id in {"self", "cls"} or self._is_module(node))


def _is_public_literal(node: ast.expr | None) -> bool:
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return False
    parts = node.value.split(".")
    return all(p and not p.startswith("_") and p not in FRAME_ATTRIBUTES for p in parts)


def _literal_text(node: ast.expr) -> str | None:
    """The text of a literal, or of literals added together."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _literal_text(node.left), _literal_text(node.right)
        return None if left is None or right is None else left + right
    return None


def _reaches(text: str) -> bool:
    """Whether a format string has a field that reads an attribute or an item."""
    pending = [text]
    while pending:
        try:
            fields = list(string.Formatter().parse(pending.pop()))
        except ValueError:
            continue  # not a format string: it raises when it runs
        for _, name, nested, _ in fields:
            if name and ("." in name or "[" in name):
                return True
            if nested:
                pending.append(nested)
    return False

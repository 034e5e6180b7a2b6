"""The lint: what the syntax tree of a tool says about what the code could reach."""

from __future__ import annotations

import ast
import builtins
from difflib import get_close_matches
from typing import Final

from policies.byname import BY_NAME, ByNameChecker, is_public_literal
from policies.codepolicy import CodeChecker
from policies.findings import Finding
from policies.granted import DECLARATIONS, GrantChecker
from policies.imports import ImportChecker
from policies.modules import Access, ImportRules, access
from policies.permissions import Permissions
from policies.reporter import Reporter, shown
from policies.scopes import Scopes
from policies.syntax import reparse
from policies.transformer import RestrictedChecker
from policies.vocabulary import FORBIDDEN_NAMES

_ALLOWED_AT_L2: Final = frozenset({"open", "dir", "memoryview", "vars"})
_BUILT_INS: Final = frozenset(dir(builtins)) | {"__file__", "__annotations__", "__class__"}
"""What a module has without defining it."""


def lint(code: str, tree: ast.Module, permissions: Permissions) -> tuple[Finding, ...]:
    """All findings on `tree`, the tree of `code`, at the level that `permissions` ask for."""
    report = Reporter(code)
    level = permissions.lint_level
    rules = ImportRules(level, frozenset(permissions.imports))
    scopes = Scopes(tree)
    imports = ImportChecker(rules, scopes, report, permissions.packages)
    imports.survey(tree)
    by_name = ByNameChecker(tree, scopes, report, strict=not rules.code_level)
    granted = GrantChecker(permissions, scopes, report)
    _CommonChecker(rules, scopes, imports, by_name, granted, report).visit(tree)
    imports.check_permissions(permissions.imports)
    imports.check_packages()
    if rules.code_level:
        CodeChecker(report).visit(tree)
    else:
        RestrictedChecker(tree, report).visit(reparse(code))
    return tuple(report.findings)


class _CommonChecker(ast.NodeVisitor):
    """What holds at every level: imports, forbidden built-ins, attributes named by strings."""

    def __init__(  # noqa: PLR0913, PLR0917 - one argument a part of the checks
        self,
        rules: ImportRules,
        scopes: Scopes,
        imports: ImportChecker,
        by_name: ByNameChecker,
        granted: GrantChecker,
        report: Reporter,
    ) -> None:
        self._rules = rules
        self._scopes = scopes
        self._imports = imports
        self._by_name = by_name
        self._granted = granted
        self._report = report

    def visit_Import(self, node: ast.Import) -> None:
        self._imports.check_import(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._imports.check_import_from(node)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._by_name.check_store(node)
            return
        self._imports.check_value(node)
        self._by_name.check_value(node)
        if self._scopes.is_local(node):
            return
        open_at_level = self._rules.code_level and node.id in _ALLOWED_AT_L2
        if node.id in BY_NAME:
            self._by_name.refuse(node, node.id)
        elif node.id in FORBIDDEN_NAMES and not open_at_level:
            self._report.at(
                "RP301",
                node,
                f"the built-in {node.id!r} is not available to tools",
                FORBIDDEN_NAMES[node.id],
            )
        elif not (
            self._scopes.is_bound(node) or node.id in _BUILT_INS or self._granted.knows(node)
        ):
            self._refuse_undefined(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._by_name.check_value(node)
        self._by_name.check_format(node, owner_is_known=self._has_a_format_of_its_own(node.value))
        if not self._imports.check_chain(node):
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        arguments: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
        func = node.func
        self._granted.check_call(node)
        member = self._by_name.member(func)
        if isinstance(func, ast.Name) and func.id in BY_NAME and not self._scopes.is_local(func):
            self._check_access(node, func.id)
            if node.args and self._is_module(node.args[0]):
                arguments = arguments[1:]
        elif isinstance(func, ast.Name) and func.id == "type" and len(node.args) > 1:
            self._report.at(
                "RP309",
                node,
                "type() with three arguments makes a class out of data",
                "write a class statement",
            )
        elif member is not None:
            self._by_name.check_call(node, member)
        else:
            self.visit(func)
        for argument in arguments:
            self.visit(argument)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._by_name.check_assignment(node)
        self.generic_visit(node)

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        self._by_name.check_pattern(node)
        self.generic_visit(node)

    def _is_module(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and bool(self._scopes.modules(node))

    def _has_a_format_of_its_own(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and (node.id in {"self", "cls"} or self._is_module(node))

    def _check_access(self, node: ast.Call, function: str) -> None:
        """Check `getattr(x, "name")` and its kind; on a module, like `x.name`."""
        name = node.args[1] if len(node.args) > 1 else None
        if not is_public_literal(name):
            self._by_name.refuse(node, function)
        elif self._is_module(node.args[0]) and isinstance(name, ast.Constant):
            chain = ast.Attribute(node.args[0], str(name.value), ast.Load())
            if function in {"setattr", "delattr"}:
                chain.ctx = ast.Store()
            self._imports.check_chain(ast.copy_location(chain, node))

    def _refuse_undefined(self, node: ast.Name) -> None:
        if node.id in DECLARATIONS:
            self._granted.refuse(node)
            return
        known = sorted(self._scopes.bound_names() | _BUILT_INS | self._granted.names)
        near = get_close_matches(node.id, known, n=1)
        if access(node.id) is not Access.PACKAGE:
            advice = f"add `import {node.id}`"
        else:
            advice = f"did you mean {near[0]!r}?" if near else "define it, or import it"
        self._report.at("RP315", node, f"the name {shown(node.id)!r} is defined nowhere", advice)

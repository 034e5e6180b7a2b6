"""Attributes that are read by a string: `getattr`, `attrgetter`, format strings, class patterns."""

from __future__ import annotations

import ast
import builtins
import string
from typing import Final

from policies.reporter import Reporter, shown
from policies.scopes import Scopes
from policies.transformer import FRAME_ATTRIBUTES

BY_NAME: Final = frozenset({"getattr", "hasattr", "setattr", "delattr"})
"""Built-ins that take an attribute's name as their second argument."""

CALL_ONLY: Final = frozenset(
    {("operator", "attrgetter"), ("operator", "methodcaller"), ("functools", "wraps")}
)
"""Functions that read attributes by name: harmless when called in the usual way, with literals."""

_FORMATS: Final = frozenset({"format", "format_map"})
_BUILT_IN_CLASSES: Final = frozenset(
    {
        *("bool", "bytearray", "bytes", "dict", "float", "frozenset"),
        *("int", "list", "set", "str", "tuple"),
    }
)
"""Classes of which a pattern's one positional part is the object itself."""

_PLAIN_DECORATORS: Final = frozenset({"dataclass", "final", "total_ordering", "unique"})


class ByNameChecker:
    """Refuses what could read a private attribute without spelling it out."""

    def __init__(self, tree: ast.Module, scopes: Scopes, report: Reporter, *, strict: bool) -> None:
        self._scopes = scopes
        self._report = report
        self._strict = strict
        """Whether format strings that are computed are refused too."""

        self._own_classes = _readable_classes(tree)
        self._checked: set[ast.Name] = set()

    def member(self, node: ast.expr) -> tuple[str, str] | None:
        """The function that `node` is, if it is one of those that may only be called."""
        found: set[tuple[str, str]] = set()
        if isinstance(node, ast.Name):
            found = set(self._scopes.members(node))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found = {(module, node.attr) for module in self._scopes.modules(node.value)}
        return next(iter(sorted(found & CALL_ONLY)), None)

    def check_value(self, node: ast.expr) -> None:
        """Refuse such a function where it is not called."""
        if self.member(node) is not None:
            self.refuse(node, ast.unparse(node))

    def check_call(self, node: ast.Call, member: tuple[str, str]) -> None:
        """Check a call of such a function."""
        first_is_public = bool(node.args) and is_public_literal(node.args[0])
        match member[1]:
            case "attrgetter":
                fine = first_is_public and all(map(is_public_literal, node.args))
            case "methodcaller":
                fine = first_is_public
            case _:
                plain = len(node.args) == 1 and not isinstance(node.args[0], ast.Starred)
                fine = plain and not node.keywords
        if not fine:
            self.refuse(node, ast.unparse(node.func))

    def refuse(self, node: ast.AST, function: str) -> None:
        """Report that `function` is used in another way than the harmless one."""
        if function.endswith("wraps"):
            advice = "call it with the wrapped function alone: @functools.wraps(function)"
        else:
            advice = "write the attribute out, such as x.name, or look the value up in a dict"
        self._report.at(
            "RP306",
            node,
            f"{shown(function)} is available only as a direct call with a literal public name",
            advice,
        )

    def check_format(self, node: ast.Attribute, *, owner_is_known: bool) -> None:
        """Check `text.format`; with `owner_is_known` it is no string's."""
        if node.attr not in _FORMATS or not isinstance(node.ctx, ast.Load) or owner_is_known:
            return
        text = _literal_text(node.value)
        if text is not None and _reaches(text):
            self._report.at(
                "RP307",
                node,
                f"the format string {shown(text)!r} reads attributes or items",
                "use an f-string, or pass the values themselves",
            )
        elif text is None and self._strict:
            self._report.at(
                "RP307",
                node,
                "a format string that is computed could read attributes",
                "use an f-string, or a literal format string",
            )

    def check_pattern(self, node: ast.MatchClass) -> None:
        """Refuse a class pattern that reads attributes which are named elsewhere."""
        name = node.cls.id if isinstance(node.cls, ast.Name) else ""
        known = name in _BUILT_IN_CLASSES or name in self._own_classes
        if node.patterns and not known:
            self._report.at(
                "RP313",
                node,
                "a class pattern by position reads attributes that its class names elsewhere",
                "name the attributes: `case Point(x=x, y=y)`",
            )

    def check_assignment(self, node: ast.Assign) -> None:
        """Note `__match_args__ = ("x", "y")` where it names public attributes only."""
        match node:
            case ast.Assign(
                targets=[ast.Name(id="__match_args__") as target], value=ast.Tuple(elts=names)
            ) if all(map(is_public_literal, names)):
                self._checked.add(target)
            case _:
                pass

    def check_store(self, node: ast.Name) -> None:
        """Refuse every other way to set `__match_args__`."""
        if node.id == "__match_args__" and node not in self._checked:
            self._report.at(
                "RP313",
                node,
                "`__match_args__` may name nothing but public attributes, as literals",
                'write it out: `__match_args__ = ("x", "y")`',
            )


def is_public_literal(node: ast.expr | None) -> bool:
    """Whether `node` is the literal name of an attribute that anybody may read."""
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return False
    parts = node.value.split(".")
    return all(
        part and not part.startswith("_") and part not in FRAME_ATTRIBUTES | _FORMATS
        for part in parts
    )


def _readable_classes(tree: ast.Module) -> set[str]:
    """Classes of the source of which the source shows all that a pattern may read.

    Nothing else in it has their name, nothing but well-known decorators touches them, and so
    for their bases, which are imported, built in, or such classes themselves.
    """
    classes = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    names = [n.name for n in classes]
    variables = {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)
    } | {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    imported = {n.asname or n.name for n in ast.walk(tree) if isinstance(n, ast.alias)}
    readable = {
        n.name
        for n in classes
        if names.count(n.name) == 1
        and n.name not in variables | imported
        and all(_last_name(decorator) in _PLAIN_DECORATORS for decorator in n.decorator_list)
    }
    known = imported | frozenset(dir(builtins)) - variables - set(names)
    while True:
        left = {
            n.name
            for n in classes
            if n.name in readable and all(_first_name(base) in readable | known for base in n.bases)
        }
        if left == readable:
            return readable
        readable = left


def _first_name(node: ast.expr) -> str:
    """`a` of `a.b[c]`."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _last_name(node: ast.expr) -> str:
    """`b` of `a.b(c)`."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else _first_name(node)


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

"""Level L2: a policy over the syntax tree alone; the container is the only boundary."""

from __future__ import annotations

import ast
from typing import Final

from policies.reporter import Reporter
from policies.transformer import FRAME_ATTRIBUTES
from policies.vocabulary import (
    ASSIGNABLE_SPECIAL_NAMES,
    FORBIDDEN_NAMES,
    READABLE_SPECIAL_ATTRIBUTES,
    READABLE_SPECIAL_NAMES,
    SPECIAL_METHODS,
    is_class_name,
)

_PROCESS_ATTRIBUTES: Final = frozenset(
    {"subprocess_exec", "subprocess_shell", "enable_load_extension", "load_extension"}
)
_OPEN_METHODS: Final = SPECIAL_METHODS | {
    *("__getattr__", "__setattr__", "__delattr__", "__new__", "__init_subclass__", "__set_name__"),
    *("__class_getitem__", "__missing__", "__get__", "__set__", "__delete__", "__dir__"),
}
_OPEN_ATTRIBUTES: Final = (
    READABLE_SPECIAL_ATTRIBUTES
    | SPECIAL_METHODS
    | {
        *("__new__", "__setattr__", "__module__", "__annotations__", "__version__", "__slots__"),
        *("__cause__", "__context__", "__match_args__", "__dataclass_fields__", "__members__"),
    }
)
_OPEN_NAMES: Final = READABLE_SPECIAL_NAMES | ASSIGNABLE_SPECIAL_NAMES | {"__file__", "__"}


class CodeChecker(ast.NodeVisitor):
    """Level L2: names and attributes that lead from an object to the interpreter."""

    def __init__(self, report: Reporter) -> None:
        self._report = report

    def visit_Name(self, node: ast.Name) -> None:
        """Refuse names of the language that are not plain information."""
        if _is_special(node.id) and node.id not in _OPEN_NAMES | FORBIDDEN_NAMES.keys():
            self._report.at(
                "RP302",
                node,
                f"the name {node.id!r} belongs to the language",
                f"call it {node.id.strip('_') or 'value'!r}",
            )

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Refuse attributes that lead to classes, frames, globals or processes."""
        if node.attr in FRAME_ATTRIBUTES:
            self._report.at(
                "RP305",
                node,
                f"the attribute {node.attr!r} leads to frames or code objects",
                "delete the use",
            )
        elif node.attr in _PROCESS_ATTRIBUTES:
            self._report.at(
                "RP314",
                node,
                f"{node.attr!r} starts processes or loads native code",
                "do the work in Python itself",
            )
        elif _is_special(node.attr) and node.attr not in _OPEN_ATTRIBUTES:
            self._report.at(
                "RP304",
                node,
                f"the attribute {node.attr!r} leads from an object to the interpreter",
                "use type(x), isinstance or the public interface",
            )
        self.visit(
            node.value.value
            if is_class_name(node) and isinstance(node.value, ast.Attribute)
            else node.value
        )

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Check the name of a method."""
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """Check the name of a method."""
        self._function(node)

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        """Check the attributes that a pattern reads."""
        for name in node.kwd_attrs:
            if _is_special(name) or name in FRAME_ATTRIBUTES:
                self._report.at(
                    "RP313",
                    node,
                    f"the pattern reads the attribute {name!r}",
                    "match on public attributes",
                )
        self.generic_visit(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if _is_special(node.name) and node.name not in _OPEN_METHODS:
            self._report.at(
                "RP308",
                node,
                f"the special method {node.name!r} changes how objects are made or seen",
                "use an ordinary method",
            )
        self.generic_visit(node)


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__") and len(name) > 4  # noqa: PLR2004 - more than underscores

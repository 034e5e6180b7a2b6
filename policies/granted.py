"""The names that a permission adds to the globals of a tool; the guest's modules define them."""

from __future__ import annotations

import ast
from typing import Final

from policies.permissions import Permissions
from policies.reporter import Reporter, shown
from policies.scopes import Scopes
from policies.toolcalls import callee_name

__all__ = ["DECLARATIONS", "GrantChecker", "granted_names"]

_CALL_TOOL: Final = "call_tool"

_INPUT: Final = frozenset({"input_names", "read_input", "read_input_bytes"})
_OUTPUT: Final = frozenset({"write_output"})
_TOOLS: Final = frozenset({_CALL_TOOL, "ToolCallError"})

DECLARATIONS: Final = {
    **dict.fromkeys(_INPUT, 'declare permissions.files = ["input"]'),
    **dict.fromkeys(_OUTPUT, 'declare permissions.files = ["output"]'),
    **dict.fromkeys(_TOOLS, "name the tools that it calls in permissions.tools"),
}
"""Each of these names, with the declaration that brings it."""


def granted_names(permissions: Permissions) -> frozenset[str]:
    """The names that a tool with `permissions` finds without defining or importing them."""
    return frozenset[str]().union(
        _INPUT if "input" in permissions.files else frozenset(),
        _OUTPUT if "output" in permissions.files else frozenset(),
        _TOOLS if permissions.tools else frozenset(),
    )


class GrantChecker:
    """Holds the use of those names against what is declared."""

    def __init__(self, permissions: Permissions, scopes: Scopes, report: Reporter) -> None:
        self.names = granted_names(permissions)
        self._callees = sorted(filter(None, map(callee_name, permissions.tools)))
        self._scopes = scopes
        self._report = report

    def knows(self, node: ast.Name) -> bool:
        """Whether the permissions bring this name."""
        return node.id in self.names

    def refuse(self, node: ast.Name) -> None:
        """Report a name that a permission would bring which is not declared."""
        self._report.at(
            "RP315",
            node,
            f"the name {node.id!r} is there only for tools that declare it",
            f"{DECLARATIONS[node.id]}, or do without",
        )

    def check_call(self, node: ast.Call) -> None:
        """Refuse a `call_tool("name", …)` of a tool that is not declared."""
        func = node.func
        if not (
            isinstance(func, ast.Name)
            and func.id == _CALL_TOOL
            and func.id in self.names
            and not self._scopes.is_bound(func)
            and node.args
        ):
            return
        first = node.args[0]
        if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
            return  # a computed name is held against the permissions when it is called
        if first.value not in self._callees:
            self._report.at(
                "RP406",
                first,
                f"call_tool names {shown(first.value)!r}, which permissions.tools does not; it has "
                f"{', '.join(self._callees) or 'no tool'}",
                "name the tool in permissions.tools, and call it by its bare name",
            )

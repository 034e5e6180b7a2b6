"""Which function of a source a call of the tool runs."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TypeAlias

from policies.names import name_skeleton
from policies.reporter import Reporter, shown

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Entry:
    """The function, and the name under which the module has it."""

    name: str
    node: Function


def find_entry(tree: ast.Module, tool: str, report: Reporter) -> Entry | None:
    """The function named like the tool; else one that nobody could mistake; else a finding.

    In this order: the same name, the same name but for case, underscores and look-alikes, an
    assignment `tool = function`, the only public function.
    """
    functions = {n.name: n for n in tree.body if isinstance(n, Function)}
    if tool in functions:
        return Entry(tool, functions[tool])
    alike = [name for name in functions if name_skeleton(name) == name_skeleton(tool)]
    if len(alike) == 1:
        return Entry(alike[0], functions[alike[0]])
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name(id=target)):
                if name == tool and target in functions:
                    return Entry(name, functions[target])
            case _:
                pass
    public = [name for name in functions if not name.startswith("_")]
    if len(public) == 1 and not _defined_otherwise(tree, tool):
        return Entry(public[0], functions[public[0]])
    _report_missing(tree, tool, public, report)
    return None


def _defined_otherwise(tree: ast.Module, tool: str) -> bool:
    """Whether the tool's name is a class or a value in the source."""
    return any(
        (isinstance(node, ast.ClassDef) and node.name == tool)
        or (
            isinstance(node, ast.Assign)
            and any(isinstance(t, ast.Name) and t.id == tool for t in node.targets)
        )
        for node in tree.body
    )


def _report_missing(tree: ast.Module, tool: str, public: list[str], report: Reporter) -> None:
    tool = shown(tool)
    if _defined_otherwise(tree, tool):
        report.on(
            "SC101",
            None,
            f"{tool!r} is not a function in the code",
            f"define the function: `def {tool}(...):`",
        )
    elif public:
        names = ", ".join(shown(name) for name in public[:10])
        report.on(
            "SC102",
            None,
            f"no function is named {tool!r}, and several could be meant: {names}",
            f"name the one that is to be called {tool!r}",
        )
    else:
        report.on(
            "SC101",
            None,
            f"the code defines no function named {tool!r} at its top level",
            f"define the function: `def {tool}(...):`",
        )

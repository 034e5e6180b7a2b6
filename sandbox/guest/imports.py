"""What a program imports of the standard library, loaded ahead of its calls."""

# ruff: noqa: ANN001, ANN201  annotations cost start time; types are plain

import _ast
import sys
from importlib import import_module

NOT_AHEAD = frozenset({"__main__", "antigravity", "this"})
"""Modules that do something when they are imported."""


def imported_names(tree):
    """Names of all modules that the source imports, or may mean to."""
    names, waiting = set(), [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, _ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, _ast.AsyncFunctionDef):
            names.add("asyncio")
        for field in getattr(node, "_fields", ()):
            value = getattr(node, field, None)
            waiting.extend(value if isinstance(value, list) else [value])
    return names


def load_modules(source):
    """Import those of them that belong to the library, which is ours and not the tool's."""
    for name in sorted(imported_names(compile(source, "<tool>", "exec", _ast.PyCF_ONLY_AST))):
        first = name.partition(".")[0]
        if first in sys.stdlib_module_names and first not in NOT_AHEAD:
            try:
                import_module(name)
            except ImportError:  # it names a function or class, or is not in this image
                continue

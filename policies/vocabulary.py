"""Names that mean something to Python: which of them a tool may define, read or assign."""

from __future__ import annotations

import ast
from typing import Final

_OPERATORS: Final = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow"),
    *("lshift", "rshift", "and", "or", "xor"),
)

SPECIAL_METHODS: Final = frozenset(
    f"__{name}__"
    for name in (
        *("init", "post_init", "call", "repr", "str", "bytes", "format", "bool", "hash"),
        *("len", "length_hint", "iter", "next", "reversed", "contains", "getitem", "setitem"),
        *("delitem", "missing", "enter", "exit", "aenter", "aexit", "aiter", "anext", "await"),
        *("eq", "ne", "lt", "le", "gt", "ge", "neg", "pos", "abs", "invert", "complex", "int"),
        *("float", "index", "round", "trunc", "floor", "ceil", "copy", "deepcopy", "divmod"),
        *("rdivmod", *(f"{side}{operator}" for side in ("", "r", "i") for operator in _OPERATORS)),
    )
)
"""Methods of the data model that a tool's class may define."""

READABLE_SPECIAL_NAMES: Final = frozenset({"__name__", "__doc__", "__debug__", "__all__"})
ASSIGNABLE_SPECIAL_NAMES: Final = frozenset(
    {"__all__", "__slots__", "__match_args__", "__version__", "__author__", "__hash__"}
)
READABLE_SPECIAL_ATTRIBUTES: Final = frozenset({"__name__", "__qualname__", "__doc__", "__init__"})
NAMED_TUPLE_ATTRIBUTES: Final = frozenset({"_replace", "_asdict", "_fields", "_make"})

FORBIDDEN_NAMES: Final = {
    "open": "take the text as a parameter, or declare the import of io and use io.open",
    "eval": "use ast.literal_eval for literals, or parse the text yourself",
    "exec": "write the code out as a function",
    "compile": "write the code out as a function",
    "globals": "keep the values in a dict of your own",
    "locals": "keep the values in a dict of your own",
    "vars": "name the attributes, or use dataclasses.asdict",
    "dir": "name the attributes that you need",
    "input": "take the value as a parameter of the function",
    "memoryview": "use bytes or bytearray",
    "breakpoint": "delete the call",
    "__import__": "use an import statement",
    "__builtins__": "use the built-in by its name",
    "__loader__": "delete the use",
    "__spec__": "delete the use",
    "__build_class__": "use a class statement",
}
"""Built-ins that are refused wherever they are read, with what to do instead."""


def is_class_name(node: ast.Attribute) -> bool:
    """Whether `node` is `x.__class__.__name__`, which is only text."""
    inner = node.value
    return (
        node.attr in {"__name__", "__qualname__"}
        and isinstance(node.ctx, ast.Load)
        and isinstance(inner, ast.Attribute)
        and inner.attr == "__class__"
    )

"""A program of its own: what the docstrings in a source say, as JSON.

Parsing hostile source can crash an interpreter, so `toolfile` starts this file in a process that
may die. It reads the source from standard input, imports nothing of ours and runs none of it:
the calls and values of doctests are read as literals or left out.
"""

from __future__ import annotations

import ast
import doctest
import json
import sys
from typing import TypeAlias

Document: TypeAlias = dict[str, object]

_SECTIONS = ("args:", "arguments:", "parameters", "returns:", "raises:", "example", "note", ":")


def read(code: str) -> Document:
    """The module's description, and name, description and examples of each public function."""
    tree = ast.parse(code)
    functions = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    return {
        "description": describe(ast.get_docstring(tree)),
        "functions": [
            {
                "name": function.name,
                "description": describe(ast.get_docstring(function)),
                "examples": examples(function),
            }
            for function in functions
        ],
    }


def describe(docstring: str | None) -> str:
    """The words before the first section or doctest, as one line."""
    words: list[str] = []
    for line in (docstring or "").strip().splitlines():
        start = line.strip().lower()
        if start.startswith((">>>", *_SECTIONS)):
            break
        words.append(line.strip())
    return " ".join(word for word in words if word)


def examples(function: ast.FunctionDef) -> list[Document]:
    """The doctests that are one call of `function` with literals, and whose outcome is one."""
    found = doctest.DocTestParser().get_examples(ast.get_docstring(function) or "")
    read_ones = (_example(function, each) for each in found)
    return [each for each in read_ones if each is not None]


def _example(function: ast.FunctionDef, example: doctest.Example) -> Document | None:
    try:
        call = ast.parse(example.source.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or ast.unparse(call.func) != function.name:
            return None
        arguments = _arguments(function, call)
        if example.exc_msg is not None:
            name = example.exc_msg.split(":", 1)[0].strip()
            return {"arguments": arguments, "raises": name.rsplit(".", 1)[-1]}
        value = ast.literal_eval(example.want.strip() or "None")
        return {"arguments": arguments, "returns": _json(value)}
    except (SyntaxError, ValueError, TypeError):
        return None


def _arguments(function: ast.FunctionDef, call: ast.Call) -> Document:
    names = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
    given = {
        name: _json(ast.literal_eval(value))
        for name, value in zip(names[: len(call.args)], call.args, strict=True)
    }
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ValueError("**arguments are no literals")
        given[keyword.arg] = _json(ast.literal_eval(keyword.value))
    return given


def _json(value: object) -> object:
    """`value` as JSON has it; ValueError for what it has not."""
    return json.loads(json.dumps(value, allow_nan=False))


def main() -> None:
    """Read standard input, write one JSON document to standard output."""
    json.dump(read(sys.stdin.buffer.read().decode("utf-8")), sys.stdout)


if __name__ == "__main__":
    main()

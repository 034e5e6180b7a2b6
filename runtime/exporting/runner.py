"""A program of its own, copied into exported skills: calls the tool beside it.

It reads arguments as one JSON object from its first argument or standard input, and writes the
result as JSON. There is no sandbox here: whoever runs it gives it one. It needs the standard
library alone, and whatever packages the tool declares.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import hashlib
import inspect
import json
import sys
import types
from collections.abc import Awaitable, Callable
from pathlib import Path

SKILL = Path(__file__).resolve().parents[1]
"""The folder with `SKILL.md`."""


def main() -> int:
    """Check the source, call the function, print what it returns; 1 if it raises, 2 if misused."""
    tool = json.loads((SKILL / "assets" / "tool.json").read_text("utf-8"))
    source = SKILL / "scripts" / "tool.py"
    content = source.read_bytes()
    found = "sha256:" + hashlib.sha256(content).hexdigest()
    if found != tool["code_digest"]:
        return fail(2, f"{source} is {found}, and {tool['code_digest']} was exported: not run")
    try:
        arguments = json.loads(sys.argv[1] if len(sys.argv) > 1 else sys.stdin.read())
    except ValueError as error:
        return fail(2, f"the arguments are no JSON: {error}")
    if not isinstance(arguments, dict):
        return fail(2, 'the arguments are one JSON object, such as {"name": "value"}')
    try:
        result = call(load(content, source, tool["function"]), arguments)
    except Exception as error:  # noqa: BLE001 - whatever the tool raises is its answer
        return fail(1, f"{type(error).__name__}: {error}")
    print(json.dumps(result, default=plain, allow_nan=False))  # noqa: T201 - the way out
    return 0


def call(function: Callable[..., object], arguments: dict[str, object]) -> object:
    """What the function makes of `arguments`; they go by name wherever it takes names."""
    positional = [
        arguments.pop(each.name)
        for each in inspect.signature(function).parameters.values()
        if each.kind is each.POSITIONAL_ONLY and each.name in arguments
    ]
    result = function(*positional, **arguments)
    return asyncio.run(finish(result)) if inspect.isawaitable(result) else result


async def finish(result: Awaitable[object]) -> object:
    """The result of an `async def`."""
    return await result


def load(content: bytes, source: Path, function: str) -> Callable[..., object]:
    """The function of the tool, in a module that dataclasses find by its name.

    Compiled from the very bytes that were checked: Python's cache of compiled files is not asked.
    """
    module = types.ModuleType("tool")
    module.__file__ = str(source)
    sys.modules["tool"] = module
    code = compile(content, source, "exec", dont_inherit=True)  # not this file's `__future__`
    exec(code, module.__dict__)  # noqa: S102 - it is what this is for
    found: Callable[..., object] = getattr(module, function)
    return found


def plain(value: object) -> object:
    """What JSON does not have by itself, as the tool's schema describes it."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"the result has a {type(value).__name__}, which is not JSON")


def fail(code: int, words: str) -> int:
    """Say what is wrong, as JSON like everything else."""
    print(json.dumps({"error": words}), file=sys.stderr)  # noqa: T201 - the way out
    return code


if __name__ == "__main__":
    sys.exit(main())

"""From a file, or standard input, to a `ToolSource`. Nothing of it is imported or run."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path
from typing import Final

from pydantic import JsonValue, ValidationError

from policies.display import escape_text
from policies.source import ToolSource
from policies.value import JsonObject
from policies.value import parse_json as json_value
from runtime.cli.inputs import read_input
from runtime.errors import UsageError

MAX_INPUT_BYTES: Final = 4 * 1024 * 1024
_READER: Final = Path(__file__).with_name("docreader.py")
_READER_SECONDS: Final = 10
_READER_BYTES: Final = 1024**3


def read_text(name: str) -> str:
    """The text of the file `name`, or of standard input for `-`.

    Raises:
        UsageError: There is no such file, or it is too large or no UTF-8.
    """
    try:
        return read_input(name, most_bytes=MAX_INPUT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8: byte {error.start}") from None


def parse_json(text: str, *, origin: str) -> JsonValue:
    """`text` as JSON.

    Raises:
        UsageError: It is not.
    """
    try:
        return json_value(text)
    except ValueError as error:
        raise UsageError(f"{origin} is not JSON: {error}") from None


def parse_object(text: str, *, origin: str) -> JsonObject:
    """`text` as a JSON object.

    Raises:
        UsageError: It is none.
    """
    value = parse_json(text, origin=origin)
    if not isinstance(value, dict):
        raise UsageError(f'{origin} is not a JSON object, such as {{"a": 1}}: {text[:80]!r}')
    return value


def looks_like_json(text: str) -> bool:
    """Whether `text` is meant as a JSON object rather than Python."""
    return text.lstrip().startswith("{")


def source_from_json(text: str, *, origin: str, overrides: JsonObject) -> ToolSource:
    """The fields of a `ToolSource` from a JSON object, with the command line's on top."""
    return _source(parse_object(text, origin=origin) | overrides, origin=origin)


async def source_from_python(code: str, *, origin: str, overrides: JsonObject) -> ToolSource:
    """A `ToolSource` of this code, byte for byte.

    Name, description and examples come from the command line, else from the docstrings; the
    lines `>>> name(literals)` of the function's docstring are examples where the value below is
    a literal, or a traceback.
    """
    document = await read_docstrings(code)
    fields: JsonObject = {"code": code, **overrides}
    function = _function(document, fields, origin)
    fields.setdefault("name", function.get("name", _stem(origin)))
    description = function.get("description") or document.get("description")
    fields.setdefault("description", description or f"The tool {fields['name']}.")
    fields.setdefault("examples", function.get("examples", []))
    return _source(fields, origin=origin)


def _function(document: JsonObject, fields: JsonObject, origin: str) -> JsonObject:
    """The function that is meant: named, called like the file, or the only public one."""
    listed = document.get("functions")
    functions = {
        str(each["name"]): each
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(each, dict)
    }
    wanted = fields.get("name")
    if wanted is not None:
        return functions.get(str(wanted), {})
    if _stem(origin) in functions:
        return functions[_stem(origin)]
    if len(functions) > 1:
        raise UsageError(
            f"{origin} has several functions ({', '.join(functions)}); "
            "say with --name which one is the tool, or begin the others' names with _"
        )
    return next(iter(functions.values()), {})


def _stem(origin: str) -> str:
    return Path(origin).stem if origin != "-" else "tool"


def _source(fields: JsonObject, *, origin: str) -> ToolSource:
    try:
        return ToolSource.model_validate(fields)
    except (ValidationError, RecursionError) as error:
        raise UsageError(f"{origin} is no tool: {_first_problem(error)}") from None


def _first_problem(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "nested too deeply"
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    known = ", ".join(ToolSource.model_fields)
    extra = f"; the fields are {known}" if first["type"] == "extra_forbidden" else ""
    return escape_text(f"`{place}`: {first['msg']}{extra}", keep_newlines=False)


async def read_docstrings(code: str) -> JsonObject:
    """What `docreader` reads; empty where it could not, for the lint to say why."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(_READER),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=_confine,
    )
    try:
        async with asyncio.timeout(_READER_SECONDS):
            output, _ = await process.communicate(code.encode("utf-8", "surrogatepass"))
        return parse_object(output.decode(), origin="docreader") if output else {}
    except (TimeoutError, UsageError, UnicodeDecodeError):
        return {}
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _confine() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_READER_BYTES, _READER_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_READER_SECONDS, _READER_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

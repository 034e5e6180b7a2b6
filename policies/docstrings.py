"""What a docstring says of a function: its purpose, its parameters, what it raises."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from policies.display import escape_text

if TYPE_CHECKING:
    from docstring_parser import Docstring

_DESCRIPTION_CHARACTERS: Final = 300
_DOCSTRING_CHARACTERS: Final = 20_000
_EXCEPTION: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,98}")
_MAX_EXCEPTIONS: Final = 20


@dataclass(frozen=True, slots=True)
class Documentation:
    """The parts of a docstring that go into a schema: short, on one line, printable."""

    present: bool = False
    parameters: dict[str, str] = field(default_factory=dict)
    returns: str = ""
    raises: tuple[str, ...] = ()


def read_docstring(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
) -> Documentation:
    """Parse the docstring of `node`; an empty answer where there is none or it makes no sense."""
    text = ast.get_docstring(node)
    if not text or not text.strip():
        return Documentation()
    parsed = _parse(text[:_DOCSTRING_CHARACTERS])
    if parsed is None:
        return Documentation(present=True)
    return Documentation(
        present=True,
        parameters={p.arg_name.lstrip("*"): one_line(p.description or "") for p in parsed.params},
        returns=one_line(parsed.returns.description or "") if parsed.returns else "",
        raises=_exceptions(parsed),
    )


def one_line(text: str) -> str:
    """`text` as a description in a schema: one printable line of bounded length."""
    line = escape_text(" ".join(text.split()), keep_newlines=False)
    if len(line) <= _DESCRIPTION_CHARACTERS:
        return line
    return line[: _DESCRIPTION_CHARACTERS - 3] + "..."


def _parse(text: str) -> Docstring | None:
    from docstring_parser import parse  # noqa: PLC0415 - who only looks at a schema does without

    try:
        return parse(text)
    except Exception:  # noqa: BLE001 - a parser of free text; a docstring is no reason to fail
        return None


def _exceptions(parsed: Docstring) -> tuple[str, ...]:
    names = [
        word.rpartition(".")[2]
        for entry in parsed.raises
        for word in re.split(r"[\s,|/]+", entry.type_name or "")
    ]
    return tuple(dict.fromkeys(n for n in names if _EXCEPTION.fullmatch(n)))[:_MAX_EXCEPTIONS]

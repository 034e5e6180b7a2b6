"""Checks on the bare text of a tool, before anything parses it: linear, and safe anywhere."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Final

from pydantic import JsonValue

from policies.characters import character_rule, check_characters
from policies.display import escape_character
from policies.findings import Finding
from policies.limits import SourceLimits
from policies.names import check_tool_name
from policies.reporter import Reporter, Spot
from policies.source import Example, ToolSource
from policies.value import canonical_json

HIDING_SPACES: Final = 40
"""A run of spaces this long inside a line moves what follows out of sight."""

DESCRIPTION_LINES: Final = 8
EXAMPLE_DEPTH: Final = 32
_EXAMPLE_INTEGER_BITS: Final = 4_096

BLOCKING_RULES: Final = frozenset(
    {"LM101", "LM102", "LM103", "LM105", "LM111", "LM112", "LM116", "LM118", "LM403"}
)
"""With one of these the text is not parsed: too large, or lines are not what they seem."""

_COOKIE: Final = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_MARKUP: Final = re.compile(r"https?://|www\.|<\|?/?[A-Za-z!][^<>]{0,80}>|```|\[[A-Z]{3,20}\]")


def check_text(source: ToolSource, limits: SourceLimits) -> list[Finding]:
    """Everything that can be said without parsing: name, description, code's text, examples."""
    report = Reporter(source.code)
    check_tool_name(source.name, report)
    _check_description(source.description, limits, report)
    _check_size(source.code, limits, report)
    _check_lines(report, limits)
    check_characters(source.code, report)
    _check_examples(source.examples, limits, report)
    return report.findings


def check_bytes(source: ToolSource, limits: SourceLimits) -> list[Finding]:
    """What is wrong with a source that has no bytes, and so no digest; nothing where it has them.

    Half characters, numbers that are none, and values that go too deep: models do send them.
    """
    try:
        canonical_json(source.to_json())
    except (ValueError, RecursionError):
        report = Reporter(source.code)
        for field, texts in source.permissions.to_json().items():
            if not _encodes(json.dumps(texts, ensure_ascii=False)):
                report.on(
                    "LM116",
                    None,
                    f"permissions.{field} holds half of a surrogate pair",
                    "write the name with whole characters",
                )
        return [*check_text(source, limits), *report.findings]
    return []


def may_be_parsed(findings: list[Finding]) -> bool:
    """Whether the text is small and plain enough to be handed to a parser."""
    return not any(finding.rule in BLOCKING_RULES for finding in findings)


def _check_description(text: str, limits: SourceLimits, report: Reporter) -> None:
    if not text.strip():
        report.on(
            "LM201",
            None,
            "the description is empty",
            "say in one sentence what the tool takes and gives",
        )
        return
    if len(text) > limits.description_characters:
        report.on(
            "LM202",
            None,
            f"the description has {len(text)} characters; "
            f"at most {limits.description_characters} are taken",
            "shorten it to what a model needs in order to choose the tool",
        )
    bad = sorted({c for c in text if c != "\n" and character_rule(c) is not None})
    if bad:
        listed = ", ".join(escape_character(character) for character in bad[:8])
        report.on(
            "LM203",
            None,
            f"the description has characters that do not print: {listed}",
            "write it in plain printable text",
        )
    lines = text.strip().count("\n") + 1
    if lines > DESCRIPTION_LINES:
        report.on(
            "LM204",
            None,
            f"the description has {lines} lines; {DESCRIPTION_LINES} are enough",
            "move the details into the docstring of the function",
        )
    if _MARKUP.search(text):
        report.on(
            "LM205",
            None,
            "the description holds a link or markup, which later prompts would carry",
            "describe the tool in plain words, without links, tags or fences",
        )


def _check_size(code: str, limits: SourceLimits, report: Reporter) -> None:
    size = len(code.encode("utf-8", "surrogatepass"))
    if not code.strip():
        report.on(
            "LM105",
            None,
            "the code is empty",
            "define one function named like the tool",
        )
    if size > limits.code_bytes:
        report.on(
            "LM101",
            None,
            f"the code has {size} bytes; at most {limits.code_bytes} are taken",
            "split it into several tools, and pass large data as arguments",
        )
    if len(report.lines) > limits.lines + 1:
        report.on(
            "LM102",
            None,
            f"the code has {len(report.lines)} lines; at most {limits.lines} are taken",
            "split it into several tools",
        )
    if code.startswith("\ufeff"):
        report.on(
            "LM118",
            Spot(1, 1, 1, 2),
            "the code begins with a byte-order mark",
            r"drop the first character, \ufeff",
        )


def _check_lines(report: Reporter, limits: SourceLimits) -> None:
    for number, line in enumerate(report.lines[: limits.lines + 1], start=1):
        if len(line) > limits.line_characters:
            report.on(
                "LM103",
                Spot(number, limits.line_characters + 1, number, len(line) + 1),
                f"line {number} has {len(line)} characters; "
                f"at most {limits.line_characters} are taken",
                "break the line inside brackets, or build the value from shorter pieces",
            )
        hidden = _spaces_before_code(line)
        if hidden is not None:
            report.on(
                "LM104",
                Spot(number, hidden[0] + 1, number, hidden[1] + 1),
                f"{hidden[1] - hidden[0]} spaces in a row hide what follows them",
                "put what follows the spaces on a line of its own",
            )
    for number, line in enumerate(report.lines[:2], start=1):
        cookie = _COOKIE.match(line[:400])
        if cookie:
            report.on(
                "LM117",
                Spot(number, 1, number, len(line) + 1),
                f"the comment declares the encoding {cookie[1][:40]!r}; the code is always UTF-8",
                "delete the line",
            )


def _spaces_before_code(line: str) -> tuple[int, int] | None:
    """Where a long run of blanks inside `line` begins and ends; leading ones are indentation."""
    body = line.rstrip()
    position = len(body) - len(body.lstrip())
    if position > 2 * HIDING_SPACES:
        return 0, position
    end = len(body)
    while position < end:
        if body[position] in " \t":
            start = position
            while body[position] in " \t":
                position += 1
            if position - start >= HIDING_SPACES:
                return start, position
        else:
            position += 1
    return None


def _check_examples(examples: tuple[Example, ...], limits: SourceLimits, report: Reporter) -> None:
    if len(examples) > limits.examples:
        report.on(
            "LM401",
            None,
            f"there are {len(examples)} examples; at most {limits.examples} are run",
            "keep those that differ most from each other",
        )
    total = 0
    for number, example in enumerate(examples, start=1):
        problem = next(_not_json(example.to_json(), EXAMPLE_DEPTH), None)
        if problem is not None:
            report.on(
                "LM403",
                None,
                f"example {number} holds {problem}, which JSON cannot carry here",
                "use finite numbers, whole characters and shallow values",
            )
            continue
        size = len(json.dumps(example.to_json(), ensure_ascii=False).encode())
        total += size
        if size > limits.example_bytes:
            report.on(
                "LM402",
                None,
                f"example {number} has {size} bytes; at most {limits.example_bytes} are taken",
                "show the same behaviour on a smaller value",
            )
    if total > limits.all_examples_bytes:
        report.on(
            "LM402",
            None,
            f"the examples have {total} bytes together; "
            f"at most {limits.all_examples_bytes} are taken",
            "leave out some examples, or show the same behaviour on smaller values",
        )


def _not_json(value: JsonValue, depth: int) -> Iterator[str]:
    """Say what in `value` does not survive canonical JSON, without recursion on its content."""
    pending: list[tuple[JsonValue, int]] = [(value, depth)]
    while pending:
        item, left = pending.pop()
        match item:
            case dict() | list() if left <= 0:
                yield f"values nested deeper than {EXAMPLE_DEPTH}"
            case dict():
                pending += [(key, left - 1) for key in item]
                pending += [(inner, left - 1) for inner in item.values()]
            case list():
                pending += [(inner, left - 1) for inner in item]
            case float() if not math.isfinite(item):
                yield f"the number {item}"
            case int() if item.bit_length() > _EXAMPLE_INTEGER_BITS:
                yield "an integer of more than a thousand digits"
            case str() if not _encodes(item):
                yield "half of a surrogate pair"
            case _:
                pass


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""The schema of a tool, read from its syntax tree; never by importing it."""

from __future__ import annotations

import ast
from typing import Final

from policies.definitions import Definitions
from policies.docstrings import read_docstring
from policies.entry import find_entry
from policies.findings import Finding
from policies.parameters import FunctionReader
from policies.reporter import Reporter, shown
from policies.schema import ToolSchema
from policies.source import Example, ToolSource
from policies.validation import validate
from policies.value import canonical_json

MAX_SCHEMA_BYTES: Final = 8_000
_MAX_PROBLEMS_OF_EXAMPLE: Final = 3


def extract_schema(
    tree: ast.Module, source: ToolSource
) -> tuple[ToolSchema | None, tuple[Finding, ...]]:
    """Read the schema of `source` from its tree; None where no function can be called.

    The schema exists also when there are errors among the findings, as far as it can be read.
    """
    report = Reporter(source.code)
    entry = find_entry(tree, source.name, report)
    if entry is None:
        return None, tuple(report.findings)
    definitions = Definitions(tree)
    documentation = read_docstring(entry.node)
    reader = FunctionReader(entry.node, definitions, documentation, report)
    parameters = reader.parameters()
    schema = ToolSchema(
        function=entry.name,
        parameters=parameters,
        returns=reader.returns(),
        raises=documentation.raises,
    )
    size = len(canonical_json(parameters)) + len(canonical_json(schema.returns))
    if size > MAX_SCHEMA_BYTES:
        report.at(
            "SC113",
            entry.node,
            f"the schema has {size} bytes; at most {MAX_SCHEMA_BYTES} are taken",
            "use fewer and simpler parameters, and shorter descriptions",
        )
    return schema, tuple(report.findings)


def check_examples(schema: ToolSchema, examples: tuple[Example, ...]) -> tuple[Finding, ...]:
    """Check every example against the schema: arguments, expected result, expected exception."""
    report = Reporter("")
    undeclared: dict[str, list[int]] = {}
    for number, example in enumerate(examples, start=1):
        for problem in validate(example.arguments, schema.parameters)[:_MAX_PROBLEMS_OF_EXAMPLE]:
            report.on(
                "SC201",
                None,
                f"the arguments of example {number} do not fit: {problem}",
                "mend the example, or the annotations of the function",
            )
        if example.raises is not None:
            if example.raises not in schema.raises:
                undeclared.setdefault(example.raises, []).append(number)
            continue
        for problem in validate(example.returns, schema.returns)[:_MAX_PROBLEMS_OF_EXAMPLE]:
            report.on(
                "SC202",
                None,
                f"the result of example {number} is not of the declared type: {problem}",
                "mend the example, or the return annotation of the function",
            )
    for exception, numbers in undeclared.items():
        listed = ", ".join(map(str, numbers[:5]))
        report.on(
            "SC203",
            None,
            f"example {listed} expects {shown(exception)}, which the docstring does not declare",
            f"add to the docstring: `Raises:` and below it `{shown(exception)}: when ...`",
        )
    return tuple(report.findings)

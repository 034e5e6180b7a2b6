"""The signature of one function, as schemas: parameters, defaults, descriptions, result."""

from __future__ import annotations

import ast
import re
from typing import Final

from pydantic import JsonValue

from policies.annotations import Direction, TypeReader
from policies.definitions import Definitions
from policies.docstrings import Documentation
from policies.entry import Function
from policies.reporter import Reporter, shown
from policies.validation import validate
from policies.value import JsonObject

MAX_PARAMETERS: Final = 20
_PARAMETER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)


class FunctionReader:
    """Reads one function: its parameters, their defaults and descriptions, its result."""

    def __init__(
        self,
        node: Function,
        definitions: Definitions,
        documentation: Documentation,
        report: Reporter,
    ) -> None:
        self._node = node
        self._definitions = definitions
        self._documentation = documentation
        self._report = report
        self._types = TypeReader(definitions, report)

    def parameters(self) -> JsonObject:
        """The schema of the arguments object."""
        self._check_shape()
        properties: JsonObject = {}
        required: list[JsonValue] = []
        for argument, default in _parameters(self._node.args):
            properties[argument.arg] = self._parameter(argument, default)
            if default is None:
                required.append(argument.arg)
        return {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }

    def returns(self) -> JsonObject:
        """The schema of the result."""
        if self._node.returns is None:
            self._report.at(
                "SC118",
                self._node,
                "the result has no declared type, so it cannot be checked",
                f"declare it: `def {self._node.name}(...) -> float:`",
            )
            return {}
        schema = self._types.read(self._node.returns, "the result", Direction.OUT)
        text = self._documentation.returns
        return {**schema, "description": text} if text and "description" not in schema else schema

    def _check_shape(self) -> None:
        arguments = self._node.args
        for star, spelling in ((arguments.vararg, "*"), (arguments.kwarg, "**")):
            if star is not None:
                self._report.at(
                    "SC103",
                    star,
                    f"{spelling}{star.arg} cannot be described to a model",
                    f"take a parameter {star.arg}: "
                    + ("list[...]" if spelling == "*" else "dict[str, ...]"),
                )
        count = len(_parameters(arguments))
        if count > MAX_PARAMETERS:
            self._report.at(
                "SC112",
                self._node,
                f"the function has {count} parameters; at most {MAX_PARAMETERS} are taken",
                "group them into a TypedDict, or split the tool",
            )
        if not self._documentation.present:
            self._report.at(
                "SC110",
                self._node,
                f"the function {self._node.name!r} has no docstring",
                'write one: what it does, and sections "Args:", "Returns:" and "Raises:"',
            )
        own = _own_nodes(self._node)
        yields = next((n for n in own if isinstance(n, ast.Yield | ast.YieldFrom)), None)
        if yields is not None:
            self._report.at(
                "SC117", yields, "the tool yields, but a call has one result", "return a list"
            )

    def _parameter(self, argument: ast.arg, default: ast.expr | None) -> JsonObject:
        name = argument.arg
        if _PARAMETER_NAME.fullmatch(name) is None:
            self._report.at(
                "SC116",
                argument,
                f"the parameter {shown(name)!r} is not a plain public name",
                f"call it {name.strip('_') if name.strip('_').isascii() else 'value'!r}",
            )
        schema = self._typed(argument)
        text = self._documentation.parameters.get(name, "")
        if text and "description" not in schema:
            schema = {**schema, "description": text}
        if "description" not in schema:
            self._report.at(
                "SC109",
                argument,
                f"the parameter {name!r} is not described",
                f'add to the docstring: "Args:" and below it "{name}: what it means"',
            )
        return schema if default is None else self._with_default(argument, schema, default)

    def _typed(self, argument: ast.arg) -> JsonObject:
        if argument.annotation is None:
            self._report.at(
                "SC104",
                argument,
                f"the parameter {argument.arg!r} has no type",
                f"annotate it, such as `{argument.arg}: str`",
            )
            return {}
        schema = self._types.read(argument.annotation, argument.arg, Direction.IN)
        if schema.get("type") == "string" and "enum" not in schema:
            self._check_closed_set(argument)
        return schema

    def _with_default(self, argument: ast.arg, schema: JsonObject, default: ast.expr) -> JsonObject:
        known, value = self._definitions.value_of(default)
        if not known:
            return schema
        plain = {key: item for key, item in schema.items() if key != "description"}
        if plain and validate(value, plain):
            shape = ast.unparse(argument.annotation) if argument.annotation else ""
            advice = (
                f"annotate it `{argument.arg}: {shape} | None = None`"
                if value is None
                else "mend the default or the annotation"
            )
            self._report.at(
                "SC119",
                default,
                f"the default of {argument.arg!r} is not of its declared type",
                advice,
            )
            if value is None:
                described = {k: v for k, v in schema.items() if k == "description"}
                choices = plain["anyOf"] if isinstance(plain.get("anyOf"), list) else [plain]
                if isinstance(choices, list):
                    schema = {"anyOf": [*choices, {"type": "null"}], **described}
        return {**schema, "default": value}

    def _check_closed_set(self, argument: ast.arg) -> None:
        values = _compared_with(self._node, argument.arg)
        if len(values) > 1:
            literals = ", ".join(f'"{shown(value, characters=30)}"' for value in values[:8])
            self._report.at(
                "SC111",
                argument,
                f"the string {argument.arg!r} is compared with a fixed set of values",
                f"annotate it `{argument.arg}: Literal[{literals}]` if there are no others",
            )


def _parameters(arguments: ast.arguments) -> list[tuple[ast.arg, ast.expr | None]]:
    """Every named parameter with its default, in the order of the source."""
    positional = [*arguments.posonlyargs, *arguments.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = list(zip(positional, [*missing, *arguments.defaults], strict=True))
    return [*pairs, *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]


def _own_nodes(function: Function) -> list[ast.AST]:
    """The nodes of a function without those of functions and classes inside of it."""
    found: list[ast.AST] = []
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop(0)
        found.append(node)
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            pending += ast.iter_child_nodes(node)
    return found


def _compared_with(function: Function, name: str) -> list[str]:
    """The non-empty string literals that the variable `name` is compared with."""
    found: list[str] = []
    for node in _own_nodes(function):
        match node:
            case ast.Compare(left=ast.Name(id=left), ops=[op], comparators=[right]):
                if left == name and isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn):
                    found += _strings(right, inside=isinstance(op, ast.In | ast.NotIn))
            case ast.Match(subject=ast.Name(id=subject)) if subject == name:
                for case in node.cases:
                    for pattern in ast.walk(case.pattern):
                        if isinstance(pattern, ast.MatchValue):
                            found += _strings(pattern.value, inside=False)
            case _:
                pass
    return list(dict.fromkeys(value for value in found if value))


def _strings(node: ast.expr, *, inside: bool) -> list[str]:
    """The literal that `node` is, or with `inside` those that it contains."""
    nodes = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) and inside else []
    if not inside:
        nodes = [node]
    return [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]

"""Annotations to JSON Schema, by reading the syntax tree; nothing is evaluated."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import JsonValue

from policies.definitions import Definitions, RecordKind, literal
from policies.docstrings import one_line
from policies.reporter import Reporter, shown
from policies.typenames import (
    ANYTHING,
    BOUNDS,
    DICTS,
    LISTS,
    NOT_JSON,
    PLAIN,
    TRANSPARENT,
    TUPLES,
)
from policies.value import JsonObject

MAX_TYPE_DEPTH: Final = 5
_READING_DEPTH: Final = 40


class Direction(StrEnum):
    """Which way a value travels."""

    IN = "parameter"
    OUT = "result"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a type is read: for messages, and for types inside of string annotations."""

    anchor: ast.AST
    what: str
    direction: Direction
    depth: int = 0
    nesting: int = 0

    def deeper(self, *, container: bool) -> _Place:
        """One step further in."""
        return _Place(
            self.anchor, self.what, self.direction, self.depth + 1, self.nesting + container
        )


class TypeReader:
    """Turns annotations of one source into schemas, and reports those that it cannot."""

    def __init__(self, definitions: Definitions, report: Reporter) -> None:
        self._definitions = definitions
        self._report = report
        self._reading: list[str] = []

    def read(self, node: ast.expr, what: str, direction: Direction) -> JsonObject:
        """The schema of the annotation `node`, which belongs to `what`; `{}` if unknown."""
        return self._read(node, _Place(node, what, direction))

    def _read(self, node: ast.expr, place: _Place) -> JsonObject:
        if place.depth > _READING_DEPTH or place.nesting > MAX_TYPE_DEPTH:
            self._report.at(
                "SC114",
                place.anchor,
                f"the type of {place.what} is nested deeper than {MAX_TYPE_DEPTH}, or in itself",
                "flatten it: models fill shallow values better",
            )
            return {}
        match node:
            case ast.Constant(value=None):
                return {"type": "null"}
            case ast.Constant(value=str() as text):
                return self._read_text(text, place)
            case ast.BinOp(op=ast.BitOr()):
                return self._union([node.left, node.right], place)
            case ast.Name() | ast.Attribute():
                return self._read_name(self._definitions.name_of(node), node, place)
            case ast.Subscript():
                return self._read_generic(node, place)
            case _:
                return self._unread(node, place)

    def _read_text(self, text: str, place: _Place) -> JsonObject:
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return self._unread(ast.Constant(text), place)
        return self._read(tree, place.deeper(container=False))

    def _read_name(self, name: str, node: ast.expr, place: _Place) -> JsonObject:
        defined = self._read_definition(name, place)
        if defined is not None:
            return defined
        if name in PLAIN:
            return {"type": PLAIN[name]}
        if name in ANYTHING:
            return self._vague({}, name, place, "name the type, such as str or int | str")
        if name in LISTS:
            return self._vague({"type": "array"}, name, place, f"say of what: {name}[str]")
        if name in TUPLES:
            return self._vague({"type": "array"}, name, place, f"say of what: {name}[int, str]")
        if name in DICTS:
            return self._vague({"type": "object"}, name, place, f"say of what: {name}[str, int]")
        if name in NOT_JSON:
            self._report.at(
                "SC107",
                place.anchor,
                f"the {place.direction} {place.what} is a {name}, which JSON does not have",
                NOT_JSON[name],
            )
            return {}
        return self._unread(node, place)

    def _read_generic(self, node: ast.Subscript, place: _Place) -> JsonObject:
        name = self._definitions.name_of(node.value)
        arguments = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        inner = place.deeper(container=True)
        special = self._read_special(name, arguments, place)
        if special is not None:
            return special
        if name in LISTS and len(arguments) == 1:
            return {"type": "array", "items": self._read(arguments[0], inner)}
        if name in TUPLES:
            return self._tuple(arguments, inner)
        if name == "Counter" and len(arguments) == 1:
            return self._dict([arguments[0], ast.Name("int", ast.Load())], inner)
        if name in DICTS and len(arguments) == 2:  # noqa: PLR2004 - key and value
            return self._dict(arguments, inner)
        return self._read_name(name, node, place)

    def _read_special(
        self, name: str, arguments: list[ast.expr], place: _Place
    ) -> JsonObject | None:
        """The forms of `typing` that are no containers."""
        match name:
            case "Optional":
                return self._union([*arguments, ast.Constant(None)], place)
            case "Union":
                return self._union(arguments, place)
            case "Literal":
                return self._literals(arguments, place)
            case "Annotated" if arguments:
                return self._annotated(arguments, place)
            case _ if name in TRANSPARENT and arguments:
                return self._read(arguments[-1], place.deeper(container=False))
            case _:
                return None

    def _union(self, choices: list[ast.expr], place: _Place) -> JsonObject:
        schemas: list[JsonValue] = []
        for choice in choices:
            schema = self._read(choice, place.deeper(container=False))
            flat = schema["anyOf"] if set(schema) == {"anyOf"} else [schema]
            if isinstance(flat, list):
                schemas += [s for s in flat if s not in schemas]
        if {} in schemas:
            return {}
        if len(schemas) == 1 and isinstance(schemas[0], dict):
            return schemas[0]
        return {"anyOf": schemas}

    def _literals(self, arguments: list[ast.expr], place: _Place) -> JsonObject:
        values: list[JsonValue] = []
        for argument in arguments:
            known, value = self._definitions.value_of(argument)
            if not known or isinstance(value, float | list | dict):
                return self._unread(argument, place)
            if not any(value == v and type(value) is type(v) for v in values):
                values.append(value)
        return enumeration(values)

    def _annotated(self, arguments: list[ast.expr], place: _Place) -> JsonObject:
        schema = self._read(arguments[0], place.deeper(container=False))
        for extra in arguments[1:]:
            match extra:
                case ast.Constant(value=str() as text) if text.strip():
                    schema = {**schema, "description": one_line(text)}
                case ast.Call(args=[bound]):
                    known, value = literal(bound)
                    keyword = BOUNDS.get(self._definitions.name_of(extra.func))
                    if known and keyword and isinstance(value, int | float):
                        schema = {**schema, keyword: value}
                case _:
                    pass
        if schema.get("type") == "array":
            renamed = {"minLength": "minItems", "maxLength": "maxItems"}
            schema = {renamed.get(key, key): value for key, value in schema.items()}
        return schema

    def _tuple(self, arguments: list[ast.expr], inner: _Place) -> JsonObject:
        match arguments:
            case [item, ast.Constant(value=e)] if e is ...:
                return {"type": "array", "items": self._read(item, inner)}
            case [ast.Tuple(elts=[])]:
                return fixed_array([])
            case _:
                return fixed_array([self._read(argument, inner) for argument in arguments])

    def _dict(self, arguments: list[ast.expr], inner: _Place) -> JsonObject:
        key = self._read(arguments[0], inner)
        value = self._read(arguments[1], inner)
        schema: JsonObject = {"type": "object", "additionalProperties": value}
        enum = key.get("enum")
        if isinstance(enum, list) and all(isinstance(v, str) for v in enum):
            schema["propertyNames"] = {"enum": enum}
        elif inner.direction is Direction.IN and key not in ({"type": "string"}, {}):
            self._report.at(
                "SC107",
                inner.anchor,
                f"the parameter {inner.what} has keys that are no strings; in JSON all are",
                "use dict[str, ...], and convert the keys inside of the function",
            )
        return schema

    def _read_definition(self, name: str, place: _Place) -> JsonObject | None:
        """The schema of a class or alias of the same source; None if there is no such thing."""
        alias = self._definitions.aliases.get(name)
        record = self._definitions.records.get(name)
        if alias is None and record is None:
            if name in self._definitions.classes:
                self._report.at(
                    "SC107",
                    place.anchor,
                    f"the {place.direction} {place.what} is a {name!r}, which JSON does not have",
                    "use a dataclass, a TypedDict, or plain lists and dicts",
                )
                return {}
            return None
        if name in self._reading:
            self._report.at(
                "SC114",
                place.anchor,
                f"the type {name!r} of {place.what} contains itself",
                "use dict[str, Any] for the inner part, and describe it in the docstring",
            )
            return {}
        self._reading.append(name)
        try:
            if alias is not None:
                return self._read(alias, place.deeper(container=False))
            return self._read_record(name, place)
        finally:
            self._reading.pop()

    def _read_record(self, name: str, place: _Place) -> JsonObject:
        record = self._definitions.records[name]
        if place.direction is Direction.IN and record.kind is not RecordKind.TYPED_DICT:
            self._report.at(
                "SC108",
                place.anchor,
                f"{place.what} arrives as plain JSON, not as a {name}",
                f"make it one in the function: {record.conversion}",
            )
        if record.kind is RecordKind.ENUM:
            return enumeration(list(record.values))
        inner = place.deeper(container=True)
        fields = {field.name: self._read(field.annotation, inner) for field in record.fields}
        for field in record.fields:
            if field.description and "description" not in fields[field.name]:
                fields[field.name] = {**fields[field.name], "description": field.description}
        if record.kind is RecordKind.NAMED_TUPLE:
            return fixed_array(list(fields.values()))
        required: list[JsonValue] = [
            f.name
            for f in record.fields
            if f.required
            or (place.direction is Direction.OUT and record.kind is RecordKind.DATACLASS)
        ]
        properties: JsonObject = dict(fields)
        return {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }

    def _vague(self, schema: JsonObject, name: str, place: _Place, advice: str) -> JsonObject:
        self._report.at(
            "SC105",
            place.anchor,
            f"the type {name} of {place.what} says nothing about what is inside",
            advice,
        )
        return schema

    def _unread(self, node: ast.expr, place: _Place) -> JsonObject:
        self._report.at(
            "SC106",
            place.anchor,
            f"the annotation {shown(ast.unparse(node))!r} of {place.what} cannot be read "
            "without running the code",
            "use built-in types, Literal, or records that are defined in the same code",
        )
        return {}


def fixed_array(items: list[JsonObject]) -> JsonObject:
    """The schema of a list with exactly these items."""
    if not items:
        return {"type": "array", "maxItems": 0}
    prefix: list[JsonValue] = list(items)
    return {
        "type": "array",
        "prefixItems": prefix,
        "items": False,
        "minItems": len(items),
        "maxItems": len(items),
    }


def enumeration(values: list[JsonValue]) -> JsonObject:
    """The schema of a closed set; with the type where all values share one."""
    kinds = {
        "boolean" if isinstance(v, bool) else PLAIN.get(type(v).__name__, "object") for v in values
    }
    kind: JsonObject = {"type": kinds.pop()} if len(kinds) == 1 else {}
    return {**kind, "enum": values}

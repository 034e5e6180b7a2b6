"""Strict function schemas: a tool's schema as a provider can enforce it, and the way back.

A strict schema has only closed objects whose properties are all required. A parameter that may
be left out therefore goes over the wire as one that may be null, and a null that the tool's own
schema does not know is left out again on the way back. What a strict schema cannot say about a
value (its default, format, length) is told in the description; the caller's own validation of
the arguments still holds it. A schema with open objects, tuples, or unions that could not be
told apart on the way back goes over the wire as it is, with `strict: false`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from policies.value import JsonObject
from runtime.messages import ToolCall, ToolSpec

_MAX_DEPTH = 10
_MAX_PROPERTIES = 5_000
_MAX_ENUM_VALUES = 1_000

_KEPT = frozenset(
    {
        "type",
        "enum",
        "const",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minItems",
        "maxItems",
    }
)
_TOLD = {
    "format": "Format: {}.",
    "pattern": "Matches the regular expression {}.",
    "minLength": "At least {} characters.",
    "maxLength": "At most {} characters.",
    "uniqueItems": "No item twice.",
    "examples": "Examples: {}.",
}
_STRUCTURE = frozenset(
    {"properties", "required", "additionalProperties", "items", "anyOf", "oneOf", "$ref", "$defs"}
)
_DROPPED = frozenset(
    {"title", "description", "default", "deprecated", "$schema", "$id", "$comment", "discriminator"}
)
_DEFS = "#/$defs/"


@dataclass(frozen=True, slots=True)
class WireTool:
    """A tool as it goes to a provider."""

    name: str
    description: str
    parameters: JsonObject
    strict: bool


class _InexpressibleError(Exception):
    """The schema says something that a strict schema cannot."""


def to_wire(spec: ToolSpec) -> WireTool:
    """The strict form of `spec`, or `spec` as it is where there is no strict form."""
    try:
        parameters, strict = _Strictener(spec.parameters).root(), True
    except (_InexpressibleError, RecursionError):
        parameters, strict = spec.parameters, False
    return WireTool(spec.name, spec.description, parameters, strict)


def from_wire(arguments: JsonObject, spec: ToolSpec) -> JsonObject:
    """What the arguments that a model wrote for `to_wire(spec)` mean in `spec`'s own terms.

    Arguments that do not fit the schema are passed on as they are where they do not fit: to
    refuse them is the validator's part. Applying it twice changes nothing.
    """
    if not to_wire(spec).strict:
        return arguments
    restored = _restore(arguments, spec.parameters, spec.parameters)
    return restored if isinstance(restored, dict) else arguments


class StrictTools:
    """`to_wire` and `from_wire` for one adapter, worked out once for each spec."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[ToolSpec, WireTool, bool]] = {}

    def wire(self, spec: ToolSpec) -> WireTool:
        """`to_wire(spec)`."""
        return self._of(spec)[1]

    def calls(self, calls: tuple[ToolCall, ...], specs: Iterable[ToolSpec]) -> tuple[ToolCall, ...]:
        """The calls with their arguments in their tools' own terms.

        Arguments that are no JSON object, and those of unknown tools, stay the text they are.
        """
        if not calls:
            return calls
        by_name = {spec.name: spec for spec in specs}
        return tuple(
            call.model_copy(update={"arguments": self._arguments(call.arguments, spec)})
            if (spec := by_name.get(call.name)) is not None
            else call
            for call in calls
        )

    def _arguments(self, text: str, spec: ToolSpec) -> str:
        if not self._of(spec)[2]:
            return text
        try:
            arguments = json.loads(text)
        except ValueError:
            return text
        if not isinstance(arguments, dict):
            return text
        restored = _restore(arguments, spec.parameters, spec.parameters)
        return text if restored == arguments else json.dumps(restored, ensure_ascii=False)

    def _of(self, spec: ToolSpec) -> tuple[ToolSpec, WireTool, bool]:
        known = self._known.get(spec.name)
        if known is None or (known[0] is not spec and known[0] != spec):
            wire = to_wire(spec)
            undo = wire.strict and _needs_undo(spec.parameters, spec.parameters, frozenset())
            known = self._known[spec.name] = (spec, wire, undo)
        return known


class _Strictener:
    """Writes the strict form of one schema."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._properties = 0
        self._enum_values = 0

    def root(self) -> JsonObject:
        """The strict form of the whole.

        Raises:
            _InexpressibleError: There is none.
        """
        if self._root.get("type") != "object" or "$ref" in self._root:
            raise _InexpressibleError
        wire = self._schema(self._root, 0)
        definitions = self._root.get("$defs")
        if isinstance(definitions, dict) and definitions:
            wire["$defs"] = {name: self._schema(each, 1) for name, each in definitions.items()}
        return wire

    def _schema(self, schema: JsonValue, depth: int) -> JsonObject:
        if not isinstance(schema, dict) or depth > _MAX_DEPTH:
            raise _InexpressibleError
        if schema.keys() - _KEPT - _TOLD.keys() - _STRUCTURE - _DROPPED:
            raise _InexpressibleError
        if "$ref" in schema or "anyOf" in schema or "oneOf" in schema:
            wire = self._choice(schema, depth)
        else:
            wire = self._plain(schema, depth)
        description = _description(schema)
        if description:
            wire["description"] = description
        return wire

    def _choice(self, schema: JsonObject, depth: int) -> JsonObject:
        """A reference, or one of several; nothing else may be said beside it."""
        said = schema.keys() - _DROPPED - {"$defs"}
        if len(said) != 1:
            raise _InexpressibleError
        if said == {"$ref"}:
            _resolve(schema, self._root)
            # A reference stands alone; its description goes around it.
            reference: JsonObject = {"$ref": schema["$ref"]}
            return {"anyOf": [reference]} if _description(schema) else reference
        branches = _branches(schema)
        distinct = _tell_apart(branches, self._root)
        undo = any(_needs_undo(each, self._root, frozenset()) for each in branches)
        if not branches or (not distinct and (undo or said == {"oneOf"})):
            raise _InexpressibleError
        return {"anyOf": [self._schema(each, depth) for each in branches]}

    def _plain(self, schema: JsonObject, depth: int) -> JsonObject:
        types = _types(schema)
        if not types and "enum" not in schema and "const" not in schema:
            raise _InexpressibleError
        wire = {key: value for key, value in schema.items() if key in _KEPT}
        values = schema.get("enum")
        self._enum_values += len(values) if isinstance(values, list) else 0
        if self._enum_values > _MAX_ENUM_VALUES:
            raise _InexpressibleError
        if "object" in types:
            wire |= self._object(schema, depth)
        if "array" in types:
            wire["items"] = self._schema(schema.get("items"), depth + 1)
        return wire

    def _object(self, schema: JsonObject, depth: int) -> JsonObject:
        properties, required = _properties(schema), _required(schema)
        closed = schema.get("additionalProperties", not properties) is False
        if not closed or required - properties.keys():
            raise _InexpressibleError
        self._properties += len(properties)
        if self._properties > _MAX_PROPERTIES:
            raise _InexpressibleError
        return {
            "properties": {
                name: (self._schema if name in required else self._optional)(each, depth + 1)
                for name, each in properties.items()
            },
            "required": list(properties),
            "additionalProperties": False,
        }

    def _optional(self, schema: JsonValue, depth: int) -> JsonObject:
        """A property that may be left out: one that may be null."""
        wire = self._schema(schema, depth)
        default = schema.get("default") if isinstance(schema, dict) else None
        written = None if default is None else _json(default)
        own = wire.pop("description", "")
        if _allows_null(schema, self._root):
            told = f"Default: {written}." if written else ""
        else:
            told = f"Null takes the default: {written}." if written else "Null leaves it out."
            wire = _nullable(wire)
        description = f"{own} {told}".strip()
        return wire | ({"description": description} if description else {})


def _nullable(wire: JsonObject) -> JsonObject:
    if isinstance(wire.get("type"), str) and not wire.keys() & {"enum", "const"}:
        return wire | {"type": [wire["type"], "null"]}
    branches = wire.get("anyOf")
    return {"anyOf": [*(branches if isinstance(branches, list) else [wire]), {"type": "null"}]}


def _restore(value: JsonValue, schema: JsonValue, root: JsonObject) -> JsonValue:
    """`value` without the nulls that only the strict form asked for."""
    if not isinstance(schema, dict) or not isinstance(value, dict | list):
        return value
    schema = _resolve(schema, root)
    branches = _branches(schema)
    if branches:
        fitting = (each for each in branches if _may_be_for(value, each, root))
        return _restore(value, next(fitting, None), root)
    if isinstance(value, list):
        return [_restore(each, schema.get("items"), root) for each in value]
    properties, required = _properties(schema), _required(schema)
    return {
        name: _restore(each, properties.get(name), root)
        for name, each in value.items()
        if each is not None
        or name in required
        or name not in properties
        or _allows_null(properties[name], root)
    }


def _needs_undo(schema: JsonValue, root: JsonObject, seen: frozenset[str]) -> bool:
    """Whether `_restore` could ever change a value of this schema."""
    if not isinstance(schema, dict):
        return False
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference in seen:
            return False
        return _needs_undo(_resolve(schema, root), root, seen | {reference})
    properties, required = _properties(schema), _required(schema)
    return (
        any(
            name not in required and not _allows_null(each, root)
            for name, each in properties.items()
        )
        or any(_needs_undo(each, root, seen) for each in properties.values())
        or _needs_undo(schema.get("items"), root, seen)
        or any(_needs_undo(each, root, seen) for each in _branches(schema))
    )


def _tell_apart(branches: Iterable[JsonValue], root: JsonObject) -> bool:
    """Whether any value can be for one branch at most: by its type, or by a tag's value."""
    flat = [each for branch in branches for each in _flat(branch, root)]
    return all(_differ(one, other) for index, one in enumerate(flat) for other in flat[index + 1 :])


def _flat(schema: JsonValue, root: JsonObject) -> list[JsonObject]:
    """The branches of a union of unions."""
    if not isinstance(schema, dict):
        return [{}]
    schema = _resolve(schema, root)
    branches = _branches(schema)
    return [each for branch in branches for each in _flat(branch, root)] if branches else [schema]


def _differ(one: JsonObject, other: JsonObject) -> bool:
    types, others = _types(one), _types(other)
    if "number" in types | others:
        types, others = types - {"integer"} | _wide(types), others - {"integer"} | _wide(others)
    if types and others and not types & others:
        return True
    tags, other_tags = _tags(one), _tags(other)
    return any(
        not any(value in other_tags[name] for value in values)
        for name, values in tags.items()
        if name in other_tags
    )


def _wide(types: set[str]) -> set[str]:
    return {"number"} if "integer" in types else set()


def _tags(schema: JsonObject) -> dict[str, list[JsonValue]]:
    """The required properties that can only be certain texts, with those texts."""
    required = _required(schema)
    tags: dict[str, list[JsonValue]] = {}
    for name, each in _properties(schema).items():
        if name in required and isinstance(each, dict):
            values = [each["const"]] if "const" in each else each.get("enum")
            if isinstance(values, list) and all(isinstance(value, str) for value in values):
                tags[name] = values
    return tags


def _may_be_for(value: JsonValue, schema: JsonValue, root: JsonObject) -> bool:
    """Whether `value` has the container type and the tags of the branch."""
    if not isinstance(schema, dict):
        return False
    schema = _resolve(schema, root)
    branches = _branches(schema)
    if branches:
        return any(_may_be_for(value, each, root) for each in branches)
    if isinstance(value, list):
        return "array" in _types(schema)
    if not isinstance(value, dict) or "object" not in _types(schema):
        return False
    return all(value.get(name) in values for name, values in _tags(schema).items())


def _allows_null(schema: JsonValue, root: JsonObject, seen: frozenset[str] = frozenset()) -> bool:
    if not isinstance(schema, dict):
        return True
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference in seen:
            return False
        return _allows_null(_resolve(schema, root), root, seen | {reference})
    branches = _branches(schema)
    if branches:
        return any(_allows_null(each, root, seen) for each in branches)
    if "const" in schema and schema["const"] is not None:
        return False
    values = schema.get("enum")
    if isinstance(values, list) and None not in values:
        return False
    types = _types(schema)
    return not types or "null" in types


def _resolve(schema: JsonObject, root: JsonObject) -> JsonObject:
    """What a reference stands for; a schema without one stands for itself."""
    seen: set[str] = set()
    while isinstance(reference := schema.get("$ref"), str):
        target: JsonValue = root if reference == "#" else None
        definitions = root.get("$defs")
        if reference.startswith(_DEFS) and isinstance(definitions, dict):
            target = definitions.get(reference.removeprefix(_DEFS))
        if not isinstance(target, dict) or reference in seen:
            raise _InexpressibleError
        seen.add(reference)
        schema = target
    return schema


def _branches(schema: JsonObject) -> list[JsonValue]:
    branches = schema.get("anyOf", schema.get("oneOf"))
    return branches if isinstance(branches, list) else []


def _types(schema: JsonObject) -> set[str]:
    types = schema.get("type")
    each = types if isinstance(types, list) else [types]
    return {name for name in each if isinstance(name, str)}


def _properties(schema: JsonObject) -> Mapping[str, JsonValue]:
    properties = schema.get("properties")
    return properties if isinstance(properties, dict) else {}


def _required(schema: JsonObject) -> set[str]:
    required = schema.get("required")
    names = required if isinstance(required, list) else []
    return {name for name in names if isinstance(name, str)}


def _description(schema: JsonObject) -> str:
    """The description, and in words what the strict form cannot say."""
    own = schema.get("description")
    said = [own] if isinstance(own, str) and own else []
    for key, sentence in _TOLD.items():
        value = schema.get(key)
        if value is not None and value is not False:
            said.append(sentence.format(value if isinstance(value, str) else _json(value)))
    return " ".join(said)


def _json(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False)

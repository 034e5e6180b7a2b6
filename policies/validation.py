"""JSON values against JSON schemas, with the problems in words.

Numbers follow JSON Schema: `1.0` is an integer, `true` is not, and an integer is a number.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Final

import jsonschema_rs
from pydantic import JsonValue

from policies.display import escape_text
from policies.value import JsonObject, canonical_json

_MAX_PROBLEMS: Final = 20
_BRIEF_CHARACTERS: Final = 60
_PLURALS: Final = {
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
}


def validate(value: JsonValue, schema: JsonObject) -> tuple[str, ...]:
    """What is wrong with `value`, one sentence each with the place; empty when it fits.

    Never raises for what `value` holds: what JSON cannot carry is a problem like any other.
    """
    try:
        canonical_json(value)  # the validator takes half characters for whole ones
        errors = _validator(canonical_json(schema)).iter_errors(value)
        problems = [
            _in_words(error, schema) for _, error in zip(range(_MAX_PROBLEMS), errors, strict=False)
        ]
    except UnicodeEncodeError as error:
        half = _escape(error.object[error.start])
        return (f"the value is not JSON: it holds half of a surrogate pair ({half})",)
    except (ValueError, TypeError, RecursionError) as error:
        return (f"the value is not JSON: {_escape(str(error))}",)
    return tuple(dict.fromkeys(problems))


def describe(schema: JsonValue) -> str:
    """A schema in a few words, such as `array of integer` or `string or null`."""
    if not isinstance(schema, dict):
        return "nothing" if schema is False else "any value"
    enum, union, kind = schema.get("enum"), schema.get("anyOf"), schema.get("type")
    if isinstance(enum, list):
        return "one of " + ", ".join(map(brief, enum[:10])) + (", ..." if len(enum) > 10 else "")  # noqa: PLR2004 - as many as the slice
    if isinstance(union, list):
        return " or ".join(describe(choice) for choice in union)
    if kind == "array":
        return _describe_array(schema)
    if kind == "object" and isinstance(schema.get("properties"), dict):
        return "object with " + ", ".join(map(_escape, schema["properties"]))  # type: ignore[arg-type]
    return kind if isinstance(kind, str) else "any value"


def brief(value: JsonValue) -> str:
    """A value as short JSON, for use inside a sentence."""
    return _brief(value)


def _brief(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        text = str(type(value).__name__)
    text = _escape(text)
    return text if len(text) <= _BRIEF_CHARACTERS else text[:_BRIEF_CHARACTERS] + "..."


def _describe_array(schema: JsonObject) -> str:
    prefix = schema.get("prefixItems")
    if isinstance(prefix, list):
        return "array of exactly (" + ", ".join(describe(item) for item in prefix) + ")"
    items = schema.get("items")
    return f"array of {describe(items)}" if isinstance(items, dict) and items else "array"


@lru_cache(maxsize=512)
def _validator(schema: bytes) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(json.loads(schema))


def _in_words(error: jsonschema_rs.ValidationError, schema: JsonObject) -> str:
    place = _place(error.instance_path)
    keyword = str(error.schema_path[-1]) if error.schema_path else ""
    expected = _at(schema, error.schema_path[:-1])
    given = _brief(error.instance)
    details = error.kind.as_dict()
    if error.kind.name == "required":
        name = str(details.get("property"))
        return f"{place}: {_escape(name)!r} is missing, expected {_property(expected, name)}"
    if error.kind.name == "additionalProperties":
        return f"{place}: {_unexpected(details.get('unexpected'), expected)}"
    if error.kind.name == "falseSchema":
        return f"{place}: one item too many, {given}"
    if keyword in _PLURALS and isinstance(expected, dict):
        limit = _PLURALS[keyword].format(expected.get(keyword))
        return f"{place}: expected {limit}, got {given}"
    return f"{place}: expected {describe(expected)}, got {given} ({_kind(error.instance)})"


def _place(path: Sequence[str | int]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return _escape(text.removeprefix(".")) or "the value"


def _at(schema: JsonValue, path: Sequence[str | int]) -> JsonValue:
    for step in path:
        if isinstance(schema, dict) and isinstance(step, str):
            schema = schema.get(step)
        elif isinstance(schema, list) and isinstance(step, int):
            schema = schema[step]
    return schema


def _property(schema: JsonValue, name: str) -> str:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return describe(properties.get(name)) if isinstance(properties, dict) else "a value"


def _unexpected(names: object, schema: JsonValue) -> str:
    unexpected = [str(name) for name in names] if isinstance(names, list) else []
    properties = schema.get("properties") if isinstance(schema, dict) else None
    known = list(properties) if isinstance(properties, dict) else []
    near = get_close_matches(unexpected[0], known, n=1) if unexpected else []
    hint = (
        f"did you mean {near[0]!r}?" if near else f"expected only {', '.join(known) or 'nothing'}"
    )
    return (
        f"unexpected {', '.join(repr(_escape(name)) for name in unexpected[:5])}; {_escape(hint)}"
    )


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case _:
            return "object"


def _escape(text: str) -> str:
    return escape_text(text, keep_newlines=False)

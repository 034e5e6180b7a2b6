"""Small work on JSON schemas that came out of pydantic."""

from __future__ import annotations

from typing import cast

from pydantic import JsonValue

from policies.value import JsonObject
from runtime.errors import UsageError

_REF_PREFIX = "#/$defs/"
_VERBATIM = frozenset({"default", "const", "enum", "examples"})
"""What stands under these is data, not schema."""

_DROPPED = frozenset({"$defs", "discriminator"})


def inlined(schema: JsonObject, name: str) -> JsonObject:
    """`schema` with every `$ref` replaced by what it means, and without titles.

    Models read nested schemas better than references, and not every provider resolves them.

    Raises:
        UsageError: A type contains itself, which cannot be written without references.
    """
    definitions = cast("JsonObject", schema.get("$defs", {}))
    return cast("JsonObject", _inline(schema, definitions, (), name))


def _inline(
    node: JsonValue, definitions: JsonObject, inside: tuple[str, ...], name: str
) -> JsonValue:
    if isinstance(node, list):
        return [_inline(item, definitions, inside, name) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        target = reference.removeprefix(_REF_PREFIX)
        if target in inside:
            raise UsageError(
                f"type {target!r} of {name!r} contains itself, which a tool's schema "
                "cannot express: limit the nesting with separate types, or take JSON text."
            )
        meaning = _inline(definitions[target], definitions, (*inside, target), name)
        beside = {key: value for key, value in node.items() if key != "$ref"}
        rest = _inline(beside, definitions, inside, name)
        return {**cast("JsonObject", meaning), **cast("JsonObject", rest)}
    result: JsonObject = {}
    for key, value in node.items():
        if key in _VERBATIM:
            result[key] = value
        elif key == "properties" and isinstance(value, dict):
            # The keys here are the author's names: a property may be called `title`.
            result[key] = {
                field: _inline(inner, definitions, inside, name) for field, inner in value.items()
            }
        elif key not in _DROPPED and not (key == "title" and isinstance(value, str)):
            result[key] = _inline(value, definitions, inside, name)
    return result

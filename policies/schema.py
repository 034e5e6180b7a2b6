"""What a tool takes and gives."""

from __future__ import annotations

from policies.value import JsonObject, Value


class ToolSchema(Value):
    """What a tool takes and gives, as JSON Schema (2020-12), without `$ref` and `pattern`."""

    function: str
    """Name of the function in the source that a call runs."""

    parameters: JsonObject
    """Schema of an object: `properties`, `required` (those without a default),
    `additionalProperties: false`. A parameter with a default has it as `default`."""

    returns: JsonObject
    """Schema of the result; `{}` where the source does not say."""

    raises: tuple[str, ...] = ()
    """Exceptions that the docstring declares."""

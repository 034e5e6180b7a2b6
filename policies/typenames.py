"""Names of types, and what they are in JSON."""

from __future__ import annotations

from typing import Final

PLAIN: Final[dict[str, str]] = {
    "int": "integer",
    "float": "number",
    "str": "string",
    "bool": "boolean",
    "None": "null",
    "NoneType": "null",
    "NoReturn": "null",
    "Never": "null",
    "Text": "string",
    "LiteralString": "string",
    "AnyStr": "string",
    "Number": "number",
    "Real": "number",
    "Integral": "integer",
    "SupportsInt": "number",
    "SupportsFloat": "number",
}
LISTS: Final = frozenset(
    {"list", "List", "Sequence", "MutableSequence", "Iterable", "Collection", "Reversible"}
)
DICTS: Final = frozenset(
    {"dict", "Dict", "Mapping", "MutableMapping", "OrderedDict", "defaultdict", "DefaultDict"}
    | {"Counter"}
)
TUPLES: Final = frozenset({"tuple", "Tuple"})
ANYTHING: Final = frozenset({"Any", "object", "Hashable"})
TRANSPARENT: Final = frozenset(
    {"Required", "NotRequired", "ReadOnly", "Final", "ClassVar", "InitVar", "Awaitable"}
    | {"Coroutine"}
)
NOT_JSON: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("set", "Set", "frozenset", "FrozenSet", "AbstractSet", "MutableSet"),
        "use list[...], and convert inside of the function",
    ),
    **dict.fromkeys(
        ("Iterator", "Generator", "AsyncIterator", "AsyncGenerator", "AsyncIterable", "deque"),
        "use list[...]",
    ),
    **dict.fromkeys(("bytes", "bytearray", "memoryview"), "use str, with base64 for binary data"),
    **dict.fromkeys(("datetime", "date", "time"), "use str, and .fromisoformat() and .isoformat()"),
    "timedelta": "use float for seconds",
    "Decimal": "use str, and convert inside of the function",
    "Fraction": "use str, and convert inside of the function",
    "complex": "use tuple[float, float]",
    "Callable": "use a str with Literal values that choose the behaviour",
    "type": "use a str with Literal values",
    "Type": "use a str with Literal values",
    "Path": "use str",
    "PurePath": "use str",
    "UUID": "use str",
    "Pattern": "use str",
    "Match": "use a dict of the groups",
}
BOUNDS: Final[dict[str, str]] = {
    "Ge": "minimum",
    "Gt": "exclusiveMinimum",
    "Le": "maximum",
    "Lt": "exclusiveMaximum",
    "MultipleOf": "multipleOf",
    "MinLen": "minLength",
    "MaxLen": "maxLength",
}

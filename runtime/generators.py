"""Hypothesis strategies: values of a schema, values shaped like examples, examples varied."""

from __future__ import annotations

import math
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import JsonValue

from policies.value import JsonObject

_SMALL: Final = 100
_LARGE: Final = 10**6
_MAX_ITEMS: Final = 8
_MAX_KEYS: Final = 4
_MAX_CHARACTERS: Final = 20
_VARIED_ITEMS: Final = 50
_VARIED_DEPTH: Final = 4
_ALPHABET: Final = string.ascii_letters + string.digits + " .,;:-_!?'\"()" + "äßéñ中文🙂"

Values = SearchStrategy[JsonValue]


def arguments_strategy(
    parameters: JsonObject, known: list[JsonObject]
) -> SearchStrategy[JsonObject]:
    """Arguments that fit `parameters`; about a third are variations of the `known` ones."""
    properties = parameters.get("properties")
    required = parameters.get("required")
    fields: dict[str, Values] = {}
    for name, schema in properties.items() if isinstance(properties, dict) else ():
        seen = [arguments[name] for arguments in known if name in arguments]
        fields[name] = values(schema, seen)
    needed = set(required) if isinstance(required, list) else set[JsonValue]()
    generated: SearchStrategy[JsonObject] = st.fixed_dictionaries(
        {name: field for name, field in fields.items() if name in needed},
        optional={name: field for name, field in fields.items() if name not in needed},
    )
    if not known:
        return generated
    return st.one_of(generated, generated, st.sampled_from(known).flatmap(_varied_arguments))


def values(schema: JsonValue, seen: list[JsonValue]) -> Values:
    """Values of `schema`; where it says nothing, values shaped like those that were `seen`."""
    if not isinstance(schema, dict):
        return st.nothing()
    enum, union = schema.get("enum"), schema.get("anyOf")
    if isinstance(enum, list):
        return st.sampled_from(enum)
    if isinstance(union, list):
        return st.one_of([values(choice, seen) for choice in union])
    kind = schema.get("type")
    make = _MAKERS.get(kind) if isinstance(kind, str) else None
    return _shaped_like(seen) if make is None else make(schema, seen)


def _null(_schema: JsonObject, _seen: list[JsonValue]) -> Values:
    return st.none()


def _boolean(_schema: JsonObject, _seen: list[JsonValue]) -> Values:
    return st.booleans()


def _integer(schema: JsonObject, _seen: list[JsonValue]) -> Values:
    span = _span(schema)
    low, high = span.integers()
    if low > high:
        return st.nothing()
    full = st.integers(low, high)
    if low > _SMALL or high < -_SMALL:
        return full
    small = st.integers(max(low, -_SMALL), min(high, _SMALL))
    return st.one_of(small, small, small, full)


def _number(schema: JsonObject, seen: list[JsonValue]) -> Values:
    span = _span(schema)
    if span.low > span.high:
        return st.nothing()
    floats = st.floats(
        span.low, span.high, allow_nan=False, allow_infinity=False, allow_subnormal=False
    )
    return st.one_of(floats, _integer(schema, seen))


def _string(schema: JsonObject, _seen: list[JsonValue]) -> Values:
    low, high = _size(schema, "minLength", "maxLength", _MAX_CHARACTERS)
    return st.text(st.sampled_from(_ALPHABET), min_size=low, max_size=high)


def _array(schema: JsonObject, seen: list[JsonValue]) -> Values:
    lists = [value for value in seen if isinstance(value, list)]
    prefix = schema.get("prefixItems")
    if isinstance(prefix, list):
        columns = [[v[i] for v in lists if i < len(v)] for i in range(len(prefix))]
        parts = [values(item, column) for item, column in zip(prefix, columns, strict=True)]
        return st.tuples(*parts).map(list)
    inner = [item for value in lists for item in value]
    items = schema.get("items")
    low, high = _size(schema, "minItems", "maxItems", _MAX_ITEMS)
    element = values(items, inner) if isinstance(items, dict) and items else _shaped_like(inner)
    return st.lists(element, min_size=low, max_size=high).map(list)


def _object(schema: JsonObject, seen: list[JsonValue]) -> Values:
    objects = [value for value in seen if isinstance(value, dict)]
    properties, required = schema.get("properties"), schema.get("required")
    if isinstance(properties, dict):
        needed = set(required) if isinstance(required, list) else set[JsonValue]()
        fields = {
            name: values(inner, [o[name] for o in objects if name in o])
            for name, inner in properties.items()
        }
        return st.fixed_dictionaries(
            {name: field for name, field in fields.items() if name in needed},
            optional={name: field for name, field in fields.items() if name not in needed},
        ).map(dict)
    inner = schema.get("additionalProperties")
    below = [item for value in objects for item in value.values()]
    element = values(inner, below) if isinstance(inner, dict) else _shaped_like(below)
    return st.dictionaries(_keys(schema, objects), element, max_size=_MAX_KEYS).map(dict)


def _keys(schema: JsonObject, objects: list[JsonObject]) -> SearchStrategy[str]:
    names = schema.get("propertyNames")
    enum = names.get("enum") if isinstance(names, dict) else None
    if isinstance(enum, list):
        return st.sampled_from([str(name) for name in enum])
    plain = st.text(st.sampled_from(string.ascii_lowercase), min_size=1, max_size=6)
    used = sorted({key for value in objects for key in value})
    return st.one_of(st.sampled_from(used), plain) if used else plain


_MAKERS: Final[dict[str, Callable[[JsonObject, list[JsonValue]], Values]]] = {
    "null": _null,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "string": _string,
    "array": _array,
    "object": _object,
}


def _shaped_like(seen: list[JsonValue]) -> Values:
    """Values of the kinds that were seen, inside of the ranges that were seen."""
    choices: list[Values] = []
    if any(value is None for value in seen):
        choices.append(st.none())
    if any(isinstance(value, bool) for value in seen):
        choices.append(st.booleans())
    numbers = [v for v in seen if isinstance(v, int | float) and not isinstance(v, bool)]
    if numbers:
        choices.append(_numbers_like(numbers))
    texts = [value for value in seen if isinstance(value, str)]
    if texts:
        choices.append(_texts_like(texts))
    lists = [value for value in seen if isinstance(value, list)]
    if lists:
        inner = [item for value in lists for item in value]
        sizes = [len(value) for value in lists]
        element = _shaped_like(inner) if inner else st.nothing()
        high = max(*sizes, _MAX_ITEMS) if inner and min(sizes) != max(sizes) else max(sizes)
        choices.append(st.lists(element, min_size=min(sizes), max_size=high).map(list))
    if any(isinstance(value, dict) for value in seen):
        choices.append(_object({}, seen))
    return st.one_of(choices) if choices else _anything()


def _numbers_like(numbers: list[int | float]) -> Values:
    low, high = min(numbers), max(numbers)
    floor = -_SMALL if low < 0 else min(int(low), 1)
    ceiling = max(_SMALL, int(high)) if high > 0 else 0
    integers = st.integers(max(floor, -_LARGE), min(ceiling, _LARGE))
    if all(isinstance(number, int) for number in numbers):
        return integers
    return st.floats(float(floor), float(ceiling), allow_nan=False, allow_subnormal=False)


def _texts_like(texts: list[str]) -> Values:
    alphabet = sorted(set("".join(texts)))
    if not alphabet:
        return st.just("")
    sizes = [len(text) for text in texts]
    high = min(sizes) if min(sizes) == max(sizes) and len(sizes) > 1 else max(*sizes, 1)
    made = st.text(st.sampled_from(alphabet), min_size=min(sizes), max_size=high)
    return st.one_of(made, st.sampled_from(texts))


def _anything() -> Values:
    """What to try where neither the schema nor an example says anything."""
    return st.one_of(
        st.integers(0, _SMALL),
        st.text(st.sampled_from(string.ascii_lowercase), max_size=_MAX_ITEMS),
        st.lists(st.integers(0, _SMALL), max_size=_MAX_ITEMS).map(list),
    )


def _varied_arguments(arguments: JsonObject) -> SearchStrategy[JsonObject]:
    """The arguments with one value changed a little."""
    names = sorted(arguments)
    if not names:
        return st.just(arguments)
    return st.sampled_from(names).flatmap(
        lambda name: _varied(arguments[name], _VARIED_DEPTH).map(
            lambda value: {**arguments, name: value}
        )
    )


def _varied(value: JsonValue, depth: int) -> Values:
    """Values near `value`, of the same kind."""
    match value:
        case bool():
            return st.just(not value)
        case int():
            return st.sampled_from([value + 1, value - 1, -value, value * 2, 0])
        case float():
            return st.sampled_from([value + 0.5, value - 1.0, -value, value * 2, 0.0])
        case str():
            return st.sampled_from(_varied_texts(value))
        case list():
            return _varied_list(value, depth)
        case dict():
            return _varied_object(value, depth)
        case _:
            return st.just(value)


def _varied_texts(text: str) -> list[str]:
    doubled = (text + text)[: max(len(text), 200)]
    return [text[1:], text[:-1], text[::-1], text.swapcase(), doubled, text + " ", ""]


def _varied_list(items: list[JsonValue], depth: int) -> Values:
    whole: list[JsonValue] = [items[1:], items[:-1], items[::-1], []]
    if len(items) <= _VARIED_ITEMS:
        whole.append(items + items)
    plain = st.sampled_from(whole)
    if not items or not depth:
        return plain
    one = st.integers(0, len(items) - 1).flatmap(
        lambda i: _varied(items[i], depth - 1).map(lambda v: [*items[:i], v, *items[i + 1 :]])
    )
    return st.one_of(plain, one)


def _varied_object(value: JsonObject, depth: int) -> Values:
    if not value or not depth:
        return st.just({})
    name = st.sampled_from(sorted(value))
    less = name.map(lambda gone: {k: v for k, v in value.items() if k != gone})
    changed = name.flatmap(
        lambda key: _varied(value[key], depth - 1).map(lambda item: {**value, key: item})
    )
    return st.one_of(less, changed)


@dataclass(frozen=True, slots=True)
class _Span:
    """The numbers to draw from, both ends included."""

    low: float
    high: float

    def integers(self) -> tuple[int, int]:
        """The least and the greatest integer inside; the first is larger if there is none."""
        return math.ceil(self.low), math.floor(self.high)


def _span(schema: JsonObject) -> _Span:
    """The bounds of the schema, or the usual ones where it has none."""
    lows = [bound for key in ("minimum", "exclusiveMinimum") for bound in _bound(schema, key)]
    highs = [bound for key in ("maximum", "exclusiveMaximum") for bound in _bound(schema, key)]
    low = max(lows) if lows else float(-_LARGE)
    high = min(highs) if highs else max(float(_LARGE), low + _LARGE)
    return _Span(low if lows else min(low, high - _LARGE), high)


def _bound(schema: JsonObject, key: str) -> list[float]:
    value = schema.get(key)
    if not isinstance(value, int | float):
        return []
    away = {"exclusiveMinimum": math.inf, "exclusiveMaximum": -math.inf}.get(key)
    return [float(value) if away is None else math.nextafter(value, away)]


def _size(schema: JsonObject, least: str, most: str, usual: int) -> tuple[int, int]:
    low, high = schema.get(least), schema.get(most)
    smallest = low if isinstance(low, int) else 0
    largest = high if isinstance(high, int) else max(usual, smallest)
    return smallest, max(smallest, min(largest, max(usual, smallest)))

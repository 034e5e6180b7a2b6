"""Laws of strict schemas: what a model may write for one is what the tool's own schema takes."""

from __future__ import annotations

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from policies.value import JsonObject
from runtime.messages import ToolCall, ToolSpec
from runtime.models.strict import StrictTools, from_wire, to_wire

# How long an example takes says something about the machine alone.
LAW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NAMES = st.sampled_from(["a", "b", "c", "dé"])
SCALARS: list[JsonObject] = [
    {"type": "string"},
    {"type": "integer"},
    {"type": "number", "minimum": 0},
    {"type": "boolean"},
    {"type": "string", "enum": ["x", "y"]},
    {"const": "fixed"},
    {"type": "null"},
    {"type": ["string", "null"]},
    {"type": ["integer", "string"]},
    {"$ref": "#/$defs/node"},
    {"$ref": "#/$defs/tags", "description": "Referenced."},
    {"type": "integer", "title": "Limit", "default": 3, "description": "How many."},
]
DEFS: JsonObject = {
    "node": {
        "type": "object",
        "properties": {
            "label": {"type": "string"},
            "weight": {"type": "integer"},
            "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
        },
        "required": ["label"],
        "additionalProperties": False,
    },
    "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
}


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[JsonObject]) -> JsonObject:
    properties: JsonObject = {**draw(st.dictionaries(NAMES, inner, max_size=3))}
    required: list[JsonValue] = [name for name in properties if draw(st.booleans())]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


@st.composite
def unions(draw: st.DrawFn, inner: st.SearchStrategy[JsonObject]) -> JsonObject:
    branches: list[JsonValue] = [*draw(st.lists(inner, min_size=1, max_size=3))]
    return {draw(st.sampled_from(["anyOf", "oneOf"])): branches}


@st.composite
def tagged(draw: st.DrawFn, inner: st.SearchStrategy[JsonObject]) -> JsonObject:
    branches: list[JsonValue] = []
    for tag in ("cat", "dog"):
        branch = draw(objects(inner))
        properties, required = branch["properties"], branch["required"]
        assert isinstance(properties, dict)
        assert isinstance(required, list)
        branch["properties"] = properties | {"kind": {"const": tag}}
        branch["required"] = [*required, "kind"]
        branches.append(branch)
    return {"oneOf": branches, "discriminator": {"propertyName": "kind"}}


SCHEMAS = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: (
        objects(inner)
        | unions(inner)
        | tagged(inner)
        | inner.map(lambda items: {"type": "array", "items": items})
    ),
    max_leaves=6,
)
SPECS = objects(SCHEMAS).map(
    lambda root: ToolSpec(name="tool", description="A tool.", parameters=root | {"$defs": DEFS})
)


def valid(schema: JsonValue, root: JsonObject, value: JsonValue) -> bool:
    assert isinstance(schema, dict)
    whole = schema | {"$defs": root.get("$defs", {})}
    return jsonschema_rs.validator_for(whole).is_valid(value)


def resolved(schema: JsonValue, root: JsonObject) -> JsonObject:
    assert isinstance(schema, dict)
    while "$ref" in schema:
        definitions = root["$defs"]
        assert isinstance(definitions, dict)
        target = definitions[str(schema["$ref"]).rpartition("/")[2]]
        assert isinstance(target, dict)
        schema = target
    return schema


@st.composite
def values(draw: st.DrawFn, schema: JsonValue, root: JsonObject, depth: int = 0) -> JsonValue:
    """Any value of a schema of this file's vocabulary."""
    schema = resolved(schema, root)
    branches = schema.get("anyOf", schema.get("oneOf"))
    if isinstance(branches, list):
        return draw(values(draw(st.sampled_from(branches)), root, depth))
    if "const" in schema:
        return schema["const"]
    if isinstance(options := schema.get("enum"), list):
        return draw(st.sampled_from(options))
    types = schema["type"]
    kind = draw(st.sampled_from(types)) if isinstance(types, list) else types
    if kind == "object":
        properties, required = schema["properties"], schema["required"]
        assert isinstance(properties, dict)
        assert isinstance(required, list)
        return {
            name: draw(values(each, root, depth + 1))
            for name, each in properties.items()
            if name in required or (depth < 3 and draw(st.booleans()))
        }
    if kind == "array":
        size = 0 if depth > 2 else draw(st.integers(0, 2))
        return [draw(values(schema["items"], root, depth + 1)) for _ in range(size)]
    scalars: dict[object, st.SearchStrategy[JsonValue]] = {
        "string": st.sampled_from(["", "x", "fixed", "é"]),
        "integer": st.integers(-5, 5),
        "number": st.integers(0, 5) | st.sampled_from([0.5, 7.25]),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return draw(scalars[kind])


def written(value: JsonValue, schema: JsonValue, root: JsonObject) -> JsonValue:
    """How a model that means `value` writes it for the strict schema: null for what it omits."""
    schema = resolved(schema, root)
    branches = schema.get("anyOf", schema.get("oneOf"))
    if isinstance(branches, list):
        fitting = next(each for each in branches if valid(each, root, value))
        return written(value, fitting, root)
    if isinstance(value, list):
        return [written(each, schema["items"], root) for each in value]
    if not isinstance(value, dict):
        return value
    properties = schema["properties"]
    assert isinstance(properties, dict)
    return {
        name: written(value[name], each, root) if name in value else None
        for name, each in properties.items()
    }


def same_meaning(one: JsonValue, other: JsonValue, schema: JsonValue, root: JsonObject) -> bool:
    """Equal, but for a null given where it could as well have been left out."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(
            same_meaning(one.get(name), other.get(name), schema, root)
            for name in one.keys() | other.keys()
        )
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return all(same_meaning(*pair, schema, root) for pair in zip(one, other, strict=True))
    return one == other


@LAW
@given(SPECS, st.data())
def test_what_a_model_may_write_is_valid_for_the_tool(spec: ToolSpec, data: st.DataObject) -> None:
    wire = to_wire(spec)
    arguments = data.draw(values(wire.parameters, wire.parameters))
    assert isinstance(arguments, dict)
    if not valid(wire.parameters, wire.parameters, arguments):
        assert not wire.strict  # a oneOf of overlapping branches; never in a strict schema
        return

    assert valid(spec.parameters, spec.parameters, from_wire(arguments, spec))


@LAW
@given(SPECS, st.data())
def test_what_the_tool_takes_can_be_written_and_read_back(
    spec: ToolSpec, data: st.DataObject
) -> None:
    arguments = data.draw(values(spec.parameters, spec.parameters))
    assert isinstance(arguments, dict)
    wire = to_wire(spec)
    if not wire.strict or not valid(spec.parameters, spec.parameters, arguments):
        return

    sent = written(arguments, spec.parameters, spec.parameters)

    assert isinstance(sent, dict)
    assert valid(wire.parameters, wire.parameters, sent)
    assert same_meaning(from_wire(sent, spec), arguments, spec.parameters, spec.parameters)


@LAW
@given(SPECS, st.data())
def test_reading_back_twice_changes_nothing(spec: ToolSpec, data: st.DataObject) -> None:
    wire = to_wire(spec)
    arguments = data.draw(values(wire.parameters, wire.parameters))
    assert isinstance(arguments, dict)
    once = from_wire(arguments, spec)

    assert from_wire(once, spec) == once


@LAW
@given(SPECS)
def test_strict_schemas_are_closed_and_require_everything(spec: ToolSpec) -> None:
    def check(schema: JsonValue) -> None:
        if isinstance(schema, list):
            for each in schema:
                check(each)
        if isinstance(schema, dict):
            if schema.get("type") == "object":
                properties, required = schema["properties"], schema["required"]
                assert isinstance(properties, dict)
                assert isinstance(required, list)
                assert required == list(properties)
                assert schema["additionalProperties"] is False
            assert "$ref" not in schema or len(schema) == 1
            for each in schema.values():
                check(each)

    wire = to_wire(spec)
    if wire.strict:
        check(wire.parameters)
    else:
        assert wire.parameters == spec.parameters


def spec_of(parameters: JsonObject) -> ToolSpec:
    return ToolSpec(name="tool", description="A tool.", parameters=parameters)


def closed(properties: JsonObject, required: list[JsonValue] | None = None) -> JsonObject:
    return {
        "type": "object",
        "properties": properties,
        "required": required or [],
        "additionalProperties": False,
    }


def test_an_optional_parameter_goes_over_the_wire_as_one_that_may_be_null() -> None:
    limit: JsonObject = {"type": "integer", "default": 5, "minimum": 1, "description": "How many."}
    spec = spec_of(closed({"query": {"type": "string"}, "limit": limit}, ["query"]))

    assert to_wire(spec).parameters == {
        "type": "object",
        "properties": {
            "query": {"type": "string"},
            "limit": {
                "type": ["integer", "null"],
                "minimum": 1,
                "description": "How many. Null takes the default: 5.",
            },
        },
        "required": ["query", "limit"],
        "additionalProperties": False,
    }
    assert from_wire({"query": "x", "limit": None}, spec) == {"query": "x"}


def test_a_null_that_the_tool_itself_knows_is_kept() -> None:
    spec = spec_of(closed({"unit": {"anyOf": [{"type": "string"}, {"type": "null"}]}}))

    assert from_wire({"unit": None}, spec) == {"unit": None}


def test_an_optional_enumeration_may_be_null_beside_its_values() -> None:
    spec = spec_of(closed({"unit": {"enum": ["C", "F"], "type": "string"}}))

    assert to_wire(spec).parameters["properties"] == {
        "unit": {
            "anyOf": [{"enum": ["C", "F"], "type": "string"}, {"type": "null"}],
            "description": "Null leaves it out.",
        }
    }


def test_what_a_strict_schema_cannot_enforce_is_told_in_words() -> None:
    day: JsonObject = {"type": "string", "format": "date", "maxLength": 10, "description": "Day."}
    spec = spec_of(closed({"day": day}, ["day"]))

    assert to_wire(spec).parameters["properties"] == {
        "day": {"type": "string", "description": "Day. Format: date. At most 10 characters."}
    }


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        closed({"any": {}}),
        closed({"any": True}),
        closed({"list": {"type": "array"}}),
        closed({"pair": {"type": "array", "prefixItems": [{"type": "string"}]}}),
        closed({"map": {"type": "object", "properties": {}, "additionalProperties": True}}),
        closed({"lost": {"$ref": "#/$defs/nowhere"}}),
        closed({"loop": {"$ref": "#/$defs/loop"}}) | {"$defs": {"loop": {"$ref": "#/$defs/loop"}}},
        closed({"not": {"type": "string", "not": {"const": "x"}}}),
        closed({}, ["missing"]),
        closed({"many": {"enum": [f"value {number}" for number in range(1_001)]}}),
    ],
)
def test_a_schema_that_has_no_strict_form_is_sent_as_it_is(parameters: JsonObject) -> None:
    spec = spec_of(parameters)

    wire = to_wire(spec)

    assert (wire.strict, wire.parameters) == (False, parameters)
    assert from_wire({"any": None}, spec) == {"any": None}


def test_objects_of_a_union_that_could_be_mistaken_for_one_another_are_not_made_strict() -> None:
    one = closed({"a": {"type": "string"}})
    other = closed({"a": {"type": "integer"}, "b": {"type": "string"}}, ["b"])

    assert not to_wire(spec_of(closed({"x": {"anyOf": [one, other]}}))).strict


def test_a_schema_nested_deeper_than_providers_take_is_not_made_strict() -> None:
    schema: JsonObject = {"type": "string"}
    for _ in range(12):
        schema = closed({"next": schema}, ["next"])

    assert not to_wire(spec_of(schema)).strict


def test_calls_come_back_in_the_tools_own_terms_and_what_is_no_json_as_it_is() -> None:
    tools = StrictTools()
    spec = spec_of(closed({"a": {"type": "integer"}, "b": {"type": "string"}}, ["a"]))
    texts = ['{"a": 1, "b": null}', '{"a": 1,  "b": "x"}', '{"a": 1', "[]", ""]
    calls = tuple(ToolCall(call_id="c", name="tool", arguments=text) for text in texts)
    unknown = ToolCall(call_id="c", name="other", arguments='{"a": null}')

    back = tools.calls((*calls, unknown), [spec])

    assert [call.arguments for call in back] == ['{"a": 1}', *texts[1:], '{"a": null}']


def test_a_spec_that_changed_under_its_name_is_worked_out_anew() -> None:
    tools = StrictTools()
    before = spec_of(closed({"a": {"type": "integer"}}, ["a"]))
    after = spec_of(closed({"b": {"type": "integer"}}, ["b"]))

    assert tools.wire(before).parameters["required"] == ["a"]
    assert tools.wire(after).parameters["required"] == ["b"]

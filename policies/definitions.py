"""What a source defines that annotations can name: records, enums, aliases, imported names."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from pydantic import JsonValue

from policies.docstrings import one_line, read_docstring

_ENUMS: Final = frozenset({"Enum", "StrEnum", "IntEnum", "Flag", "IntFlag", "ReprEnum"})
_MAX_ENUM_VALUES: Final = 200
_LITERAL_DEPTH: Final = 12


class RecordKind(Enum):
    """How a class of the source looks in JSON."""

    ENUM = auto()
    TYPED_DICT = auto()
    DATACLASS = auto()
    NAMED_TUPLE = auto()


@dataclass(frozen=True, slots=True)
class FieldDefinition:
    """One field of a record."""

    name: str
    annotation: ast.expr
    required: bool
    description: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A class of the source that has a form in JSON."""

    name: str
    kind: RecordKind
    fields: tuple[FieldDefinition, ...] = ()
    values: tuple[JsonValue, ...] = ()
    members: dict[str, JsonValue] = field(default_factory=dict)

    @property
    def conversion(self) -> str:
        """How a tool makes the record from the argument `value`."""
        star = {RecordKind.DATACLASS: "**", RecordKind.NAMED_TUPLE: "*"}.get(self.kind, "")
        return f"{self.name}({star}value)"


class Definitions:
    """Reads the top level of one tree."""

    def __init__(self, tree: ast.Module) -> None:
        self.aliases: dict[str, ast.expr] = {}
        self.records: dict[str, Record] = {}
        self.classes: dict[str, ast.ClassDef] = {}
        self._imported: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                self._imported.update({a.asname: a.name for a in node.names if a.asname})
        for statement in tree.body:
            self._add(statement)
        for name, definition in self.classes.items():
            record = self._record(definition, frozenset({name}))
            if record is not None:
                self.records[name] = record

    def name_of(self, node: ast.expr) -> str:
        """The plain name that `typing.List`, `t.List` or a renamed import stands for."""
        if isinstance(node, ast.Attribute):
            return node.attr
        if isinstance(node, ast.Name):
            return self._imported.get(node.id, node.id)
        return ""

    def value_of(self, node: ast.expr) -> tuple[bool, JsonValue]:
        """The value of a literal or of a member of an enum; the first item says if it is known."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            record = self.records.get(node.value.id)
            if record is not None and node.attr in record.members:
                return True, record.members[node.attr]
        return literal(node)

    def _add(self, statement: ast.stmt) -> None:
        match statement:
            case ast.ClassDef():
                self.classes[statement.name] = statement
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._add_assignment(name, value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                if self.name_of(statement.annotation) == "TypeAlias":
                    self.aliases[name] = value
            case _ if type(statement).__name__ == "TypeAlias":
                self._add_type_statement(
                    getattr(statement, "name", None), getattr(statement, "value", None)
                )
            case _:
                pass

    def _add_type_statement(self, target: object, value: object) -> None:
        if isinstance(target, ast.Name) and isinstance(value, ast.expr):
            self.aliases[target.id] = value

    def _add_assignment(self, name: str, value: ast.expr) -> None:
        match value:
            case ast.Subscript() | ast.Name() | ast.Attribute() | ast.BinOp(op=ast.BitOr()):
                self.aliases[name] = value
            case ast.Call(func=func, args=[_, base]) if self.name_of(func) == "NewType":
                self.aliases[name] = base
            case ast.Call(func=func, args=[_, ast.Dict() as fields]):
                if self.name_of(func) == "TypedDict":
                    self.records[name] = Record(
                        name,
                        RecordKind.TYPED_DICT,
                        tuple(
                            FieldDefinition(key.value, annotation, required=True)
                            for key, annotation in zip(fields.keys, fields.values, strict=True)
                            if isinstance(key, ast.Constant) and isinstance(key.value, str)
                        ),
                    )
            case ast.Call(func=func, args=[_, names]) if self.name_of(func) == "namedtuple":
                self.records[name] = Record(name, RecordKind.NAMED_TUPLE, _named(names))
            case _:
                pass

    def _record(self, node: ast.ClassDef, seen: frozenset[str]) -> Record | None:
        bases = [self.name_of(base) for base in node.bases]
        inherited = [
            self._record(self.classes[base], seen | {base})
            for base in bases
            if base in self.classes and base not in seen
        ]
        known = [record for record in inherited if record is not None]
        if any(base in _ENUMS for base in bases):
            return _enum(node, bases)
        if "NamedTuple" in bases:
            return Record(node.name, RecordKind.NAMED_TUPLE, self._fields(node, total=True))
        if "TypedDict" in bases or any(r.kind is RecordKind.TYPED_DICT for r in known):
            kind, total = RecordKind.TYPED_DICT, not _is_partial(node)
        elif any(self.name_of(_called(d)) == "dataclass" for d in node.decorator_list):
            kind, total = RecordKind.DATACLASS, True
        else:
            return None
        fields = {f.name: f for record in known for f in record.fields}
        fields.update({f.name: f for f in self._fields(node, total=total)})
        return Record(node.name, kind, tuple(fields.values()))

    def _fields(self, node: ast.ClassDef, *, total: bool) -> tuple[FieldDefinition, ...]:
        documented = read_docstring(node).parameters
        found: list[FieldDefinition] = []
        for position, statement in enumerate(node.body):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(
                statement.target, ast.Name
            ):
                continue
            head = statement.annotation
            wrapper = self.name_of(head.value) if isinstance(head, ast.Subscript) else ""
            if wrapper == "ClassVar" or self.name_of(head) == "ClassVar":
                continue
            required = wrapper == "Required" or (total and wrapper != "NotRequired")
            name = statement.target.id
            found.append(
                FieldDefinition(
                    name,
                    statement.annotation,
                    required=(required and statement.value is None)
                    or _is_field_without_default(statement.value),
                    description=_text_below(node.body, position) or documented.get(name, ""),
                )
            )
        return tuple(found)


def literal(node: ast.expr) -> tuple[bool, JsonValue]:
    """The JSON value of a literal; the first item says whether it is one."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False, None
    return _as_json(value, _LITERAL_DEPTH)


def _as_json(value: object, depth: int) -> tuple[bool, JsonValue]:
    match value:
        case None | bool() | int() | str():
            return True, value
        case float():
            return (True, value) if math.isfinite(value) else (False, None)
        case list() | tuple() if depth:
            items = [_as_json(item, depth - 1) for item in value]
            return all(known for known, _ in items), [item for _, item in items]
        case dict() if depth and all(isinstance(key, str) for key in value):
            pairs = {str(key): _as_json(item, depth - 1) for key, item in value.items()}
            return all(known for known, _ in pairs.values()), {k: v for k, (_, v) in pairs.items()}
        case _:
            return False, None


def _enum(node: ast.ClassDef, bases: list[str]) -> Record | None:
    """An enum whose values are literals or `auto()`; None where one is computed."""
    members: dict[str, JsonValue] = {}
    for statement in node.body[:_MAX_ENUM_VALUES]:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if not name.startswith("_"):
                known, member = literal(value)
                if isinstance(value, ast.Call) and ast.unparse(value) in {"auto()", "enum.auto()"}:
                    known, member = True, name.lower() if "StrEnum" in bases else len(members) + 1
                if not known:
                    return None
                members[name] = member
            case _:
                pass
    if not members:
        return None
    return Record(node.name, RecordKind.ENUM, values=tuple(members.values()), members=members)


def _named(names: ast.expr) -> tuple[FieldDefinition, ...]:
    known, value = literal(names)
    if not known:
        return ()
    words = value.replace(",", " ").split() if isinstance(value, str) else value
    anything = ast.Name("object", ast.Load())
    if not isinstance(words, list):
        return ()
    return tuple(FieldDefinition(str(word), anything, required=True) for word in words)


def _is_partial(node: ast.ClassDef) -> bool:
    return any(
        keyword.arg == "total"
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value is False
        for keyword in node.keywords
    )


def _is_field_without_default(value: ast.expr | None) -> bool:
    """Whether a dataclass field is `field(...)` with neither default nor factory."""
    return (
        isinstance(value, ast.Call)
        and ast.unparse(value.func) in {"field", "dataclasses.field"}
        and not any(k.arg in {"default", "default_factory", "init"} for k in value.keywords)
    )


def _called(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node


def _text_below(body: list[ast.stmt], position: int) -> str:
    """The string that stands below a field, the usual place for its description."""
    below = body[position + 1] if position + 1 < len(body) else None
    match below:
        case ast.Expr(value=ast.Constant(value=str() as text)):
            return one_line(text)
        case _:
            return ""

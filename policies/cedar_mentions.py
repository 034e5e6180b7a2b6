"""What the rules of Cedar files speak of: from it come the requests that a check tries."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import JsonValue

from policies.access_samples import Mentioned
from policies.cedar_rules import CedarRule


def mentioned(rules: Iterable[CedarRule]) -> Mentioned:
    """The names, attributes, texts and numbers that stand in rules."""
    names: dict[str, set[str]] = {}
    attributes: set[str] = set()
    texts: set[str] = set()
    numbers: set[int] = set()
    waiting: list[JsonValue] = [rule.parsed for rule in rules]
    while waiting:
        match waiting.pop():
            case {"type": str(kind), "id": str(name)}:
                names.setdefault(kind, set()).add(name)
            case {"attr": str(name), "left": inner}:
                attributes.add(name)
                waiting.append(inner)
            case {"pattern": list(pattern), "left": inner}:
                texts.add("".join(_piece(piece) for piece in pattern))
                waiting.append(inner)
            case {"Value": str(text)}:
                texts.add(text)
            case {"Value": bool()}:
                pass
            case {"Value": int(number)}:
                numbers.add(number)
            case dict() as node:
                waiting.extend(value for key, value in node.items() if key != "annotations")
            case list() as several:
                waiting.extend(several)
            case _:
                pass
    return Mentioned(
        {kind: frozenset(found) for kind, found in names.items()},
        frozenset(attributes),
        frozenset(texts),
        frozenset(numbers),
    )


def _piece(piece: JsonValue) -> str:
    """What stands for one piece of a `like` pattern in a text that it matches."""
    match piece:
        case {"Literal": str(text)}:
            return text
        case _:
            return "x"

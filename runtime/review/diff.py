"""What differs between two versions, respect by respect."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Final

from policies.marking import mark_line, mark_text
from policies.permissions import Permissions
from runtime.review.parts import DiffLine, DiffPart, LineKind
from toolstore.models import ToolVersion

CONTEXT_LINES: Final = 3


def diff_versions(
    before: ToolVersion | None,
    after: ToolVersion,
    packages_before: Sequence[str] = (),
    packages_after: Sequence[str] = (),
) -> tuple[DiffPart, ...]:
    """Every respect in which `after` can differ; of a first version all of it is added.

    Args:
        before: The version that `after` is to replace.
        after: The version under review.
        packages_before: What the lock of the image of `before` has, `name==version` each.
        packages_after: The same of `after`.
    """
    old = [] if before is None else _texts(before, packages_before)
    new = _texts(after, packages_after)
    empty: list[tuple[str, list[str]]] = [(title, []) for title, _ in new]
    return tuple(
        DiffPart(title=title, lines=tuple(diff_lines(left, right)))
        for (title, right), (_, left) in zip(new, old or empty, strict=True)
    )


def diff_lines(before: Sequence[str], after: Sequence[str]) -> Iterator[DiffLine]:
    """A unified diff with line numbers; nothing where the texts are equal."""
    if list(before) == list(after):
        return
    matcher = difflib.SequenceMatcher(None, before, after)  # its shortcuts bound the time
    for number, group in enumerate(matcher.get_grouped_opcodes(CONTEXT_LINES)):
        if number or group[0][1] or group[0][3]:
            place = f"lines {group[0][3] + 1} to {group[-1][4]}"
            yield DiffLine(kind=LineKind.PLACE, text=mark_text(place))
        for tag, old_start, old_end, new_start, new_end in group:
            if tag == "equal":
                for offset, line in enumerate(before[old_start:old_end], 1):
                    yield DiffLine(
                        kind=LineKind.SAME,
                        text=mark_line(line),
                        before=old_start + offset,
                        after=new_start + offset,
                    )
                continue
            for offset, line in enumerate(before[old_start:old_end], old_start + 1):
                yield DiffLine(kind=LineKind.REMOVED, text=mark_line(line), before=offset)
            for offset, line in enumerate(after[new_start:new_end], new_start + 1):
                yield DiffLine(kind=LineKind.ADDED, text=mark_line(line), after=offset)


def permission_lines(permissions: Permissions) -> list[str]:
    """What is declared, one permission a line, so that each shows as added or removed."""
    fields = (
        ("import", permissions.imports),
        ("package", permissions.packages),
        ("host", permissions.hosts),
        ("secret", permissions.secrets),
        ("files", permissions.files),
        ("calls", permissions.tools),
    )
    return [
        f"level {permissions.lint_level.value}",
        *(f"{word} {value}" for word, values in fields for value in values),
    ]


def schema_lines(version: ToolVersion) -> list[str]:
    """The schema as indented JSON."""
    fields = version.source_schema.model_dump(mode="json")
    return json.dumps(fields, indent=2, ensure_ascii=False).split("\n")


def source_lines(code: str) -> list[str]:
    """The lines of a source, without an empty last one."""
    return code.removesuffix("\n").split("\n")


def _texts(version: ToolVersion, packages: Sequence[str]) -> list[tuple[str, list[str]]]:
    source = version.source
    examples = [json.dumps(each.to_json(), ensure_ascii=False) for each in source.examples]
    return [
        ("source", source_lines(source.code)),
        ("description", source.description.split("\n")),
        ("schema", schema_lines(version)),
        ("permissions", permission_lines(source.permissions)),
        ("packages", list(packages)),
        ("examples", examples),
        ("image", [version.image_digest]),
    ]

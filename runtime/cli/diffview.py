"""What differs between two versions, respect by respect, as people and scripts read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic import JsonValue
from rich.console import RenderableType
from rich.panel import Panel
from rich.text import Text

from policies.marking import SafeText
from policies.value import JsonObject
from runtime.review.diff import diff_versions
from runtime.review.parts import Behaviour, DiffLine, DiffPart, LineKind
from runtime.review.views import behaviour_view
from toolstore.models import ToolVersion

_STYLES: Final = {
    LineKind.SAME: "",
    LineKind.ADDED: "green",
    LineKind.REMOVED: "red",
    LineKind.PLACE: "cyan",
}
_SIGNS: Final = {
    LineKind.SAME: " ",
    LineKind.ADDED: "+",
    LineKind.REMOVED: "-",
    LineKind.PLACE: "@",
}
_MARKED: Final = "reverse"


class Differences:
    """Two versions and everything that differs between them."""

    def __init__(
        self, before: ToolVersion, after: ToolVersion, packages: Sequence[Sequence[str]] = ()
    ) -> None:
        self.before = before
        self.after = after
        self.parts = diff_versions(before, after, *packages)
        self.behaviour = _behaviour(before, after)

    def to_json(self) -> JsonObject:
        """As JSON; `diff` has all lines one after another."""
        parts: list[JsonValue] = [_part_json(part) for part in self.parts]
        lines: list[JsonValue] = []
        for part in self.parts:
            if part.changed:
                lines += [
                    f"--- {self.before.ref}/{part.title}",
                    f"+++ {self.after.ref}/{part.title}",
                ]
                lines += [_words(line) for line in part.lines]
        return {
            "before": str(self.before.ref),
            "after": str(self.after.ref),
            "parts": parts,
            "behaviour": None if self.behaviour is None else _behaviour_json(self.behaviour),
            "diff": lines,
        }

    def view(self) -> list[RenderableType]:
        """For a terminal: a panel for each respect in which they differ."""
        changed = [part for part in self.parts if part.changed]
        shown: list[RenderableType] = [
            Panel(_lines(part), title=Text(part.title), title_align="left") for part in changed
        ]
        if self.behaviour is not None:
            shown.append(
                Panel(_behaviour_text(self.behaviour), title=Text("behaviour"), title_align="left")
            )
        same = [part.title for part in self.parts if not part.changed]
        words = f"{self.before.ref} -> {self.after.ref}"
        if same:
            words += f"; the same: {', '.join(same)}"
        if self.behaviour is None:
            words += "; they were not run beside one another"
        return [*shown, Text(words, style="dim")]


def _behaviour(before: ToolVersion, after: ToolVersion) -> Behaviour | None:
    """How the later one behaved beside the earlier one, where they were run beside each other."""
    replay = after.evidence.replay
    if replay is None or replay.predecessor != before.digest:
        return None
    return behaviour_view(replay)


def _part_json(part: DiffPart) -> JsonObject:
    lines: list[JsonValue] = [
        {
            "kind": line.kind.value,
            "text": str(line.text),
            "before": line.before,
            "after": line.after,
        }
        for line in part.lines
    ]
    return {"title": part.title, "changed": part.changed, "lines": lines}


def _behaviour_json(behaviour: Behaviour) -> JsonObject:
    told: list[JsonValue] = [str(each) for each in behaviour.differences]
    return {"summary": str(behaviour.summary), "inputs": behaviour.inputs, "differences": told}


def _words(line: DiffLine) -> str:
    return f"{_SIGNS[line.kind]}{line.text}"


def _lines(part: DiffPart) -> Text:
    view = Text()
    for number, line in enumerate(part.lines):
        style = _STYLES[line.kind]
        view.append("\n" * bool(number) + _SIGNS[line.kind], style=style)
        view.append_text(_marked(line.text, style))
    return view


def _marked(text: SafeText, style: str) -> Text:
    """A text in one colour, with what is not what it seems turned around."""
    view = Text()
    for piece in text.pieces:
        view.append(piece.text, style=f"{style} {_MARKED}" if piece.mark else style)
    return view


def _behaviour_text(behaviour: Behaviour) -> Text:
    view = _marked(behaviour.summary, "")
    for each in behaviour.differences:
        view.append("\n  ").append_text(_marked(each, "yellow"))
    return view


def changes_view(before: ToolVersion, after: ToolVersion) -> Text:
    """What an author changed, one respect under the other."""
    view = Text()
    for part in diff_versions(before, after):
        if part.changed:
            view.append(f"{part.title}\n", style="bold").append_text(_lines(part)).append("\n")
    view.rstrip()
    return view if view.plain else Text("no difference in what the author wrote", style="dim")

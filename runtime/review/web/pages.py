"""Templates, and the few values that they need beyond what the desk gives."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from policies.decision import Channel
from policies.value import canonical_json
from runtime.review.item import QueueLine, ReviewItem
from runtime.review.parts import TrialView
from runtime.review.views import worth_showing
from runtime.review.web.marking import html_of
from runtime.review.web.sides import Row, colours_of, rows_of

HERE: Final = Path(__file__).parent
SOURCE: Final = "source"
"""The part of a diff that is Python."""

SHOWN_GENERATED: Final = 5
"""Generated trials that passed, of one kind; more tell a person nothing."""

SCOPES: Final = (
    ("", "everybody"),
    (Channel.CANARY.value, "a share of all calls first"),
    (Channel.SESSION.value, "the session that wrote it, alone"),
)
EXPIRY_DAYS: Final = (("", "for good"), ("1", "1 day"), ("7", "7 days"), ("30", "30 days"))


@dataclass(frozen=True, slots=True)
class CodeLine:
    """A line of the source."""

    number: int
    html: Markup
    covered: bool | None


@dataclass(frozen=True, slots=True)
class PartView:
    """A respect in which versions differ."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class ItemView:
    """What the page of one version has beside the item itself."""

    source: tuple[CodeLine, ...]
    diff: tuple[PartView, ...]
    unchanged: tuple[str, ...]
    trials: tuple[TrialView, ...]
    hidden_trials: int
    trial_words: str


@functools.cache
def environment() -> Environment:
    """The templates, read once; everything that is put into them is escaped."""
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["html"] = html_of
    found.filters["hex"] = hex_of
    return found


def render(template: str, **values: object) -> str:
    """One page."""
    defaults: dict[str, object] = {"session": None, "notice": None, "here": ""}
    return environment().get_template(template).render({**defaults, **values})


def hex_of(digest: str) -> str:
    """The digits of a digest, for an address."""
    return digest.removeprefix("sha256:")


def fingerprint(lines: Sequence[QueueLine]) -> str:
    """Changes when the queue does."""
    content = canonical_json([line.model_dump(mode="json") for line in lines])
    return hashlib.sha256(content).hexdigest()[:32]


def item_view(item: ReviewItem) -> ItemView:
    """Colours, sides and counts; takes some milliseconds, so call it in a thread."""
    texts = [line.text for line in item.source]
    changes = next((part.lines for part in item.diff if part.title == SOURCE), ())
    colours = colours_of(changes, texts)
    trials = worth_showing(item.trials, SHOWN_GENERATED)
    return ItemView(
        source=tuple(
            CodeLine(line.number, colours.now[line.number].html(), line.covered)
            for line in item.source
        ),
        diff=tuple(
            PartView(part.title, rows_of(part.lines, colours if part.title == SOURCE else None))
            for part in item.diff
        ),
        unchanged=tuple(part.title for part in item.diff if not part.changed),
        trials=trials,
        hidden_trials=len(item.trials) - len(trials),
        trial_words=_trial_words(item.trials),
    )


def _trial_words(trials: Sequence[TrialView]) -> str:
    failed = sum(not trial.passed for trial in trials)
    kinds = ", ".join(
        f"{sum(trial.kind is kind for trial in trials)} {kind.value}"
        for kind in dict.fromkeys(trial.kind for trial in trials)
    )
    if not trials:
        return "It was not tried."
    return f"{len(trials)} runs ({kinds}): {f'{failed} failed' if failed else 'all passed'}."

"""Where the versions of a tool stand, how they came there, and who vouches for one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from policies.marking import SafeText, mark_text
from policies.sequential import Tally
from runtime.review.item import MAX_REASON
from runtime.review.parts import HistoryLine, OthersView, StatementView, VersionView
from toolstore.bundlereport import Line
from toolstore.events import EventDetail
from toolstore.exchange import OthersWord
from toolstore.models import Event, Lifecycle, Place, ToolSummary

_KEY_CHARACTERS: Final = 8


def version_views(
    siblings: Iterable[ToolSummary], tallies: Mapping[str, Tally]
) -> tuple[VersionView, ...]:
    """All versions of a name, latest first; `tallies` are those of a running canary."""
    views = [
        VersionView(
            ref=mark_text(f"{each.name}@{each.sequence}"),
            digest=each.digest,
            state=each.state,
            place=place_text(each.place),
            author=mark_text(each.author, characters=200),
            created_at=each.created_at,
            calls=None if each.place is None else tallies.get(each.place.channel),
        )
        for each in siblings
    ]
    return tuple(reversed(views))


def place_text(place: Place | None) -> SafeText | None:
    """For whom a version is callable; a session's name is somebody else's word."""
    return None if place is None else mark_text(str(place), characters=200)


def history_lines(
    events: Sequence[Event], siblings: Iterable[ToolSummary]
) -> tuple[HistoryLine, ...]:
    """The log about a tool, latest first."""
    sequences = {each.digest: each.sequence for each in siblings}
    lines = [
        HistoryLine(
            event=event.sequence,
            at=event.at,
            version=mark_text(f"{event.name}@{sequences.get(event.digest, '?')}"),
            what=event.type.replace("_", " "),
            state=_led_to(event),
            actor=mark_text(event.actor, characters=200),
            reason=mark_text(event.reason, characters=MAX_REASON),
        )
        for event in events
    ]
    return tuple(reversed(lines))


def _led_to(event: Event) -> SafeText | None:
    detail = EventDetail.model_validate_json(event.detail)
    if event.to_state is Lifecycle.APPROVED and detail.place is not None:
        return mark_text(f"{event.to_state}, {detail.place}", characters=200)
    told = event.to_state in {event.from_state, event.type}
    return None if told else mark_text(event.to_state)


def statement_views(lines: Iterable[Line]) -> tuple[StatementView, ...]:
    """Each statement, with what is to be said of it."""
    return tuple(
        StatementView(
            part=mark_text(line.part, characters=200),
            standing=line.standing,
            detail=mark_text(line.detail, characters=MAX_REASON),
            signer=_signer(line),
            trusted=line.trusted,
            at=line.at,
        )
        for line in lines
    )


def _signer(line: Line) -> SafeText | None:
    if line.keyid is None:
        return None
    who = line.person or line.role or "unknown"
    return mark_text(f"{who} {line.keyid[:_KEY_CHARACTERS]}", characters=200)


def others_views(words: Iterable[OthersWord]) -> tuple[OthersView, ...]:
    """What files from elsewhere say, oldest first."""
    return tuple(
        OthersView(
            at=word.at,
            actor=mark_text(word.actor, characters=200),
            bundle=word.bundle,
            verdict=word.report.verdict,
            lines=statement_views(word.report.lines),
        )
        for word in words
    )

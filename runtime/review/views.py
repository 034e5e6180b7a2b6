"""Stored values, made fit to be shown to a reviewer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from pydantic import JsonValue

from policies.decision import Approval
from policies.evidence import Evidence, Trial, TrialKind
from policies.findings import Finding
from policies.marking import Mark, SafeText, mark_line, mark_text
from policies.people import distinct
from policies.replay import Replay
from policies.waivers import in_force
from runtime.review.diff import source_lines
from runtime.review.parts import (
    Behaviour,
    Coverage,
    DiffPart,
    FindingView,
    SourceLine,
    TrialView,
    VoteView,
)
from toolstore.events import EventDetail, EventType
from toolstore.models import STABLE, Event, Lifecycle, ToolVersion

VALUE_CHARACTERS: Final = 2_000
"""Of one value or output; the evidence has all of it."""

SHOWN_DIFFERENCES: Final = 20

_VOTES: Final = {
    EventType.ENDORSED: "approve",
    EventType.APPROVED: "approve",
    EventType.REJECTED: "reject",
    EventType.CHANGE_ASKED: "ask",
}
_ODD: Final = {
    Mark.CONTROL: "control characters",
    Mark.BIDIRECTIONAL: "characters that change the order in which text is shown",
    Mark.INVISIBLE: "characters that nobody sees",
    Mark.LOOK_ALIKE: "letters that look like others",
    Mark.GAP: "wide gaps inside of lines",
    Mark.LONG: "very long lines",
}


def source_view(code: str, coverage: Coverage | None) -> tuple[SourceLine, ...]:
    """The source, line by line, with what the trials ran of it."""
    run = set(coverage.lines_run) if coverage else set()
    missed = set(coverage.lines_missed) if coverage else set()
    return tuple(
        SourceLine(
            number=number,
            text=mark_line(line),
            covered=False if number in missed else True if number in run else None,
        )
        for number, line in enumerate(source_lines(code), 1)
    )


def finding_views(version: ToolVersion, at: datetime) -> tuple[FindingView, ...]:
    """What the checks found, and who took what of it on themselves."""
    waivers = in_force(version.waivers, digest=version.digest, at=at)
    waived = {waiver.rule: waiver.principal for waiver in waivers}
    return tuple(_finding(each, waived.get(each.rule)) for each in version.evidence.all_findings)


def _finding(finding: Finding, waived_by: str | None) -> FindingView:
    return FindingView(
        rule=finding.rule,
        severity=finding.severity,
        line=finding.line,
        message=mark_text(finding.message),
        suggestion=mark_text(finding.suggestion),
        waived_by=None if waived_by is None else mark_text(waived_by),
    )


def trial_views(evidence: Evidence) -> tuple[TrialView, ...]:
    """The trials, in the order they were planned."""
    return tuple(map(_trial, evidence.trials))


def worth_showing(trials: Iterable[TrialView], generated: int) -> tuple[TrialView, ...]:
    """All trials but those with generated arguments that passed; of them the first few."""
    shown, left = [], generated
    for trial in trials:
        if trial.passed and trial.kind is TrialKind.PROPERTY:
            left -= 1
            if left < 0:
                continue
        shown.append(trial)
    return tuple(shown)


def _trial(trial: Trial) -> TrialView:
    if trial.outcome == "returned":
        outcome = value_text(trial.value)
    else:
        outcome = mark_text(f"{trial.outcome.value}: {trial.error or ''}", characters=500)
    return TrialView(
        kind=trial.kind,
        passed=trial.passed,
        arguments=value_text(trial.arguments),
        files=tuple(map(mark_text, trial.files)),
        expected=None if trial.expected is None else value_text(trial.expected),
        outcome=outcome,
        detail=mark_text(trial.detail, characters=VALUE_CHARACTERS),
        output=mark_text(trial.output, keep_newlines=True, characters=VALUE_CHARACTERS),
        wall_seconds=trial.wall_seconds,
        memory_bytes=trial.memory_bytes,
    )


def value_text(value: JsonValue) -> SafeText:
    """A JSON value on one line, cut where it is endless."""
    return mark_text(json.dumps(value, ensure_ascii=False), characters=VALUE_CHARACTERS)


def behaviour_view(replay: Replay | None) -> Behaviour | None:
    """How it behaves beside its predecessor, as far as that was tried."""
    if replay is None:
        return None
    told = replay.differences[:SHOWN_DIFFERENCES]
    return Behaviour(
        summary=mark_text(replay.summary, characters=VALUE_CHARACTERS),
        inputs=len(replay.runs),
        differences=tuple(
            mark_text(
                f"{run.difference.value.replace('_', ' ')} on "
                + (
                    "arguments that were not kept"
                    if run.arguments is None
                    else json.dumps(run.arguments, ensure_ascii=False)[:VALUE_CHARACTERS]
                )
                + f" ({run.origin.value}): {run.detail}"
            )
            for run in told
        ),
    )


def vote_views(events: Iterable[Event], at: datetime) -> tuple[VoteView, ...]:
    """The votes among the events of one version, in their order."""
    return tuple(_votes(events, at))


def _votes(events: Iterable[Event], at: datetime) -> Iterator[VoteView]:
    for event in events:
        vote = next((word for kind, word in _VOTES.items() if event.type == kind), None)
        if vote is None:
            continue
        approval = EventDetail.model_validate_json(event.detail).approval
        words = event.reason if approval is None else approval.comment
        yield VoteView(
            event=event.sequence,
            principal=mark_text(event.actor if approval is None else approval.principal),
            vote=vote,
            at=event.at,
            words=mark_text(words, characters=VALUE_CHARACTERS),
            scope=None if approval is None else approval.scope,
            expires_at=None if approval is None else approval.expires_at,
            counts=approval is None or approval.counts(at),
        )


def people_of(approvals: Iterable[Approval], at: datetime) -> frozenset[str]:
    """Who said yes, with a yes that still counts."""
    return frozenset(distinct(each.principal for each in approvals if each.counts(at)))


def waits_since(version: ToolVersion, events: Iterable[Event]) -> datetime:
    """When it came to where it is: votes that left it there do not count."""
    since = version.provenance.created_at
    for event in events:
        if event.from_state is not event.to_state:
            since = event.at
    return since


def overtaken_words(version: ToolVersion, before: ToolVersion | None) -> tuple[str, ...]:
    """That it was run beside another version than the one that it would replace by now."""
    waits = version.state is Lifecycle.QUARANTINED
    if not waits or before is None or before.place != STABLE:
        return ()
    replay = version.evidence.replay
    if replay is not None and replay.predecessor == before.digest:
        return ()
    beside = "no other version" if replay is None else replay.predecessor_ref
    words = f"its behaviour was compared with {beside}, and callers get {before.ref} by now"
    return (str(mark_text(words)),)


def oddities(version: ToolVersion, diff: Iterable[DiffPart]) -> tuple[str, ...]:
    """What is odd about the text itself: a reviewer is told before reading it."""
    source = version.source
    shown = [mark_line(line) for line in source_lines(source.code)]
    shown += [mark_text(source.name), mark_text(source.description, keep_newlines=True)]
    shown += [mark_text(version.provenance.author)]
    shown += [line.text for part in diff for line in part.lines]
    found = {mark for text in shown for mark in text.marks}
    return tuple(
        f"it has {words}, marked where they stand" for mark, words in _ODD.items() if mark in found
    )

"""The first tab of a version under review: all that matters, a line each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from policies.findings import Severity
from runtime.cli.reviewlines import Fragment, Line, Style, fact, joined, paragraph, styled
from runtime.review.item import QueueLine, ReviewItem
from runtime.review.parts import FindingView, Risk

_RISKS: Final = {Risk.NONE: Style.GOOD, Risk.LOOK: Style.CARE, Risk.CARE: Style.BAD}
_SEVERITIES: Final = {
    Severity.ERROR: Style.BAD,
    Severity.WARNING: Style.CARE,
    Severity.NOTE: Style.NAME,
}


def queue_row(line: QueueLine, now: datetime) -> Line:
    """One waiting version on one line."""
    row: Line = [
        *styled(line.ref, Style.NAME),
        (Style.PLAIN, f"  {line.level.value}  "),
        (Style.FAINT, f"{waited(line.since, now)}  "),
        (Style.CARE if line.votes else Style.PLAIN, f"{line.votes}/{line.needed} yes  "),
        *styled(line.author),
        (Style.FAINT, f" ({line.origin.value})  "),
    ]
    if line.asked is not None:
        row.append((Style.CARE, "change asked  "))
    if line.newer is not None:
        row += [(Style.FAINT, "older than "), *styled(line.newer, Style.FAINT), (Style.FAINT, "  ")]
    return [*row, *styled(line.description, Style.FAINT)]


def waited(since: datetime, now: datetime) -> str:
    """How long something waits, in its largest unit."""
    seconds = max(0, int((now - since).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def summary_lines(item: ReviewItem) -> Iterator[Line]:
    """What it is, what it can do, what was found, who voted."""
    yield [
        *styled(item.ref, Style.HEAD),
        (Style.PLAIN, f"  {item.state.value}, level {item.level}"),
    ]
    yield from paragraph(item.description)
    yield []
    for warning in item.warnings:
        yield [(Style.ODD, " ! "), (Style.CARE, f" {warning}")]
    yield fact("reach", joined([styled(c.words, _RISKS[c.risk]) for c in item.capabilities]))
    origin = [*styled(item.author), (Style.PLAIN, f" ({item.origin.value})")]
    if item.model is not None:
        origin += [(Style.FAINT, ", model "), *styled(item.model)]
    if item.session is not None:
        origin += [(Style.FAINT, ", session "), *styled(item.session)]
    yield fact("author", origin)
    yield fact("waits since", [(Style.PLAIN, f"{item.since:%Y-%m-%d %H:%M:%S %Z}")])
    for reason in item.why:
        yield fact("because", styled(reason))
    yield fact("votes", [(Style.PLAIN, f"{item.votes} of {item.needed} yes")])
    yield from _votes(item)
    yield fact("replaces", styled(item.before) if item.before else [(Style.PLAIN, "nothing")])
    yield fact("changed", _changed(item))
    if item.behaviour is not None:
        compared = Style.GOOD if item.behaviour.inputs else Style.FAINT
        style = Style.CARE if item.behaviour.differences else compared
        yield fact("behaviour", styled(item.behaviour.summary, style))
    yield from _nearest(item)
    yield fact("used by", _users(item))
    yield fact("trials", [trials_in_short(item)])
    yield fact("coverage", [coverage_in_short(item)])
    yield from _findings(item)
    yield []
    yield fact("policy", [(Style.FAINT, f"{item.policy_name}, {item.policy_digest}")])
    yield fact("evidence", [(Style.FAINT, item.evidence_digest)])
    yield fact("image", [(Style.FAINT, item.image_digest)])
    yield fact("digest", [(Style.HEAD, item.digest)])


def _votes(item: ReviewItem) -> Iterator[Line]:
    for vote in item.earlier_votes:
        good = vote.vote == "approve" and vote.counts
        line: Line = [
            *styled(vote.principal),
            (Style.GOOD if good else Style.CARE, f" {vote.vote}"),
            (Style.FAINT, f" {vote.at:%Y-%m-%d %H:%M} "),
        ]
        if vote.scope is not None:
            line.append((Style.FAINT, f"for {vote.scope.value} "))
        if not vote.counts:
            line.append((Style.CARE, "expired "))
        elif vote.expires_at is not None:
            line.append((Style.FAINT, f"until {vote.expires_at:%Y-%m-%d %H:%M} "))
        yield fact("", [*line, *styled(vote.words)])


def _changed(item: ReviewItem) -> Line:
    if item.before is None:
        return [(Style.PLAIN, "it is the first version")]
    titles = [part.title for part in item.diff if part.changed]
    return [(Style.CARE if titles else Style.GOOD, ", ".join(titles) or "nothing")]


def _nearest(item: ReviewItem) -> Iterator[Line]:
    if item.neighbour is None:
        yield fact("nearest", [(Style.GOOD, "no tool of the store is near")])
        return
    near = item.neighbour
    how = "the same code" if near.same_code else f"{near.likeness:.0%} of the words"
    yield fact(
        "nearest",
        [
            *styled(near.ref, Style.CARE),
            (Style.FAINT, f" ({how}): "),
            *styled(near.description),
        ],
    )


def _users(item: ReviewItem) -> Line:
    line: Line = []
    for ref in item.users.pinned or ():
        line += [*styled(ref), (Style.PLAIN, ", ")]
    if item.users.pinned is None:
        line = [(Style.FAINT, "too many tools to look who is pinned to it, ")]
    elif not line:
        line = [(Style.PLAIN, "no tool is pinned to it, ")]
    return [*line, (Style.PLAIN, f"{item.users.calls} calls kept")]


def trials_in_short(item: ReviewItem) -> Fragment:
    """How many trials there were, and whether they passed."""
    failed = sum(not trial.passed for trial in item.trials)
    words = (
        f"{len(item.trials)} in all, {failed} failed" if failed else f"{len(item.trials)} passed"
    )
    return (Style.BAD if failed else Style.GOOD, words)


def coverage_in_short(item: ReviewItem) -> Fragment:
    """What the trials reached, in one sentence."""
    if item.coverage is None:
        return (Style.FAINT, item.coverage_missing)
    whole = not item.coverage.by_all
    return (Style.GOOD if whole else Style.CARE, item.coverage.words)


def _findings(item: ReviewItem) -> Iterator[Line]:
    if not item.findings:
        yield fact("findings", [(Style.GOOD, "none")])
    for number, finding in enumerate(item.findings):
        place = f"line {finding.line}: " if finding.line else ""
        yield fact(
            "" if number else "findings",
            [
                (_SEVERITIES[finding.severity], f"{finding.severity.value} {finding.rule} "),
                (Style.FAINT, place),
                *styled(finding.message),
                *_waived(finding),
            ],
        )


def _waived(finding: FindingView) -> Line:
    if finding.waived_by is None:
        return []
    return [(Style.CARE, " (waived by "), *styled(finding.waived_by), (Style.CARE, ")")]

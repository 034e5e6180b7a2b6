"""A review item as lines of styled text, tab by tab; for the review screen and for `review show`.

Styles are a few words of our own, which each kind of screen has its colours for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

from policies.findings import Severity
from policies.marking import Mark, SafeText
from runtime.review.item import QueueLine, ReviewItem
from runtime.review.parts import Coverage, DiffLine, FindingView, LineKind, Risk, TrialView

SHOWN_GENERATED: Final = 10
"""Of generated arguments that passed; what failed is all shown."""


class Style(StrEnum):
    """What a piece of text is, as far as its colour goes."""

    PLAIN = ""
    HEAD = "head"
    FAINT = "faint"
    GOOD = "good"
    BAD = "bad"
    CARE = "care"
    NAME = "name"
    ODD = "odd"
    """Something that is not what it seems."""


Fragment: TypeAlias = tuple[Style, str]
Line: TypeAlias = list[Fragment]

RICH_STYLES: Final = {
    Style.PLAIN: "",
    Style.HEAD: "bold",
    Style.FAINT: "dim",
    Style.GOOD: "green",
    Style.BAD: "red",
    Style.CARE: "yellow",
    Style.NAME: "cyan",
    Style.ODD: "reverse red",
}
"""Our styles in the words of `rich`."""

_RISKS: Final = {Risk.NONE: Style.GOOD, Risk.LOOK: Style.CARE, Risk.CARE: Style.BAD}
_SEVERITIES: Final = {
    Severity.ERROR: Style.BAD,
    Severity.WARNING: Style.CARE,
    Severity.NOTE: Style.NAME,
}
_DIFFS: Final = {
    LineKind.SAME: (" ", Style.PLAIN),
    LineKind.ADDED: ("+", Style.GOOD),
    LineKind.REMOVED: ("-", Style.BAD),
    LineKind.PLACE: ("", Style.NAME),
}


def styled(text: SafeText, style: Style = Style.PLAIN) -> Line:
    """Safe text, with what is marked standing out."""
    return [
        (style if piece.mark in {None, Mark.CUT} else Style.ODD, piece.text)
        for piece in text.pieces
    ]


def tabs_of(item: ReviewItem) -> dict[str, Callable[[], list[Line]]]:
    """The tabs by name, in their order."""
    return {
        "summary": lambda: list(_summary(item)),
        "diff": lambda: list(_diff(item)),
        "source": lambda: list(_source(item)),
        "trials": lambda: list(_trials(item)),
        "coverage": lambda: list(_coverage(item)),
        "history": lambda: list(_history(item)),
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


def _summary(item: ReviewItem) -> Iterator[Line]:
    yield [
        *styled(item.ref, Style.HEAD),
        (Style.PLAIN, f"  {item.state.value}, level {item.level}"),
    ]
    yield from _paragraph(item.description)
    yield []
    for warning in item.warnings:
        yield [(Style.ODD, " ! "), (Style.CARE, f" {warning}")]
    yield _fact("reach", _joined([styled(c.words, _RISKS[c.risk]) for c in item.capabilities]))
    origin = [*styled(item.author), (Style.PLAIN, f" ({item.origin.value})")]
    if item.model is not None:
        origin += [(Style.FAINT, ", model "), *styled(item.model)]
    if item.session is not None:
        origin += [(Style.FAINT, ", session "), *styled(item.session)]
    yield _fact("author", origin)
    yield _fact("waits since", [(Style.PLAIN, f"{item.since:%Y-%m-%d %H:%M:%S %Z}")])
    for reason in item.why:
        yield _fact("because", styled(reason))
    yield _fact("votes", [(Style.PLAIN, f"{item.votes} of {item.needed} yes")])
    yield from _votes(item)
    yield _fact("replaces", styled(item.before) if item.before else [(Style.PLAIN, "nothing")])
    yield _fact("changed", _changed(item))
    if item.behaviour is not None:
        style = Style.CARE if item.behaviour.differences else Style.GOOD
        yield _fact("behaviour", styled(item.behaviour.summary, style))
    yield from _nearest(item)
    yield _fact("used by", _users(item))
    yield _fact("trials", [_passed(item)])
    yield _fact("coverage", [_covered(item)])
    yield from _findings(item)
    yield []
    yield _fact("policy", [(Style.FAINT, f"{item.policy_name}, {item.policy_digest}")])
    yield _fact("evidence", [(Style.FAINT, item.evidence_digest)])
    yield _fact("image", [(Style.FAINT, item.image_digest)])
    yield _fact("digest", [(Style.HEAD, item.digest)])


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
        yield _fact("", [*line, *styled(vote.words)])


def _changed(item: ReviewItem) -> Line:
    if item.before is None:
        return [(Style.PLAIN, "it is the first version")]
    titles = [part.title for part in item.diff if part.changed]
    return [(Style.CARE if titles else Style.GOOD, ", ".join(titles) or "nothing")]


def _nearest(item: ReviewItem) -> Iterator[Line]:
    if item.neighbour is None:
        yield _fact("nearest", [(Style.GOOD, "no tool of the store is near")])
        return
    near = item.neighbour
    how = "the same code" if near.same_code else f"{near.likeness:.0%} of the words"
    yield _fact(
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


def _passed(item: ReviewItem) -> Fragment:
    failed = sum(not trial.passed for trial in item.trials)
    words = (
        f"{len(item.trials)} in all, {failed} failed" if failed else f"{len(item.trials)} passed"
    )
    return (Style.BAD if failed else Style.GOOD, words)


def _covered(item: ReviewItem) -> Fragment:
    if item.coverage is None:
        return (Style.FAINT, item.coverage_missing)
    whole = not item.coverage.by_all
    return (Style.GOOD if whole else Style.CARE, item.coverage.words)


def _findings(item: ReviewItem) -> Iterator[Line]:
    if not item.findings:
        yield _fact("findings", [(Style.GOOD, "none")])
    for number, finding in enumerate(item.findings):
        place = f"line {finding.line}: " if finding.line else ""
        yield _fact(
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


def _diff(item: ReviewItem) -> Iterator[Line]:
    if item.before is None:
        yield [(Style.FAINT, "the first version: all of it is new")]
    else:
        yield [(Style.FAINT, "against "), *styled(item.before, Style.FAINT)]
    for part in item.diff:
        if not part.changed:
            continue
        yield []
        yield [(Style.HEAD, part.title)]
        yield from map(_diff_line, part.lines)
    if item.behaviour is not None and item.behaviour.differences:
        yield []
        yield [(Style.HEAD, "behaviour")]
        for difference in item.behaviour.differences:
            yield [(Style.CARE, "! "), *styled(difference)]
    same = [part.title for part in item.diff if not part.changed]
    if same:
        yield []
        yield [(Style.FAINT, f"the same as before: {', '.join(same)}")]


def _diff_line(line: DiffLine) -> Line:
    sign, style = _DIFFS[line.kind]
    if line.kind is LineKind.PLACE:
        return [(Style.NAME, "  @@ "), *styled(line.text, style)]
    before = "" if line.before is None else str(line.before)
    after = "" if line.after is None else str(line.after)
    return [
        (Style.FAINT, f"{before:>4} {after:>4} "),
        (style, f"{sign} "),
        *styled(line.text, style),
    ]


def _source(item: ReviewItem) -> Iterator[Line]:
    if item.coverage is not None:
        yield [(Style.BAD, "!"), (Style.FAINT, " before a line: no trial ran it")]
    for line in item.source:
        missed = (Style.BAD, "!") if line.covered is False else (Style.PLAIN, " ")
        yield [missed, (Style.FAINT, f"{line.number:>4} "), *styled(line.text)]
    yield []
    yield [(Style.HEAD, "schema")]
    for text in item.schema_lines:
        yield styled(text)


def _trials(item: ReviewItem) -> Iterator[Line]:
    yield [_passed(item)]
    for trial in _worth_showing(item.trials):
        yield [
            (Style.GOOD, "✓ ") if trial.passed else (Style.BAD, "✗ "),
            (Style.NAME, f"{trial.kind.value} "),
            *styled(trial.arguments),
            *((Style.FAINT, f" with {name}") for name in trial.files),
        ]
        expected = [(Style.FAINT, "  expected "), *styled(trial.expected)] if trial.expected else []
        took = f"  {trial.wall_seconds * 1000:.0f} ms"
        memory = "" if trial.memory_bytes is None else f", {trial.memory_bytes / 2**20:.1f} MiB"
        yield [
            (Style.FAINT, "    got "),
            *styled(trial.outcome),
            *expected,
            (Style.FAINT, took + memory),
        ]
        if not trial.passed:
            yield [(Style.BAD, "    "), *styled(trial.detail, Style.BAD)]
        if trial.output.pieces:
            yield [(Style.FAINT, "    printed:")]
            for line in _paragraph(trial.output):
                yield [(Style.PLAIN, "      "), *line]
    hidden = len(item.trials) - len(_worth_showing(item.trials))
    if hidden:
        yield [(Style.FAINT, f"{hidden} more with generated arguments passed")]


def _worth_showing(trials: Sequence[TrialView]) -> list[TrialView]:
    generated = [trial for trial in trials if trial.expected is None and trial.passed]
    hidden = {id(trial) for trial in generated[SHOWN_GENERATED:]}
    return [trial for trial in trials if id(trial) not in hidden]


def _coverage(item: ReviewItem) -> Iterator[Line]:
    yield [_covered(item)]
    if item.coverage is None:
        return
    yield from _gaps("what the author's examples do not reach", item.coverage, generated=False)
    yield from _gaps("what generated arguments do not reach either", item.coverage, generated=True)
    yield []
    yield [
        (Style.FAINT, "told by the process that ran the tool: a help to look closer, no proof"),
    ]


def _gaps(title: str, coverage: Coverage, *, generated: bool) -> Iterator[Line]:
    gaps = coverage.by_all if generated else coverage.by_examples
    yield []
    yield [(Style.HEAD, title)]
    if not gaps:
        yield [(Style.GOOD, "  nothing")]
    for gap in gaps:
        yield [(Style.CARE, f"  line {gap.line}: "), *styled(gap.words)]


def _history(item: ReviewItem) -> Iterator[Line]:
    for event in item.history:
        yield [
            (Style.FAINT, f"{event.at:%Y-%m-%d %H:%M:%S} "),
            *styled(event.version, Style.NAME),
            (Style.HEAD, f" {event.what} "),
            (Style.FAINT, "by "),
            *styled(event.actor),
            (Style.PLAIN, ": "),
            *styled(event.reason),
        ]


def _fact(name: str, words: Line) -> Line:
    return [(Style.FAINT, f"{name:<12}"), *words]


def _joined(parts: Sequence[Line]) -> Line:
    line: Line = []
    for number, part in enumerate(parts):
        line += [(Style.PLAIN, ", ")] * bool(number) + part
    return line


def _paragraph(text: SafeText) -> Iterator[Line]:
    """The lines of a text that keeps its line ends."""
    line: Line = []
    for style, part in styled(text):
        first, *others = part.split("\n")
        line.append((style, first))
        for other in others:
            yield line
            line = [(style, other)]
    yield line

"""A review item tab by tab; for the review screen and for `review show`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from runtime.cli.reviewlines import Line, Style, paragraph, styled
from runtime.cli.reviewstanding import standing_lines
from runtime.cli.reviewsummary import coverage_in_short, summary_lines, trials_in_short
from runtime.review.item import ReviewItem
from runtime.review.parts import Coverage, DiffLine, LineKind
from runtime.review.views import worth_showing

SHOWN_GENERATED: Final = 10
"""Of generated arguments that passed; what failed is all shown."""

_DIFFS: Final = {
    LineKind.SAME: (" ", Style.PLAIN),
    LineKind.ADDED: ("+", Style.GOOD),
    LineKind.REMOVED: ("-", Style.BAD),
    LineKind.PLACE: ("", Style.NAME),
}


def lines_of(item: ReviewItem, tab: str) -> list[Line]:
    """The lines of one tab."""
    return list(TABS[tab](item))


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
    yield [trials_in_short(item)]
    shown = worth_showing(item.trials, SHOWN_GENERATED)
    for trial in shown:
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
            for line in paragraph(trial.output):
                yield [(Style.PLAIN, "      "), *line]
    hidden = len(item.trials) - len(shown)
    if hidden:
        yield [(Style.FAINT, f"{hidden} more with generated arguments passed")]


def _coverage(item: ReviewItem) -> Iterator[Line]:
    yield [coverage_in_short(item)]
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
            *(
                [(Style.FAINT, "-> "), *styled(event.state), (Style.PLAIN, " ")]
                if event.state
                else []
            ),
            (Style.FAINT, "by "),
            *styled(event.actor),
            (Style.PLAIN, ": "),
            *styled(event.reason),
        ]


TABS: Final[dict[str, Callable[[ReviewItem], Iterator[Line]]]] = {
    "summary": summary_lines,
    "diff": _diff,
    "source": _source,
    "trials": _trials,
    "coverage": _coverage,
    "standing": standing_lines,
    "history": _history,
}
"""The tabs by name, in their order."""

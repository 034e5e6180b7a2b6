"""Where the versions of a tool stand, who vouches for one, and what others said of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from runtime.cli.reviewlines import Line, Style, styled
from runtime.review.item import ReviewItem
from runtime.review.parts import OthersView, StatementView, VersionView
from toolstore.bundlereport import Standing
from toolstore.models import Lifecycle

_STATES: Final = {
    Lifecycle.APPROVED: Style.GOOD,
    Lifecycle.QUARANTINED: Style.CARE,
    Lifecycle.REVOKED: Style.BAD,
}
_STANDINGS: Final = {
    Standing.HOLDS: Style.GOOD,
    Standing.UNTRUSTED: Style.CARE,
    Standing.ASIDE: Style.FAINT,
    Standing.REFUSED: Style.CARE,
    Standing.MISSING: Style.BAD,
    Standing.BROKEN: Style.BAD,
}


def standing_lines(item: ReviewItem) -> Iterator[Line]:
    """Versions and channels, then the chain of this one here, then the word of others."""
    yield [(Style.HEAD, "versions and channels")]
    for version in item.versions:
        yield _version(version, this=version.digest == item.digest)
    yield []
    yield [(Style.HEAD, "who vouches for it")]
    if item.vouchers is None:
        yield [(Style.FAINT, "nothing is signed: this store was opened without keys")]
    else:
        yield from _statements(item.vouchers)
    for others in item.others:
        yield []
        yield from _others(others)


def _version(version: VersionView, *, this: bool) -> Line:
    line: Line = [
        (Style.HEAD, "> ") if this else (Style.PLAIN, "  "),
        *styled(version.ref, Style.NAME),
        (_STATES.get(version.state, Style.FAINT), f"  {version.state.value}"),
    ]
    if version.place is not None:
        line += [(Style.PLAIN, " for "), *styled(version.place)]
    if version.calls is not None:
        calls = f", {version.calls.calls} calls since the canary began"
        line.append((Style.PLAIN, f"{calls}, {version.calls.failed} failed"))
    made = f" {version.created_at:%Y-%m-%d %H:%M}"
    return [*line, (Style.FAINT, "  by "), *styled(version.author), (Style.FAINT, made)]


def _statements(lines: Iterable[StatementView]) -> Iterator[Line]:
    for each in lines:
        line: Line = [
            (_STANDINGS[each.standing], f"  {each.standing.value:<10}"),
            *styled(each.part, Style.NAME),
            (Style.PLAIN, ": "),
            *styled(each.detail),
        ]
        if each.signer is not None:
            words = ", signed by " if each.trusted else ", signed by who says to be "
            line += [(Style.FAINT, words), *styled(each.signer, Style.FAINT)]
        if each.at is not None:
            line.append((Style.FAINT, f" {each.at:%Y-%m-%d %H:%M}"))
        yield line


def _others(others: OthersView) -> Iterator[Line]:
    yield [
        (Style.HEAD, "what others said"),
        (Style.CARE, f": {others.verdict.value}"),
        (Style.FAINT, ", brought by "),
        *styled(others.actor),
        (Style.FAINT, f" {others.at:%Y-%m-%d %H:%M}; it counts for nothing here"),
    ]
    yield from _statements(others.lines)
    yield [(Style.FAINT, f"  file {others.bundle}")]

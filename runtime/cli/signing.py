"""Who signed what, as people read it: of a bundle, of a version, of an event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from runtime.cli.render import one_line, version_view
from toolstore.bundlereport import BundleReport, Line, Standing
from toolstore.events import EventDetail
from toolstore.models import Event, ToolVersion

if TYPE_CHECKING:
    from toolstore.exchange import OthersWord, Signed

HEADS: Final = ("WHAT", "STANDING", "SIGNED BY", "WHEN", "DETAIL")
KEY_CHARACTERS: Final = 8
_STYLES: Final = {
    Standing.HOLDS: "green",
    Standing.UNTRUSTED: "yellow",
    Standing.ASIDE: "dim",
    Standing.REFUSED: "yellow",
    Standing.MISSING: "red",
    Standing.BROKEN: "bold red",
}


def table_of(lines: Iterable[Line]) -> Table:
    """Lines for a terminal, readable at 80 columns: who signed stands below what was said."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in (HEADS[0], HEADS[1]):
        table.add_column(head, no_wrap=True)
    table.add_column("DETAIL, AND WHO SIGNED IT", overflow="fold")
    for line in lines:
        part, standing, signer, when, detail = cells_of(line)
        words = one_line(detail)
        if signer:
            words.append("\n").append_text(one_line(f"{signer}, {when}" if when else signer, "dim"))
        table.add_row(one_line(part), Text(standing, style=_STYLES[line.standing]), words)
    return table


def cells_of(line: Line) -> tuple[str, ...]:
    """One line in the columns of `HEADS`; whose an unknown key is, is only the file's word."""
    signer = signer_words(line.keyid, line.role, line.person)
    return (
        line.part,
        line.standing.value,
        f"says to be {signer}" if signer and not line.trusted else signer,
        "" if line.at is None else f"{line.at:%Y-%m-%d %H:%M}",
        line.detail,
    )


def signer_words(keyid: str | None, role: str | None, person: str | None) -> str:
    """Whose key it is, and which."""
    if keyid is None:
        return ""
    return f"{person or role or 'unknown'} {keyid[:KEY_CHARACTERS]}"


def show_view(
    version: ToolVersion,
    before: ToolVersion | None,
    report: BundleReport | None,
    others: Sequence[OthersWord],
    events: Sequence[Event],
) -> list[RenderableType]:
    """A version as people review it, with its past and who vouches for it; its digest last."""
    *panels, digest = version_view(version, before)
    panels.append(Panel(past_view(events), title="history", title_align="left"))
    panels.append(Panel(signatures_view(report), title="who vouches for it", title_align="left"))
    if others:
        panels.append(Panel(words_view(others), title="what others said", title_align="left"))
    return [*panels, digest]


def past_view(events: Iterable[Event]) -> RenderableType:
    """What happened to a version, a line each; `tools history` has all of each."""
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="ellipsis", no_wrap=True)
    for event in events:
        table.add_row(
            Text(f"{event.at:%Y-%m-%d %H:%M}", style="dim"),
            one_line(str(event.type), "cyan"),
            one_line(event.actor),
            one_line(event.reason),
        )
    return table


def signatures_view(report: BundleReport | None) -> RenderableType:
    """Who vouches for a version in its store."""
    if report is None:
        return Text("not signed: this store was opened without keys", style="yellow")
    return table_of(report.lines)


def words_view(words: Iterable[OthersWord]) -> RenderableType:
    """What others said of a version that came from elsewhere."""
    shown: list[RenderableType] = []
    for word in words:
        report = word.report
        shown.append(
            one_line(
                f"{report.ref} {(report.digest or '')[:19]}…, brought by {word.actor} on "
                f"{word.at:%Y-%m-%d %H:%M}: {report.verdict.value}. It counts for nothing here",
                "yellow",
            )
        )
        shown.append(table_of(report.lines))
    return Group(*shown)


def history_view(
    events: Sequence[Event], sequences: Mapping[str, int], signed: Mapping[str, Signed]
) -> list[RenderableType]:
    """Each event with who signed what and under which policy; two or three lines each."""
    shown: list[RenderableType] = []
    for event in events:
        head = Text.assemble(
            (f"{event.at:%Y-%m-%d %H:%M:%S}  ", "dim"),
            one_line(f"{event.name}@{sequences.get(event.digest, '?')}  ", "bold"),
            one_line(f"{event.type}", "cyan"),
            f"  {event.from_state or '-'} -> {event.to_state}",
        )
        shown += [head, one_line(f"  {event.actor}: {event.reason}")]
        signers = ", ".join(signers_of(event, signed))
        policy = f"policy {event.policy_digest[:19]}…" if event.policy_digest else ""
        proof = "; ".join(filter(None, [policy, f"signed: {signers}" if signers else ""]))
        if proof:
            shown.append(one_line(f"  {proof}", "dim"))
    return shown


def signers_of(event: Event, signed: Mapping[str, Signed]) -> list[str]:
    """Who signed something with an event, and what: `trials by sandbox 1a2b3c4d`."""
    listed = EventDetail.model_validate_json(event.detail).attestations or ()
    found = (signed[digest] for digest in listed if digest in signed)
    return [f"{each.kind} by {signer_words(each.keyid, each.role, each.person)}" for each in found]

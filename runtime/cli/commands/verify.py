"""`toolkiln verify`: what holds of a bundle, without a store, an engine or a network."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from pydantic import JsonValue

from runtime.cli.exchange import read_bytes
from runtime.cli.invocation import settings_of
from runtime.cli.output import (
    AsJson,
    answer_no,
    json_of,
    print_columns,
    print_json,
    print_rich,
    say,
)

if TYPE_CHECKING:
    from rich.table import Table

    from toolstore.bundlereport import BundleReport, Line

_HEADS: Final = ("WHAT", "STANDING", "SIGNED BY", "WHEN", "DETAIL")
_STYLES: Final = {
    "holds": "green",
    "untrusted": "yellow",
    "aside": "dim",
    "refused": "yellow",
    "missing": "red",
    "broken": "bold red",
}


def command(
    ctx: typer.Context,
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="A file that `tools export` wrote, or -.")
    ],
    *,
    trust: Annotated[
        list[Path] | None,
        typer.Option(metavar="KEYFILE", help="Public keys that you trust, as JSON. Repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a bundle: digest, evidence, decision, policy, each signature, each threshold.

    Nothing of this machine is used but the file and the keys that you name. Exit code 0 means
    that all of it holds and that every signature is by a key that you trust; else it is 1.
    """
    from runtime.exporting.trustfiles import read_trust  # noqa: PLC0415 - other commands do without
    from toolstore.bundlecheck import check_bundle  # noqa: PLC0415 - same
    from toolstore.bundlereport import Verdict  # noqa: PLC0415 - same

    trusted = read_trust(trust or ())
    report = check_bundle(read_bytes(bundle), trusted, at=datetime.now(UTC))
    if as_json:
        lines: list[JsonValue] = [json_of(line) for line in report.lines]
        print_json(
            {
                "verdict": report.verdict.value,
                "ref": report.ref,
                "digest": report.digest,
                "format": report.format,
                "lines": lines,
            }
        )
    elif sys.stdout.isatty():
        print_rich(settings_of(ctx), table_of(report))
    else:
        print_columns([_cells(line) for line in report.lines], _HEADS)
    if not as_json:
        say(words_of(report))
    if report.verdict is not Verdict.TRUSTED:
        answer_no()


def table_of(report: BundleReport) -> Table:
    """The lines of a report for a terminal."""
    from rich.table import Table  # noqa: PLC0415 - pipes do without
    from rich.text import Text  # noqa: PLC0415 - same

    from runtime.cli.render import one_line  # noqa: PLC0415 - same

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in _HEADS[:2]:
        table.add_column(head, no_wrap=True)
    for head in _HEADS[2:]:
        table.add_column(head, overflow="fold")
    for line in report.lines:
        part, standing, *rest = _cells(line)
        style = _STYLES[line.standing.value]
        table.add_row(one_line(part), Text(standing, style=style), *map(one_line, rest))
    return table


def _cells(line: Line) -> tuple[str, ...]:
    return (
        line.part,
        line.standing.value,
        signer_words(line),
        "" if line.at is None else f"{line.at:%Y-%m-%d %H:%M}",
        line.detail,
    )


def signer_words(line: Line) -> str:
    """Whose key it is, and which."""
    if line.keyid is None:
        return ""
    who = line.person or (line.role.value if line.role else "?")
    return f"{who} {line.keyid[:12]}"


def words_of(report: BundleReport) -> str:
    """What it comes to, and what to do about it."""
    from toolstore.bundlereport import Verdict  # noqa: PLC0415 - other commands do without

    what = report.ref or "this file"
    match report.verdict:
        case Verdict.TRUSTED:
            return f"{what}: all of it holds, signed by keys that you trust"
        case Verdict.UNTRUSTED:
            return (
                f"{what}: all of it holds, and it is signed by keys you have not said you trust. "
                "If you know whose they are, get them from there (`toolkiln store keys list "
                "--json`), not out of this file, and name that file with --trust"
            )
        case Verdict.NOT_ADMITTED:
            return f"{what}: all of it holds, and it says that the tool is not to be used"
        case Verdict.UNSIGNED:
            return f"{what}: it is what its digest says, and nobody signed its evidence"
        case Verdict.BROKEN:
            found = "; ".join(f"{line.part}: {line.detail}" for line in report.problems[:3])
            return f"{what} is not to be trusted: {found}"

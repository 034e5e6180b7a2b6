"""`toolkiln verify`: what holds of a bundle, without a store, an engine or a network."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import JsonValue

from runtime.cli.exchange import MAX_BUNDLE_BYTES
from runtime.cli.inputs import read_input
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
    from toolstore.bundlereport import BundleReport


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
    from runtime.cli.signing import HEADS, cells_of, table_of  # noqa: PLC0415 - same
    from runtime.exporting.trustfiles import read_trust  # noqa: PLC0415 - other commands do without
    from toolstore.bundlecheck import check_bundle  # noqa: PLC0415 - same
    from toolstore.bundlereader import Trust  # noqa: PLC0415 - same
    from toolstore.bundlereport import Verdict  # noqa: PLC0415 - same

    trusted = read_trust(trust or ())
    data = read_input(bundle, most_bytes=MAX_BUNDLE_BYTES)
    report = check_bundle(data, Trust(trusted), at=datetime.now(UTC))
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
        print_rich(settings_of(ctx), table_of(report.lines))
    else:
        print_columns([cells_of(line) for line in report.lines], HEADS)
    if not as_json:
        say(words_of(report))
    if report.verdict is not Verdict.TRUSTED:
        answer_no()


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
                "Get the keys from whoever exported it (`toolkiln store keys export` there), not "
                "out of this file, and name their file with --trust"
            )
        case Verdict.NOT_ADMITTED:
            return f"{what}: all of it holds, and it says that the tool is not to be used"
        case Verdict.UNSIGNED:
            return f"{what}: it is what its digest says, and nobody signed its evidence"
        case Verdict.BROKEN:
            found = "; ".join(f"{line.part}: {line.detail}" for line in report.problems[:3])
            return f"{what} is not to be trusted: {found}"

"""`toolkiln store`: the database that the tools are kept in."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from policies.display import escape_text
from runtime.cli import storecalls, storechecks, storekeys
from runtime.cli.invocation import settings_of
from runtime.cli.output import AsJson, json_of, print_json, print_lines
from runtime.errors import ExitCode, UsageError
from runtime.settings import store_place

if TYPE_CHECKING:
    from policies.value import JsonObject
    from toolstore.database import Database

app = typer.Typer(no_args_is_help=True, help="Check, sign, migrate and copy the store of tools.")
app.command()(storechecks.verify)
app.command()(storechecks.checkpoint)
app.command()(storechecks.sign)
app.command()(storecalls.calls)
app.add_typer(storekeys.app, name="keys")

_STEP_SECONDS = 0.5
"""How often progress is told."""


@app.command()
def migrate(
    ctx: typer.Context,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 if something is to be done.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the tables to this program's revision.

    A store in a folder is migrated when it is opened. One on a server waits for this command,
    because older programs cannot use it afterwards.
    """
    from toolstore.index import database_at  # noqa: PLC0415 - `--help` does without
    from toolstore.migrations import steps  # noqa: PLC0415 - same

    database = database_at(settings_of(ctx).store_location)
    todo = steps(database.pending())
    if todo and not check:
        database.migrate()
    if as_json:
        listed: list[JsonObject] = [{"revision": each, "about": what} for each, what in todo]
        print_json(
            {"store": database.where, "migrated": bool(todo) and not check, "steps": [*listed]}
        )
    else:
        done = "to do" if check else "done"
        print_lines([f"{revision}\t{done}\t{what}" for revision, what in todo])
        if not todo:
            print_lines([f"{database.where} is up to date"])
    if todo and check:
        raise typer.Exit(ExitCode.NO)


@app.command()
def copy(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="Folder of a store, or postgresql://… .")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="Empty or missing folder, or empty database.")
    ],
    *,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Check no signatures: it was never signed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy a whole store into an empty place, or nothing of it.

    It is verified on both sides, and signatures with the keys of this home.

    Keep passwords in ~/.pgpass or PGPASSWORD: other users can see the command line.
    """
    from runtime.storekeys import key_guard  # noqa: PLC0415 - `--help` does without
    from toolstore.copying import copy_store  # noqa: PLC0415 - same

    guard = None if unsigned else partial(key_guard, settings_of(ctx))
    report = copy_store(_database(source), _database(target), _Teller(), guard)
    if as_json:
        print_json(json_of(report))
        return
    counts = f"{report.versions} versions, {report.events} events, {report.blobs} blobs"
    print_lines(
        [f"{report.source} -> {report.target}", f"{counts}: the same on both sides"],
    )


def _database(place: str) -> Database:
    from toolstore.index import database_at  # noqa: PLC0415 - `--help` does without

    try:
        return database_at(store_place(place))
    except ValueError as error:
        raise UsageError(f"{escape_text(place)} is no place of a store: {error}") from None


class _Teller:
    """Says on standard error what goes on, now and then."""

    def __init__(self) -> None:
        self._told_at = 0.0
        self._shown = sys.stderr.isatty()

    def __call__(self, what: str, done: int, count: int) -> None:
        now = time.monotonic()
        if self._shown and now - self._told_at >= _STEP_SECONDS:
            self._told_at = now
            share = f"{done} of {count}" if count > 1 else "…"
            line = escape_text(f"{what}: {share}", keep_newlines=False)
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - the way out of progress

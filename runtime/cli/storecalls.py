"""`toolkiln store calls`: what is kept of calls, and deleting it because somebody asks for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.invocation import settings_of
from runtime.cli.opening import open_store, parse_ref
from runtime.cli.options import MOST_DAYS
from runtime.cli.output import AsJson, json_of, print_columns, print_json, run_async, say
from runtime.cli.permission import may_revoke
from runtime.errors import UsageError
from toolstore.errors import ToolNotFoundError

if TYPE_CHECKING:
    from runtime.settings import Settings
    from toolstore.forgetting import CallsKept, Which
    from toolstore.store import ToolStore


def calls(  # noqa: PLR0913 - each is one condition
    ctx: typer.Context,
    ref: Annotated[
        str | None, typer.Argument(metavar="REF", help="NAME, NAME@3 or NAME@sha256:…")
    ] = None,
    *,
    session: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="Calls of this session.")
    ] = None,
    person: Annotated[
        str | None, typer.Option("--person", metavar="NAME", help="Calls made for this person.")
    ] = None,
    older_than: Annotated[
        int | None,
        typer.Option(
            "--older-than", metavar="DAYS", min=0, max=MOST_DAYS, help="Calls before that."
        ),
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Delete these calls.")] = False,
    forget_bodies: Annotated[
        bool,
        typer.Option("--forget-bodies", help="Delete what went in and came out, and no more."),
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="With --forget: all calls, without a condition.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how many calls of versions are kept, or delete some.

    What the evidence of a version shows of inputs that it answered otherwise stays: it is signed.
    """
    deleting = forget or forget_bodies
    conditions = (ref, session, person, older_than)
    if deleting and everything is any(each is not None for each in conditions):
        raise UsageError("say which calls are to be deleted, or --all; not both, not neither")
    settings = settings_of(ctx)
    cutoff = None if older_than is None else datetime.now(UTC) - timedelta(days=older_than)
    kept, deleted = run_async(
        _calls(
            settings,
            ref,
            {"session": session, "tenant": person, "before": cutoff},
            deleting=deleting,
            bodies_alone=forget_bodies and not forget,
        )
    )
    if as_json:
        print_json({"calls": [json_of(each) for each in kept], "deleted": deleted})
        return
    print_columns([_row(each) for each in kept], ("VERSION", "CALLS", "BODIES", "FIRST", "LAST"))
    if deleted is not None:
        what = "arguments and results of " if forget_bodies and not forget else ""
        say(f"deleted: {what}{deleted} call(s)")


def _row(kept: CallsKept) -> tuple[str, ...]:
    first, last = (each.strftime("%Y-%m-%d %H:%M") for each in (kept.first_at, kept.last_at))
    return (f"{kept.name}@{kept.sequence}", str(kept.calls), str(kept.bodies), first, last)


async def _calls(
    settings: Settings,
    ref: str | None,
    conditions: dict[str, str | datetime | None],
    *,
    deleting: bool,
    bodies_alone: bool,
) -> tuple[tuple[CallsKept, ...], int | None]:
    """What is kept of them, before anything is deleted; and of how many something was."""
    async with open_store(settings) as store:
        which = await _which(store, ref, conditions)
        kept = await store.calls_kept(which)
        if not deleting:
            return kept, None
        for each in kept:
            await may_revoke(settings, store, parse_ref(f"{each.name}@{each.sequence}"))
        return kept, await store.forget_calls(which, bodies_alone=bodies_alone)


async def _which(
    store: ToolStore, ref: str | None, conditions: dict[str, str | datetime | None]
) -> Which:
    from toolstore.forgetting import Which  # noqa: PLC0415 - `--help` does without

    if ref is None:
        return Which.model_validate(conditions)
    wanted = parse_ref(ref)
    # The tables' word is enough, and calls of what is damaged can be deleted as well.
    versions = await store.versions_of(wanted.name)
    if wanted.sequence is None and wanted.digest is None and versions:
        return Which.model_validate({**conditions, "name": wanted.name})
    for each in versions:
        if each.sequence == wanted.sequence or each.digest == wanted.digest:
            return Which.model_validate({**conditions, "version": each.digest})
    raise ToolNotFoundError(ref, known=[f"{each.name}@{each.sequence}" for each in versions])

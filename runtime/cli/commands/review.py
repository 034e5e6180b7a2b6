"""`toolkiln review`: a person's yes or no to what waits for one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import JsonValue

from runtime.cli import reviewpage
from runtime.cli.commands.tools import (
    Ref,
    announce,
    find_with_parent,
    show_version,
    summaries_of,
    version_json,
)
from runtime.cli.invocation import settings_of
from runtime.cli.opening import open_store
from runtime.cli.options import PolicyName, Principal
from runtime.cli.output import (
    AsJson,
    answer_no,
    console,
    json_of,
    print_columns,
    print_json,
    run_async,
    say,
)
from runtime.errors import UsageError
from toolstore.models import Lifecycle, ToolSummary, ToolVersion

if TYPE_CHECKING:
    from runtime.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Approve or reject what waits for a person.")


@app.command("list")
def list_(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List the versions that wait for a person."""
    waiting = summaries_of(settings_of(ctx), (Lifecycle.QUARANTINED,))
    if as_json:
        rows: list[JsonValue] = [json_of(summary) for summary in waiting]
        print_json(rows)
        return
    print_columns([summary_row(each) for each in waiting], SUMMARY_HEADS)


SUMMARY_HEADS = ("TOOL", "LEVEL", "AUTHOR", "ORIGIN", "SINCE", "DESCRIPTION")


def summary_row(summary: ToolSummary) -> tuple[str, ...]:
    """One waiting version on one line."""
    return (
        f"{summary.name}@{summary.sequence}",
        summary.level.value,
        summary.author,
        summary.origin.value,
        f"{summary.created_at:%Y-%m-%d %H:%M}",
        summary.description,
    )


async def _waiting(settings: Settings) -> tuple[ToolSummary, ...]:
    async with open_store(settings) as store:
        return await store.summaries((Lifecycle.QUARANTINED,))


@app.command()
def show(ctx: typer.Context, ref: Ref, *, as_json: AsJson = False) -> None:
    """Show everything that a reviewer needs: source, proof, permissions, what changed, digest.

    A bare NAME means the version that waits, if exactly one does.
    """
    settings = settings_of(ctx)
    version, before = run_async(_find(settings, ref))
    if as_json:
        print_json(version_json(version))
    else:
        show_version(settings, version, before)


@app.command()
def approve(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    ref: Ref,
    *,
    digest: Annotated[
        str | None,
        typer.Option(help="Approve exactly this digest, as it was shown before; for scripts."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Show it and do not ask.")] = False,
    comment: Annotated[str, typer.Option(help="Kept with the approval.")] = "",
    principal: Principal = None,
    policy: PolicyName = None,
    as_json: AsJson = False,
) -> None:
    """Show a version and approve what was shown.

    The approval is bound to the digest that was shown: a version that changed in between is
    refused. With --digest nothing is shown: that digest was looked at before.
    """
    settings = settings_of(ctx, principal=principal, policy=policy)
    version, before = run_async(_find(settings, ref))
    shown = digest or version.digest
    if digest is None:
        _show_to_person(settings, version, before)
        if not yes and not _confirmed(version):
            say("nothing was approved")
            answer_no()
    approved = run_async(_approve(settings, str(version.ref), shown, comment))
    if approved.state is Lifecycle.APPROVED:
        announce(approved, "is approved", as_json=as_json)
        return
    announce(approved, f"is still {approved.state}: {approved.state_reason}", as_json=as_json)
    answer_no()


@app.command()
def reject(
    ctx: typer.Context,
    ref: Ref,
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the log. Needed: it is for good.")],
    principal: Principal = None,
    as_json: AsJson = False,
) -> None:
    """Say no: the version can never be called."""
    settings = settings_of(ctx, principal=principal)
    version, _ = run_async(_find(settings, ref))

    async def work() -> ToolVersion:
        async with open_store(settings) as store:
            return await store.reject(version.digest, actor=settings.principal, reason=reason)

    announce(run_async(work()), "is rejected", as_json=as_json)


async def _find(settings: Settings, ref: str) -> tuple[ToolVersion, ToolVersion | None]:
    """The version that is meant; a bare name means the one that waits, if just one does."""
    if "@" not in ref:
        mine = [each for each in await _waiting(settings) if each.name == ref]
        if len(mine) > 1:
            several = ", ".join(f"{each.name}@{each.sequence}" for each in mine)
            raise UsageError(f"several versions wait for review; say which: {several}")
        if mine:
            ref = f"{ref}@{mine[0].sequence}"
    return await find_with_parent(settings, ref)


def _show_to_person(settings: Settings, version: ToolVersion, before: ToolVersion | None) -> None:
    """On standard error: what a person looks at is not the data that a script asked for."""
    from runtime.cli.render import version_view  # noqa: PLC0415 - lists do without

    console(settings, file=sys.stderr).print(*version_view(version, before), sep="\n")


def _confirmed(version: ToolVersion) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            f"nobody can be asked: standard input is no terminal. Look at {version.ref} with "
            f"`toolkiln review show`, then give --digest {version.digest}, or --yes"
        )
    return typer.confirm(f"approve {version.ref}?", err=True)


async def _approve(settings: Settings, ref: str, shown: str, comment: str) -> ToolVersion:
    from runtime.wiring import open_runtime  # noqa: PLC0415 - lists do without

    async with open_runtime(settings=settings) as runtime:
        return await runtime.approve(
            ref, principal=settings.principal, shown_digest=shown, comment=comment
        )


app.command()(reviewpage.serve)
app.add_typer(reviewpage.tokens, name="token")

"""`toolkiln review`: a person's yes or no to what waits for one."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import JsonValue

from policies.decision import Channel
from policies.value import JsonObject
from runtime.cli import reviewpage
from runtime.cli.announce import announce
from runtime.cli.invocation import settings_of
from runtime.cli.options import PolicyName, Principal, Ref
from runtime.cli.output import (
    AsJson,
    answer_no,
    console,
    json_of,
    print_columns,
    print_json,
    print_rich,
    run_async,
    say,
)
from runtime.cli.toollists import summaries_of
from runtime.cli.toolviews import version_json
from runtime.errors import UsageError
from runtime.review.item import Vote
from runtime.settings import Colour
from toolstore.models import Lifecycle, ToolSummary, ToolVersion

if TYPE_CHECKING:
    from rich.console import RenderableType

    from runtime.review.item import ReviewItem
    from runtime.settings import Settings

app = typer.Typer(help="Approve or reject what waits for a person.")
_SPAN = re.compile(r"(\d{1,5})([dh])")

Shown = Annotated[
    str | None,
    typer.Option("--digest", help="Vote on exactly this `digest` or `shown` of `review show`."),
]


@app.callback(invoke_without_command=True)
def desk(ctx: typer.Context, *, principal: Principal = None, policy: PolicyName = None) -> None:
    """Approve or reject what waits for a person: without a command, on the whole terminal."""
    if ctx.invoked_subcommand is not None:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print_waiting(settings_of(ctx))
        return
    run_async(_screen(settings_of(ctx, principal=principal, policy=policy)))


async def _screen(settings: Settings) -> None:
    from runtime.cli.reviewscreen import ReviewScreen  # noqa: PLC0415 - lists do without
    from runtime.wiring import open_runtime  # noqa: PLC0415 - same

    async with open_runtime(settings=settings) as runtime:
        screen = ReviewScreen(runtime.desk, settings.principal)
        await screen.run(colour=settings.colour is not Colour.NEVER)


@app.command("list")
def list_(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List the versions that wait for a person."""
    if as_json:
        rows: list[JsonValue] = [json_of(summary) for summary in waiting_in(settings_of(ctx))]
        print_json(rows)
    else:
        print_waiting(settings_of(ctx))


def waiting_in(settings: Settings) -> tuple[ToolSummary, ...]:
    """What waits, by the quick look where it can be had."""
    return summaries_of(settings, (Lifecycle.QUARANTINED,))


def print_waiting(settings: Settings) -> None:
    """Print what waits, one version a line."""
    print_columns([summary_row(each) for each in waiting_in(settings)], SUMMARY_HEADS)


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


@app.command()
def show(
    ctx: typer.Context,
    ref: Ref,
    *,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Run the trials once more to see what they reach.")
    ] = False,
    policy: PolicyName = None,
    as_json: AsJson = False,
) -> None:
    """Show everything that a reviewer needs: what changed, reach, proof, source, who uses it.

    A bare NAME means the version that waits, if exactly one does.
    """
    settings = settings_of(ctx, policy=policy)
    version, item = run_async(_item(settings, ref, measured=coverage))
    if as_json:
        review: JsonObject = item.model_dump(mode="json")
        print_json({**version_json(version), "shown": item.shown, "review": review})
    else:
        print_rich(settings, item_view(item))


async def _item(
    settings: Settings, ref: str, *, measured: bool = False
) -> tuple[ToolVersion, ReviewItem]:
    from runtime.wiring import open_runtime  # noqa: PLC0415 - lists do without

    async with open_runtime(settings=settings) as runtime:
        item = await runtime.desk.item(ref, measured=measured, reader=settings.principal)
        return await runtime.store.version(item.digest), item


def item_view(item: ReviewItem) -> RenderableType:
    """All that the review screen shows of a version, one part under the other."""
    from rich.text import Text  # noqa: PLC0415 - lists do without

    from runtime.cli.reviewtabs import RICH_STYLES, tabs_of  # noqa: PLC0415 - same

    text = Text()
    for name, make in tabs_of(item).items():
        text.append(f"-- {name} ".ljust(60, "-") + "\n", style="bold")
        for line in make():
            for style, part in line:
                text.append(part, style=RICH_STYLES[style])
            text.append("\n")
        text.append("\n")
    text.append(f"digest {item.digest}", style="bold")
    return text


@app.command()
def approve(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    ref: Ref,
    *,
    digest: Shown = None,
    yes: Annotated[bool, typer.Option("--yes", help="Show it and do not ask.")] = False,
    comment: Annotated[str, typer.Option(help="Kept with the approval.")] = "",
    scope: Annotated[
        Channel, typer.Option(help="For its author's session, a share of the calls, or all.")
    ] = Channel.STABLE,
    expires: Annotated[
        str | None,
        typer.Option(help="From when on it no longer counts: 30d, 12h, or a time with its zone."),
    ] = None,
    principal: Principal = None,
    policy: PolicyName = None,
    as_json: AsJson = False,
) -> None:
    """Show a version and approve what was shown.

    The approval is bound to what was shown: a version that changed in between, other evidence or
    another policy is refused. With --digest nothing is shown: it was looked at before.
    """
    settings = settings_of(ctx, principal=principal, policy=policy)
    expires_at = None if expires is None else _time(expires)
    shown = digest or _show_and_ask(settings, ref, yes=yes)
    if shown is None:
        say("nothing was approved")
        answer_no()
    terms = _Terms(comment=comment, scope=scope, expires_at=expires_at)
    approved = run_async(_approve(settings, ref, shown, terms))
    if approved.state is Lifecycle.APPROVED:
        announce(approved, "is approved", as_json=as_json)
        return
    announce(approved, f"is still {approved.state}: {approved.state_reason}", as_json=as_json)
    answer_no()


@app.command()
def reject(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    ref: Ref,
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the log, and told to its author.")],
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask for this change instead; it goes on waiting.")
    ] = False,
    digest: Shown = None,
    principal: Principal = None,
    policy: PolicyName = None,
    as_json: AsJson = False,
) -> None:
    """Say no: the version can never be called. Or, with --ask, ask for a change."""
    settings = settings_of(ctx, principal=principal, policy=policy)

    async def work() -> ToolVersion:
        from runtime.wiring import open_runtime  # noqa: PLC0415 - lists do without

        async with open_runtime(settings=settings) as runtime:
            version = await runtime.desk.find(ref)
            await runtime.desk.decide(
                digest or version.digest,
                Vote.ASK if ask else Vote.REJECT,
                principal=settings.principal,
                reason=reason,
            )
            return await runtime.store.version(version.digest)

    announce(run_async(work()), "waits for a change" if ask else "is rejected", as_json=as_json)


def _show_and_ask(settings: Settings, ref: str, *, yes: bool) -> str | None:
    """Show it on standard error and ask; what was shown if the person says yes.

    What a person looks at is not the data that a script asked for.
    """
    version, item = run_async(_item(settings, ref))
    console(settings, file=sys.stderr).print(item_view(item))
    return item.shown if yes or _confirmed(version) else None


def _confirmed(version: ToolVersion) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            f"nobody can be asked: standard input is no terminal. Look at {version.ref} with "
            f"`toolkiln review show`, then give --digest {version.digest}, or --yes"
        )
    return typer.confirm(f"approve {version.ref}?", err=True)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What goes with a yes."""

    comment: str
    scope: Channel
    expires_at: datetime | None


async def _approve(settings: Settings, ref: str, shown: str, terms: _Terms) -> ToolVersion:
    from runtime.review.shown import Shown as WhatWasShown  # noqa: PLC0415 - lists do without
    from runtime.wiring import open_runtime  # noqa: PLC0415 - same

    async with open_runtime(settings=settings) as runtime:
        version = await runtime.desk.find(ref)
        if version.digest != WhatWasShown.parse(shown).version:
            raise UsageError(
                f"{version.ref} has digest {version.digest}, but {shown} was shown; "
                f"nothing was approved. Look at it again: toolkiln review show {version.ref}"
            )
        await runtime.desk.decide(
            shown,
            Vote.APPROVE,
            principal=settings.principal,
            reason=terms.comment,
            scope=terms.scope,
            expires_at=terms.expires_at,
        )
        return await runtime.store.version(version.digest)


def _time(text: str) -> datetime:
    """When an approval expires: a span from now, or a time."""
    if match := _SPAN.fullmatch(text):
        count = int(match[1])
        span = timedelta(days=count) if match[2] == "d" else timedelta(hours=count)
        return datetime.now(UTC) + span
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise UsageError(
            f"{text!r} is no expiry; write 30d, 12h, or a time with its zone, such as "
            "2027-01-31T12:00+00:00"
        )
    return time


app.command()(reviewpage.serve)
app.add_typer(reviewpage.tokens, name="token")

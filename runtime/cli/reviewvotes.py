"""`toolkiln review approve` and `reject`: a vote from a script, or after one look."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from policies.decision import Channel
from runtime.cli.announce import announce
from runtime.cli.invocation import settings_of
from runtime.cli.options import Ref
from runtime.cli.output import AsJson, answer_no, console, run_async, say
from runtime.cli.reviewshow import item_view, look_at
from runtime.errors import UsageError
from runtime.review.item import Vote
from toolstore.models import Lifecycle, ToolVersion

if TYPE_CHECKING:
    from runtime.settings import Settings

_SPAN = re.compile(r"(\d{1,5})([dh])")

Shown = Annotated[
    str | None,
    typer.Option("--digest", help="Vote on exactly this `digest` or `shown` of `review show`."),
]


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
    as_json: AsJson = False,
) -> None:
    """Show a version and approve what was shown.

    The approval is bound to what was shown: a version that changed in between, other evidence or
    another policy is refused. With --digest nothing is shown: it was looked at before.
    """
    settings = settings_of(ctx)
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


def reject(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    ref: Ref,
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the log, and told to its author.")],
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask for this change instead; it goes on waiting.")
    ] = False,
    digest: Shown = None,
    as_json: AsJson = False,
) -> None:
    """Say no: the version can never be called. Or, with --ask, ask for a change."""
    settings = settings_of(ctx)

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
    version, item = run_async(look_at(settings, ref))
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

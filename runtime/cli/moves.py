"""Commands of `toolkiln tools` that move a version: each is one step of its life-cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.announce import announce
from runtime.cli.completion import tool_names
from runtime.cli.invocation import settings_of
from runtime.cli.opening import open_store, parse_ref
from runtime.cli.options import MOST_DAYS, Name, NeededReason, Reason, Ref
from runtime.cli.output import AsJson, run_async, say
from runtime.cli.permission import may_revoke, may_share, may_take_back
from runtime.errors import UsageError
from toolstore.models import ToolRef, ToolVersion

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from runtime.settings import Settings
    from toolstore.store import ToolStore

    Allowed: TypeAlias = Callable[[Settings, ToolStore, ToolRef], Awaitable[None]]
    Step: TypeAlias = Callable[[ToolStore, ToolRef, str], Awaitable[ToolVersion]]
    """What is done with a version of the store, by whom."""

SessionId = Annotated[
    str, typer.Option("--session", metavar="ID", help="Which; `toolkiln sessions list` shows them.")
]


def _move(ctx: typer.Context, ref: ToolRef, allowed: Allowed, step: Step) -> ToolVersion:
    """Take one step with a version as the person at the command line, if they may."""
    settings = settings_of(ctx)

    async def work() -> ToolVersion:
        async with open_store(settings) as store:
            await allowed(settings, store, ref)
            return await step(store, ref, settings.principal)

    return run_async(work())


def promote(
    ctx: typer.Context,
    ref: Ref,
    *,
    reason: Reason = "promoted on the command line",
    as_json: AsJson = False,
) -> None:
    """Give an approved version to everybody.

    The stable one before it is deprecated.
    """

    def step(store: ToolStore, ref: ToolRef, actor: str) -> Awaitable[ToolVersion]:
        return store.lifecycle.promote(ref, actor=actor, reason=reason)

    version = _move(ctx, parse_ref(ref), may_share, step)
    announce(version, "is stable now", as_json=as_json)


def canary(
    ctx: typer.Context,
    ref: Ref,
    *,
    weight: Annotated[
        float | None,
        typer.Option(min=0.0001, max=1.0, help="Share of the sessions. Default: the policy's."),
    ] = None,
    reason: Reason = "tried on the command line",
    as_json: AsJson = False,
) -> None:
    """Have a share of the sessions try a version.

    It is taken out by itself if it fails more often than the stable one.
    """
    from runtime.profiles import read_profile  # noqa: PLC0415 - lists do without

    settings = settings_of(ctx)
    share = weight or read_profile(settings.policy).lifecycle.canary.weight

    def step(store: ToolStore, ref: ToolRef, actor: str) -> Awaitable[ToolVersion]:
        return store.lifecycle.canary(ref, weight=share, actor=actor, reason=reason)

    version = _move(ctx, parse_ref(ref), may_share, step)
    announce(version, f"is the {version.place} now", as_json=as_json)


def rollback(
    ctx: typer.Context,
    ref: Annotated[
        str,
        typer.Argument(
            metavar="REF",
            help="NAME to undo its last move; NAME@3 to go back to it.",
            autocompletion=tool_names,
        ),
    ],
    *,
    to: Annotated[
        str | None, typer.Option(metavar="REF", help="The version to go back to; 3 will do.")
    ] = None,
    reason: Reason = "rolled back on the command line",
    as_json: AsJson = False,
) -> None:
    """Undo the last move, or go back to a version.

    The last move is undone by ending the canary, or else by bringing back what was stable before.
    """
    target = _target(parse_ref(ref), to)

    def step(store: ToolStore, ref: ToolRef, actor: str) -> Awaitable[ToolVersion]:
        return store.rollback(ref.name, actor=actor, reason=reason, to=target)

    version = _move(ctx, ToolRef(name=parse_ref(ref).name), may_take_back, step)
    announce(version, f"is {version.place or version.state} now", as_json=as_json)


def _target(ref: ToolRef, to: str | None) -> ToolRef | None:
    """The version to go back to: named by the reference or by `--to`, or the one before."""
    exact = ref if (ref.sequence, ref.digest) != (None, None) else None
    if to is None:
        return exact
    if exact is not None:
        raise UsageError(
            f"two versions are named to go back to, {ref} and --to {to}; give one of them"
        )
    return parse_ref(to if "@" in to else f"{ref.name}@{to}")


def pin(
    ctx: typer.Context,
    ref: Ref,
    *,
    session: SessionId,
    reason: Reason = "pinned on the command line",
    as_json: AsJson = False,
) -> None:
    """Have a session stay with a version.

    Whatever else its name comes to mean.
    """

    def step(store: ToolStore, ref: ToolRef, actor: str) -> Awaitable[ToolVersion]:
        return store.lifecycle.pin(ref, session=session, actor=actor, reason=reason)

    version = _move(ctx, parse_ref(ref), may_take_back, step)
    announce(version, f"is what session {session} gets", as_json=as_json)


def unpin(
    ctx: typer.Context,
    name: Name,
    *,
    session: SessionId,
    reason: Reason = "unpinned on the command line",
    as_json: AsJson = False,
) -> None:
    """Let a session have what the name means."""

    def step(store: ToolStore, ref: ToolRef, actor: str) -> Awaitable[ToolVersion]:
        return store.lifecycle.unpin(ref.name, session=session, actor=actor, reason=reason)

    version = _move(ctx, parse_ref(name), may_take_back, step)
    announce(version, f"no longer holds session {session}", as_json=as_json)


def waive(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    ref: Ref,
    *,
    rule: Annotated[str, typer.Option(metavar="CODE", help="Of the finding, such as TR202.")],
    days: Annotated[
        int, typer.Option(min=0, max=MOST_DAYS, help="For how long; 0 ends an earlier waiver.")
    ],
    reason: NeededReason,
    as_json: AsJson = False,
) -> None:
    """Take one finding of one version on yourself, for a time."""
    settings = settings_of(ctx)

    async def work() -> ToolVersion:
        from runtime.wiring import open_runtime  # noqa: PLC0415 - lists do without

        async with open_runtime(settings=settings) as runtime:
            return await runtime.waive(
                ref, rule=rule, principal=settings.principal, reason=reason, days=days
            )

    version = run_async(work())
    announce(version, f"has a waiver of {rule} and is {version.state}", as_json=as_json)


def deprecate(
    ctx: typer.Context,
    ref: Ref,
    *,
    successor: Annotated[
        str | None, typer.Option(metavar="REF", help="What to use instead.")
    ] = None,
    reason: Reason = "deprecated on the command line",
    as_json: AsJson = False,
) -> None:
    """Advise against a version: no search finds it any more.

    It stays callable by its exact reference and for sessions that are pinned to it.
    """
    instead = None if successor is None else parse_ref(successor)

    def step(store: ToolStore, ref: ToolRef, actor: str) -> Awaitable[ToolVersion]:
        return store.lifecycle.deprecate(ref, actor=actor, reason=reason, successor=instead)

    version = _move(ctx, parse_ref(ref), may_take_back, step)
    announce(version, "is deprecated", as_json=as_json)


def archive(
    ctx: typer.Context,
    ref: Ref,
    *,
    reason: Reason = "archived on the command line",
    as_json: AsJson = False,
) -> None:
    """Let nobody call a deprecated version any more.

    `toolkiln tools rollback NAME@3` brings it back.
    """

    def step(store: ToolStore, ref: ToolRef, actor: str) -> Awaitable[ToolVersion]:
        return store.lifecycle.archive(ref, actor=actor, reason=reason)

    version = _move(ctx, parse_ref(ref), may_take_back, step)
    announce(version, "is archived", as_json=as_json)


def revoke(
    ctx: typer.Context,
    ref: Ref,
    *,
    reason: NeededReason,
    as_json: AsJson = False,
) -> None:
    """Take a version back for good: nobody can call it any more.

    Calls of it that run end within two seconds. Its bytes are kept for audit.
    """
    callers: list[str] = []

    async def step(store: ToolStore, ref: ToolRef, actor: str) -> ToolVersion:
        from runtime.pinning import callers_of  # noqa: PLC0415 - lists do without

        version = await store.revoke(ref, actor=actor, reason=reason)
        callers.extend([str(caller.ref) for caller in await callers_of(store, version)])
        return version

    version = _move(ctx, parse_ref(ref), may_revoke, step)
    announce(version, "is revoked", as_json=as_json, callers=callers)
    if callers and not as_json:
        say(
            f"pinned to it, so that their calls of it fail from now on: {', '.join(callers)}. "
            "Define them again with another version of it"
        )

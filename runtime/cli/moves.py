"""Commands of `toolkiln tools` that move versions: channels, pins, waivers, retirement."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from policies.value import JsonObject
from runtime.cli.announce import announce
from runtime.cli.invocation import settings_of
from runtime.cli.opening import open_store, parse_ref
from runtime.cli.options import PolicyName, Principal
from runtime.cli.output import AsJson, json_of, print_columns, print_json, run_async, say
from runtime.cli.permission import require, require_of
from runtime.errors import UsageError
from toolstore.models import ToolVersion

if TYPE_CHECKING:
    from policies.sequential import Tally
    from runtime.settings import Settings
    from toolstore.models import Pin, ToolSummary
    from toolstore.retirement import Candidate

Ref = Annotated[str, typer.Argument(metavar="REF", help="NAME, NAME@3 or NAME@sha256:…")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the tool.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the log.")]
SessionId = Annotated[
    str, typer.Option("--session", metavar="ID", help="Which; `toolkiln sessions list` shows them.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `toolkiln tools`."""
    for name, command in (
        ("channels", channels),
        ("promote", promote),
        ("canary", canary),
        ("deprecate", deprecate),
        ("archive", archive),
        ("pin", pin),
        ("unpin", unpin),
        ("waive", waive),
        ("retire", retire),
    ):
        app.command(name)(command)


def _require_sharing(settings: Settings, version: ToolVersion) -> None:
    """Giving a version to more people is a yes to it, so who may not say yes may not do that."""
    from runtime.profiles import read_profile  # noqa: PLC0415 - lists do without

    require(settings, "approve", version, vote="approve")
    profile = read_profile(settings.policy)
    is_author = settings.principal == version.provenance.author
    if is_author and not profile.admission.author_may_approve:
        raise UsageError(
            f"{settings.principal} is the author of {version.ref}, and policy {profile.name} "
            "lets no author give their own tools to others; ask somebody else"
        )


def channels(ctx: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Show who gets which version of a tool, and how a running canary does."""
    summaries, pins, tallies = run_async(_channels(settings_of(ctx), name))
    placed = [each for each in summaries if each.place is not None]
    if as_json:
        print_json(
            {
                "versions": [json_of(each) for each in placed],
                "pins": [json_of(each) for each in pins],
                "canary": {channel: json_of(tally) for channel, tally in tallies.items()},
            }
        )
        return
    refs = {each.digest: f"{each.name}@{each.sequence}" for each in summaries}
    rows = [(f"{each.name}@{each.sequence}", str(each.place)) for each in placed]
    rows += [(refs.get(each.digest, "?"), f"pinned by session {each.session}") for each in pins]
    print_columns(rows, ("VERSION", "FOR"))
    for channel, tally in sorted(tallies.items()):
        say(f"{channel}: {tally.failed} of {tally.calls} calls failed since the canary began")


async def _channels(
    settings: Settings, name: str
) -> tuple[list[ToolSummary], list[Pin], dict[str, Tally]]:
    async with open_store(settings) as store:
        tallies = await store.lifecycle.tallies(name)  # says which names there are
        summaries = [each for each in await store.summaries() if each.name == name]
        pins = [each for each in await store.lifecycle.pins() if each.name == name]
        return summaries, pins, tallies


def promote(
    ctx: typer.Context,
    ref: Ref,
    *,
    reason: Reason = "promoted on the command line",
    principal: Principal = None,
    as_json: AsJson = False,
) -> None:
    """Give an approved version to everybody; the stable one before it is deprecated."""
    settings = settings_of(ctx, principal=principal)

    async def work() -> ToolVersion:
        async with open_store(settings) as store:
            _require_sharing(settings, await store.find(parse_ref(ref)))
            return await store.lifecycle.promote(
                parse_ref(ref), actor=settings.principal, reason=reason
            )

    announce(run_async(work()), "is stable now", as_json=as_json)


def canary(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    ref: Ref,
    *,
    weight: Annotated[
        float | None,
        typer.Option(min=0.0001, max=1.0, help="Share of the sessions. Default: the policy's."),
    ] = None,
    reason: Reason = "tried on the command line",
    principal: Principal = None,
    policy: PolicyName = None,
    as_json: AsJson = False,
) -> None:
    """Have a share of the sessions try a version; it is taken out by itself if it fails more."""
    settings = settings_of(ctx, principal=principal, policy=policy)

    async def work() -> ToolVersion:
        from runtime.profiles import read_profile  # noqa: PLC0415 - lists do without

        share = weight or read_profile(settings.policy).lifecycle.canary.weight
        async with open_store(settings) as store:
            _require_sharing(settings, await store.find(parse_ref(ref)))
            return await store.lifecycle.canary(
                parse_ref(ref), weight=share, actor=settings.principal, reason=reason
            )

    version = run_async(work())
    announce(version, f"is the {version.place} now", as_json=as_json)


def deprecate(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    ref: Ref,
    *,
    successor: Annotated[
        str | None, typer.Option(metavar="REF", help="What to use instead.")
    ] = None,
    reason: Reason = "deprecated on the command line",
    principal: Principal = None,
    as_json: AsJson = False,
) -> None:
    """Advise against a version: callable by its exact reference and pins, found by no search."""
    settings = settings_of(ctx, principal=principal)
    instead = None if successor is None else parse_ref(successor)

    async def work() -> ToolVersion:
        async with open_store(settings) as store:
            await require_of(settings, "deprecate", store, parse_ref(ref))
            return await store.lifecycle.deprecate(
                parse_ref(ref), actor=settings.principal, reason=reason, successor=instead
            )

    announce(run_async(work()), "is deprecated", as_json=as_json)


def archive(
    ctx: typer.Context,
    ref: Ref,
    *,
    reason: Reason = "archived on the command line",
    principal: Principal = None,
    as_json: AsJson = False,
) -> None:
    """Let nobody call a deprecated version any more; `rollback --to` brings it back."""
    settings = settings_of(ctx, principal=principal)

    async def work() -> ToolVersion:
        async with open_store(settings) as store:
            await require_of(settings, "deprecate", store, parse_ref(ref))
            return await store.lifecycle.archive(
                parse_ref(ref), actor=settings.principal, reason=reason
            )

    announce(run_async(work()), "is archived", as_json=as_json)


def pin(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    ref: Ref,
    *,
    session: SessionId,
    reason: Reason = "pinned on the command line",
    principal: Principal = None,
    as_json: AsJson = False,
) -> None:
    """Have a session stay with a version, whatever else the name comes to mean."""
    settings = settings_of(ctx, principal=principal)

    async def work() -> ToolVersion:
        async with open_store(settings) as store:
            return await store.lifecycle.pin(
                parse_ref(ref), session=session, actor=settings.principal, reason=reason
            )

    announce(run_async(work()), f"is what session {session} gets", as_json=as_json)


def unpin(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    name: Name,
    *,
    session: SessionId,
    reason: Reason = "unpinned on the command line",
    principal: Principal = None,
    as_json: AsJson = False,
) -> None:
    """Let a session have what the name means."""
    settings = settings_of(ctx, principal=principal)

    async def work() -> ToolVersion:
        async with open_store(settings) as store:
            return await store.lifecycle.unpin(
                name, session=session, actor=settings.principal, reason=reason
            )

    announce(run_async(work()), f"no longer holds session {session}", as_json=as_json)


def waive(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    ref: Ref,
    *,
    rule: Annotated[str, typer.Option(metavar="CODE", help="Of the finding, such as TR202.")],
    days: Annotated[int, typer.Option(min=0, help="For how long; 0 ends an earlier waiver.")],
    reason: Annotated[str, typer.Option(help="Why it may stay; kept in the log.")],
    principal: Principal = None,
    policy: PolicyName = None,
    as_json: AsJson = False,
) -> None:
    """Take one finding of one version on yourself, for a time."""
    settings = settings_of(ctx, principal=principal, policy=policy)

    async def work() -> ToolVersion:
        from runtime.wiring import open_runtime  # noqa: PLC0415 - lists do without

        async with open_runtime(settings=settings) as runtime:
            return await runtime.waive(
                ref, rule=rule, principal=settings.principal, reason=reason, days=days
            )

    version = run_async(work())
    announce(version, f"has a waiver of {rule} and is {version.state}", as_json=as_json)


def retire(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    *,
    do: Annotated[bool, typer.Option("--do", help="Do it; without, only show what would be.")] = (
        False
    ),
    idle_days: Annotated[
        int | None, typer.Option(min=1, help="Not called for so long. Default: the policy's.")
    ] = None,
    principal: Principal = None,
    policy: PolicyName = None,
    as_json: AsJson = False,
) -> None:
    """Retire what nobody calls: approved is deprecated, deprecated archived; never people's tools.

    What other tools are pinned to stays.
    """
    settings = settings_of(ctx, principal=principal, policy=policy)
    candidates, done = run_async(_retire(settings, idle_days, do=do))
    if as_json:
        rows: list[JsonObject] = []
        for each in candidates:
            fields: JsonObject = each.model_dump(mode="json")
            rows.append({**fields, "done": each.digest in done})
        print_json([*rows])
        return
    print_columns(
        [
            (
                each.ref,
                f"{each.idle_since:%Y-%m-%d}",
                _fate(each, done=each.digest in done),
            )
            for each in candidates
        ],
        ("VERSION", "IDLE SINCE", "WHAT"),
    )
    if candidates and not do:
        say("nothing was changed; --do does it")


def _fate(candidate: Candidate, *, done: bool) -> str:
    if candidate.dependants:
        return f"stays: {', '.join(candidate.dependants)} call it"
    return f"{candidate.step.value}" if done else f"would be {candidate.step.value}"


async def _retire(
    settings: Settings, idle_days: int | None, *, do: bool
) -> tuple[tuple[Candidate, ...], set[str]]:
    from runtime.profiles import read_profile  # noqa: PLC0415 - lists do without
    from toolstore.events import EventType  # noqa: PLC0415 - same

    lifecycle = read_profile(settings.policy).lifecycle
    now = datetime.now(UTC)
    done: set[str] = set()
    async with open_store(settings) as store:
        candidates = await store.lifecycle.idle(
            retire_before=now - timedelta(days=idle_days or lifecycle.retire_after_days),
            archive_before=now - timedelta(days=idle_days or lifecycle.archive_after_days),
        )
        for each in candidates:
            if not do or each.dependants:
                continue
            ref = parse_ref(each.ref)
            await require_of(settings, "deprecate", store, ref)
            step = (
                store.lifecycle.deprecate
                if each.step is EventType.DEPRECATED
                else store.lifecycle.archive
            )
            reason = f"not called since {each.idle_since:%Y-%m-%d}"
            version = await step(ref, actor=settings.principal, reason=reason)
            if version.digest != each.digest:
                raise UsageError(f"{each.ref} is another version by now; nothing more was done")
            done.add(version.digest)
    return candidates, done

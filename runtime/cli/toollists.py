"""Commands of `toolkiln tools` that answer with one version a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from runtime.cli.invocation import settings_of
from runtime.cli.opening import open_store
from runtime.cli.options import Name
from runtime.cli.output import AsJson, json_of, print_columns, print_json, run_async, say
from toolstore.listing import summaries_sync
from toolstore.models import STABLE, Lifecycle, ToolSummary

if TYPE_CHECKING:
    from policies.sequential import Tally
    from runtime.messages import ToolSpec
    from runtime.settings import Settings
    from toolstore.models import Pin

LISTED_STATES: Final = (Lifecycle.APPROVED, Lifecycle.QUARANTINED)


def list_(
    ctx: typer.Context,
    *,
    state: Annotated[
        list[Lifecycle] | None,
        typer.Option(metavar="STATE", help=f"Only these: {', '.join(Lifecycle)}. Repeatable."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Versions in every state.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the versions that are callable or wait for review."""
    states = tuple(Lifecycle) if everything else (state or LISTED_STATES)
    summaries = summaries_of(settings_of(ctx), states)
    if as_json:
        print_json([json_of(summary) for summary in summaries])
        return
    print_columns(
        [
            (
                f"{each.name}@{each.sequence}",
                _standing(each),
                each.level.value,
                each.author,
                each.description,
            )
            for each in summaries
        ],
        ("TOOL", "STATE", "LEVEL", "AUTHOR", "DESCRIPTION"),
    )


def _standing(summary: ToolSummary) -> str:
    """Its state, and for whom it is callable where that is not everybody."""
    if summary.place is None or summary.place == STABLE:
        return summary.state.value
    return f"{summary.state} ({summary.place})"


def summaries_of(settings: Settings, states: Sequence[Lifecycle]) -> tuple[ToolSummary, ...]:
    """The versions in these states, by the quick look where it can be had."""
    found = summaries_sync(settings.store_location, states)
    if found is not None:
        return found
    if not settings.has_store:  # looking at nothing makes nothing
        return ()

    async def work() -> tuple[ToolSummary, ...]:
        async with open_store(settings) as store:
            return await store.summaries(states)

    return run_async(work())


def search(
    ctx: typer.Context,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What the tool should do.")],
    *,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most this many.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Find the callable tools that match best, as a model finds them."""
    found = run_async(_search(settings_of(ctx), query, limit))
    if as_json:
        print_json([json_of(spec) for spec in found])
    else:
        print_columns([(spec.name, spec.description) for spec in found], ("TOOL", "DESCRIPTION"))


async def _search(settings: Settings, query: str, limit: int) -> Sequence[ToolSpec]:
    from runtime.wiring import open_runtime  # noqa: PLC0415 - lists do without

    async with open_runtime(settings=settings) as runtime:
        return await runtime.search(query, limit)


def channels(ctx: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Show who gets which version, and how a running canary does."""
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
    if not rows:
        say(f"nobody gets a version of {name}; `toolkiln tools history {name}` says why")


async def _channels(
    settings: Settings, name: str
) -> tuple[Sequence[ToolSummary], Sequence[Pin], dict[str, Tally]]:
    async with open_store(settings) as store:
        tallies = await store.lifecycle.tallies(name)  # says which names there are
        pins = [each for each in await store.lifecycle.pins() if each.name == name]
        return await store.versions_of(name), pins, tallies

"""Commands of `toolkiln tools` that show all of a version: its text, its proof, its past."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer
from pydantic import JsonValue

from policies.access import Action
from policies.value import JsonObject
from runtime.cli.invocation import settings_of
from runtime.cli.opening import open_store, parse_ref, version_before
from runtime.cli.options import Name, Ref
from runtime.cli.output import AsJson, json_of, print_columns, print_json, print_rich, run_async
from runtime.cli.permission import require

if TYPE_CHECKING:
    from runtime.settings import Settings
    from toolstore.bundlereport import BundleReport
    from toolstore.exchange import OthersWord, Signed
    from toolstore.models import Event, ToolVersion


def show(ctx: typer.Context, ref: Ref, *, as_json: AsJson = False) -> None:
    """Show all of one version, and who vouches for it.

    Its state, source, schema, permissions, findings, trials, approvals; what changed against the
    version before; who signed each part of that, when, and under which policy.
    """
    settings = settings_of(ctx)
    shown = run_async(_shown(settings, ref))
    if as_json:
        signatures: list[JsonValue] | None = None
        if shown.report is not None:
            signatures = [json_of(line) for line in shown.report.lines]
        others: list[JsonValue] = [json_of(word) for word in shown.others]
        events: list[JsonValue] = [json_of(event) for event in shown.events]
        fields = version_json(shown.version)
        print_json({**fields, "signatures": signatures, "others": others, "events": events})
        return
    from runtime.cli.signing import show_view  # noqa: PLC0415 - lists do without

    print_rich(settings, *show_view(*shown))


class _Shown(NamedTuple):
    """What `show` prints of one version."""

    version: ToolVersion
    before: ToolVersion | None
    report: BundleReport | None
    others: Sequence[OthersWord]
    events: Sequence[Event]


async def _shown(settings: Settings, ref: str) -> _Shown:
    """A version, verified, with who vouches for it, and the one that it came to replace."""
    async with open_store(settings) as store:
        version = await store.find(parse_ref(ref))
        require(settings, Action.READ_SOURCE, version)
        return _Shown(
            version,
            await version_before(store, version),
            await store.exchange.report(version.ref),
            await store.exchange.words(version),
            [each for each in await store.events(version.name) if each.digest == version.digest],
        )


def version_json(version: ToolVersion) -> JsonObject:
    """A version as JSON, with its reference."""
    fields: JsonObject = version.model_dump(mode="json")
    return {"ref": str(version.ref), **fields}


def history(ctx: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """List what the log says of a tool, oldest first."""
    settings = settings_of(ctx)
    versions, events, signed = run_async(_history(settings, name))
    sequences = {version.digest: version.sequence for version in versions}
    if as_json:
        print_json(
            {
                "versions": [version_json(version) for version in versions],
                "events": [json_of(event) for event in events],
                "signatures": {digest: json_of(each) for digest, each in signed.items()},
            }
        )
    elif sys.stdout.isatty():
        from runtime.cli.signing import history_view  # noqa: PLC0415 - lists do without

        print_rich(settings, *history_view(events, sequences, signed))
    else:
        print_columns([_event_row(event, sequences, signed) for event in events], _EVENT_HEADS)


async def _history(
    settings: Settings, name: str
) -> tuple[tuple[ToolVersion, ...], tuple[Event, ...], Mapping[str, Signed]]:
    async with open_store(settings) as store:
        versions = await store.history(name)
        require(settings, Action.READ_SOURCE, *versions)
        return versions, await store.events(name), await store.exchange.signatures(versions)


_EVENT_HEADS: Final = (
    *("TIME", "VERSION", "EVENT", "STATES", "ACTOR", "REASON"),
    *("POLICY", "SIGNED BY"),
)


def _event_row(
    event: Event, sequences: Mapping[str, int], signed: Mapping[str, Signed]
) -> tuple[str, ...]:
    from runtime.cli.signing import signers_of  # noqa: PLC0415 - lists do without

    return (
        f"{event.at:%Y-%m-%d %H:%M:%S}",
        f"{event.name}@{sequences.get(event.digest, '?')}",
        str(event.type),
        f"{event.from_state or '-'} -> {event.to_state}",
        event.actor,
        event.reason,
        event.policy_digest or "",
        ", ".join(signers_of(event, signed)),
    )


def diff(
    ctx: typer.Context,
    ref: Ref,
    other: Annotated[
        str | None,
        typer.Argument(metavar="REF", help="Default: REF against the version before it."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions.

    Source, schema, permissions, packages, examples, and behaviour where they were run beside each
    other.
    """
    from runtime.cli.differences import find_differences  # noqa: PLC0415 - lists do without

    settings = settings_of(ctx)
    found = run_async(find_differences(settings, ref, other))
    if as_json:
        print_json(found.to_json())
    else:
        print_rich(settings, *found.view())

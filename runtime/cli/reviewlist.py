"""What waits for a person, for scripts and for who has no whole terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

from runtime.cli.opening import open_store
from runtime.cli.output import json_of, print_columns, print_json, run_async, say
from runtime.settings import Settings
from toolstore.models import ToolSummary, ToolVersion

if TYPE_CHECKING:
    from toolstore.errors import StoreDamagedError

_HEADS = ("TOOL", "LEVEL", "AUTHOR", "ORIGIN", "SINCE", "DESCRIPTION")


def print_waiting(settings: Settings, *, as_json: bool) -> None:
    """Print what waits and the person may read, one version a line or as one document."""
    waiting = () if not settings.has_store else run_async(_waiting(settings))
    summaries = [_summary(version) for version in waiting]
    if as_json:
        rows: list[JsonValue] = [json_of(each) for each in summaries]
        print_json(rows)
    else:
        print_columns([_row(each) for each in summaries], _HEADS)


async def _waiting(settings: Settings) -> tuple[ToolVersion, ...]:
    from policies.authorizers import authorizer_of  # noqa: PLC0415 - other commands do without
    from runtime.profiles import read_profile  # noqa: PLC0415 - same
    from runtime.review.waiting import waiting_for  # noqa: PLC0415 - same

    access = authorizer_of(read_profile(settings.policy))
    async with open_store(settings) as store:
        return await waiting_for(store, access, settings.principal, _say_damage)


def _say_damage(ref: str, error: StoreDamagedError) -> None:
    say(f"{ref} is left out: {error}")


def _summary(version: ToolVersion) -> ToolSummary:
    return ToolSummary(
        name=version.name,
        sequence=version.sequence,
        digest=version.digest,
        state=version.state,
        level=version.level,
        description=version.source.description,
        origin=version.provenance.origin,
        author=version.provenance.author,
        created_at=version.provenance.created_at,
        place=version.place,
    )


def _row(summary: ToolSummary) -> tuple[str, ...]:
    return (
        f"{summary.name}@{summary.sequence}",
        summary.level.value,
        summary.author,
        summary.origin.value,
        f"{summary.created_at:%Y-%m-%d %H:%M}",
        summary.description,
    )

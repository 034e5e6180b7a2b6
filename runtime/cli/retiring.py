"""`toolkiln tools retire`: what nobody calls goes out of the way, step by step."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from policies.value import JsonObject
from runtime.cli.invocation import settings_of
from runtime.cli.opening import open_store, parse_ref
from runtime.cli.options import MOST_DAYS
from runtime.cli.output import AsJson, print_columns, print_json, run_async, say
from runtime.cli.permission import may_take_back
from runtime.errors import UsageError

if TYPE_CHECKING:
    from runtime.settings import Settings
    from toolstore.models import ToolVersion
    from toolstore.retirement import Candidate
    from toolstore.store import ToolStore


def retire(
    ctx: typer.Context,
    *,
    do: Annotated[
        bool, typer.Option("--do", help="Do it; without, only show what would be.")
    ] = False,
    idle_days: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_DAYS, help="Not called for so long. Default: the policy's."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show, and with --do retire, what nobody calls any more.

    What is approved is deprecated, and what is deprecated is archived; never what people wrote, nor
    what other tools are pinned to.
    """
    settings = settings_of(ctx)
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
            (each.ref, f"{each.idle_since:%Y-%m-%d}", _fate(each, done=each.digest in done))
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

    lifecycle = read_profile(settings.policy).lifecycle
    now = datetime.now(UTC)
    done: set[str] = set()
    async with open_store(settings) as store:
        candidates = await store.lifecycle.idle(
            retire_before=now - timedelta(days=idle_days or lifecycle.retire_after_days),
            archive_before=now - timedelta(days=idle_days or lifecycle.archive_after_days),
        )
        ready = [each for each in candidates if do and not each.dependants]
        for each in ready:  # all of it may be done, or nothing is
            await may_take_back(settings, store, parse_ref(each.ref))
        for each in ready:
            version = await _take_step(settings, store, each)
            if version.digest != each.digest:
                raise UsageError(f"{each.ref} is another version by now; nothing more was done")
            done.add(version.digest)
    return candidates, done


async def _take_step(settings: Settings, store: ToolStore, candidate: Candidate) -> ToolVersion:
    from toolstore.events import EventType  # noqa: PLC0415 - lists do without

    moves = store.lifecycle
    step = moves.deprecate if candidate.step is EventType.DEPRECATED else moves.archive
    reason = f"not called since {candidate.idle_since:%Y-%m-%d}"
    return await step(parse_ref(candidate.ref), actor=settings.principal, reason=reason)

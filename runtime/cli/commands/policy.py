"""`toolkiln policy`: what is admitted here, who may do what, and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from policies.config import PolicyProfile
from policies.value import JsonObject
from runtime.cli import policyreasons, policytrials
from runtime.cli.invocation import settings_of
from runtime.cli.options import PolicyArgument
from runtime.cli.output import (
    AsJson,
    answer_no,
    json_of,
    print_columns,
    print_json,
    print_lines,
    run_async,
    say,
)
from runtime.profiles import read_profile
from runtime.settings import Settings

if TYPE_CHECKING:
    from runtime.applying import Applied

app = typer.Typer(no_args_is_help=True, help="Show, check, explain and try policies.")


@app.command()
def show(ctx: typer.Context, policy: PolicyArgument = None, *, as_json: AsJson = False) -> None:
    """Print the settings of a policy, its access rules, its digest."""
    profile = _profile(ctx, policy)
    if as_json:
        print_json({"digest": profile.digest, "profile": json_of(profile)})
        return
    print_lines([f"{profile.name}: {profile.description}", f"digest {profile.digest}"])
    left_out: dict[str, bool | set[str]] = {"name": True, "description": True, "access": {"files"}}
    fields: JsonObject = profile.model_dump(mode="json", exclude=left_out)
    for section, values in fields.items():
        if isinstance(values, dict) and values:
            print_lines(_toml_lines(section, values))
    for name, text in profile.access.texts:
        print_lines([f"--- {name}", *text.splitlines()])


def _toml_lines(section: str, values: JsonObject) -> list[str]:
    """A section as it could stand in a policy file; tables in it behind it."""
    lines = [f"[{section}]"]
    tables: list[str] = []
    for name, value in values.items():
        key = name if name.isidentifier() and name.isascii() else json.dumps(name)
        if isinstance(value, dict):
            tables += _toml_lines(f"{section}.{key}", value)
        elif value is not None:
            lines.append(f"{key} = {json.dumps(value)}")
    return [*lines, *tables]


@app.command()
def check(
    ctx: typer.Context,
    policy: PolicyArgument = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Check a policy for mistakes, and for what is odd in it.

    Exit code 2, with the place, if it is not understood; 1, with the reason, if it is odd. Odd are
    rules that never decide anything, permissions that are always forbidden, settings without
    effect, and a policy that allows nothing or everything.
    """
    from policies.checking import check_policy  # noqa: PLC0415 - other commands do without

    found = check_policy(_profile(ctx, policy))
    if as_json:
        fields: JsonObject = found.model_dump(mode="json")
        print_json({**fields, "understood": True, "passed": found.passed})
    else:
        print_lines([f"{found.name} is understood, {found.digest}"])
        if found.rules:
            extent = "" if found.complete else ", a part of those that there are"
            say(f"{len(found.rules)} access rules, tried on {found.requests:,} requests{extent}")
        print_lines([f"{each.kind.value}: {each.where}: {each.message}" for each in found.remarks])
        if found.nobody_may:
            say(f"nobody may: {', '.join(found.nobody_may)}")
    if not found.passed:
        answer_no()


app.command()(policyreasons.explain)
app.command("test")(policytrials.try_cases)


@app.command()
def apply(
    ctx: typer.Context,
    policy: PolicyArgument = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Decide about every tool now, and not when it is next loaded.

    What the policy no longer allows goes to quarantine. What an earlier policy sent there comes
    back where this one allows it without a person.
    """
    settings = settings_of(ctx, policy=policy)
    found = run_async(_apply(settings, dry_run=dry_run))
    if as_json:
        print_json([json_of(each) for each in found])
        return
    print_columns(
        [(each.effect.value, each.ref, "; ".join(each.reasons)) for each in found],
        ("EFFECT", "TOOL", "REASONS"),
    )
    if dry_run:
        say("nothing was changed")


async def _apply(settings: Settings, *, dry_run: bool) -> tuple[Applied, ...]:
    from runtime.applying import apply_policy  # noqa: PLC0415 - others do without
    from runtime.wiring import open_runtime  # noqa: PLC0415 - same

    async with open_runtime(settings=settings) as runtime:
        return await apply_policy(
            runtime.store, runtime.equipment, datetime.now(UTC), dry_run=dry_run
        )


@app.command()
def schema(*, as_json: AsJson = False) -> None:
    """Print the Cedar schema that access rules are checked against."""
    from policies.cedar_schema import CEDAR_SCHEMA  # noqa: PLC0415 - others do without

    if as_json:
        print_json({"schema": CEDAR_SCHEMA})
    else:
        print_lines(CEDAR_SCHEMA.splitlines())


def _profile(ctx: typer.Context, policy: str | None) -> PolicyProfile:
    return read_profile(settings_of(ctx, policy=policy).policy)

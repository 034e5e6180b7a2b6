"""`toolkiln policy`: what is admitted here, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from policies.config import PolicyProfile
from runtime.cli.invocation import settings_of
from runtime.cli.output import AsJson, json_of, print_json, print_lines
from runtime.profiles import read_profile

app = typer.Typer(no_args_is_help=True, help="Show and check policies.")

Which = Annotated[
    str | None,
    typer.Argument(
        metavar="[POLICY]",
        help="A shipped profile (local, team, production) or a file. Default: the one in force.",
    ),
]


@app.command()
def show(ctx: typer.Context, policy: Which = None, *, as_json: AsJson = False) -> None:
    """Print every setting of a policy, and its digest."""
    profile = _profile(ctx, policy)
    if as_json:
        print_json({"digest": profile.digest, "profile": json_of(profile)})
        return
    print_lines([f"{profile.name}: {profile.description}", f"digest {profile.digest}"])
    for section in ("admission", "evidence", "run", "source"):
        values = getattr(profile, section).model_dump(mode="json")
        print_lines([f"[{section}]", *(f"{key} = {value}" for key, value in values.items())])


@app.command()
def check(
    ctx: typer.Context,
    policy: Which = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Say whether a policy file is exactly understood (exit 0) or not (exit 2, with the reason)."""
    profile = _profile(ctx, policy)
    if as_json:
        print_json({"name": profile.name, "digest": profile.digest, "understood": True})
    else:
        print_lines([f"{profile.name} is understood, {profile.digest}"])


@app.command()
def explain(ctx: typer.Context, policy: Which = None, *, as_json: AsJson = False) -> None:
    """Say in words what a policy asks of a tool before it admits it."""
    lines = explanation(_profile(ctx, policy))
    if as_json:
        print_json(list(lines))
    else:
        print_lines(lines)


def _profile(ctx: typer.Context, policy: str | None) -> PolicyProfile:
    return read_profile(settings_of(ctx, policy=policy).policy)


def explanation(profile: PolicyProfile) -> tuple[str, ...]:
    """A policy in sentences."""
    admission, evidence, run = profile.admission, profile.evidence, profile.run
    review = {
        "never": "No person is asked because of permissions.",
        "permissions": "A person is asked for any permission beyond pure computation.",
        "always": "A person is asked for every tool.",
    }[admission.review]
    by_hand = sorted(set(admission.levels) - set(admission.automatic_levels))
    properties = {
        "allow": "is noted and stops nothing",
        "review": "asks for a person",
        "refuse": "refuses the tool",
    }[evidence.property_failures]
    return (
        f"{profile.name}: {profile.description}",
        "Refused: any finding of severity error, and evidence that is not about this very text.",
        f"Levels that may be admitted: {', '.join(admission.levels)}; "
        f"without a person: {', '.join(admission.automatic_levels) or 'none'}"
        + (f"; only with a person: {', '.join(by_hand)}." if by_hand else "."),
        review,
        f"An admission by review takes {admission.approvers} approval(s); the author "
        + ("may be one of them." if admission.author_may_approve else "cannot be one of them."),
        (
            f"At least {evidence.examples} example(s), each passed {evidence.runs_per_example} "
            "time(s), every time in a fresh container."
        ),
        (
            f"{evidence.property_runs} generated calls; a crash, time-out or limit there "
            f"{properties}, a result of another type than declared refuses the tool."
        ),
        (
            f"Every run has at most {run.wall_seconds:g} s, {run.memory_bytes / 2**20:g} MiB of "
            f"memory, {run.pids} processes and threads, {run.cpus:g} CPU."
        ),
    )

"""`toolkiln policy`: what is admitted here, who may do what, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from pydantic import JsonValue

from policies.config import SHIPPED_PROFILES, PolicyProfile
from policies.value import JsonObject
from runtime.cli.invocation import settings_of
from runtime.cli.opening import open_store, parse_ref
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
from runtime.profiles import policy_text, read_profile
from runtime.settings import Settings, names_a_file

if TYPE_CHECKING:
    from policies.cases import CaseResult
    from policies.explaining import Explanation
    from runtime.applying import Applied
    from toolstore.models import ToolVersion

app = typer.Typer(no_args_is_help=True, help="Show, check, explain and try policies.")

CASES: Final = ".cases.toml"
"""How the files of cases end that stand beside shipped profiles."""

Which = Annotated[
    str | None,
    typer.Argument(
        metavar="[POLICY]",
        help="A shipped profile (local, team, production) or a file. Default: the one in force.",
    ),
]


class ActionName(StrEnum):
    """`policies.access.Action`, which is not loaded for the help."""

    DEFINE = "define"
    ADMIT = "admit"
    CALL = "call"
    APPROVE = "approve"
    WAIVE = "waive"
    DEPRECATE = "deprecate"
    REVOKE = "revoke"
    EXPORT = "export"
    READ_SOURCE = "read_source"


class Vote(StrEnum):
    """What is decided in a review."""

    APPROVE = "approve"
    REJECT = "reject"
    CHANGE = "change"


@app.command()
def show(ctx: typer.Context, policy: Which = None, *, as_json: AsJson = False) -> None:
    """Print every setting of a policy, its access rules, and its digest."""
    profile = _profile(ctx, policy)
    if as_json:
        print_json({"digest": profile.digest, "profile": json_of(profile)})
        return
    print_lines([f"{profile.name}: {profile.description}", f"digest {profile.digest}"])
    fields: JsonObject = profile.model_dump(mode="json", exclude={"name", "description"})
    for section, values in fields.items():
        if isinstance(values, dict) and values:
            shown = [f"{key} = {value}" for key, value in values.items() if key != "files"]
            print_lines([f"[{section}]", *shown])
    for name, text in profile.access.texts:
        print_lines([f"--- {name}", *text.splitlines()])


@app.command()
def check(
    ctx: typer.Context,
    policy: Which = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Check a policy: not understood is exit code 2, with the place; odd is 1, with the reason.

    Odd are rules that never decide anything, permissions that are always forbidden, settings
    without effect, and a policy that allows nothing or everything.
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


@app.command()
def explain(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    policy: Which = None,
    *,
    tool: Annotated[
        str | None, typer.Option(metavar="REF", help="A tool of the store: why it is admitted.")
    ] = None,
    action: Annotated[
        ActionName | None, typer.Option(help="Why somebody may do this, or may not.")
    ] = None,
    principal: Annotated[
        str | None,
        typer.Option(help="Who: person:NAME, agent:MODEL or session:ID. Default: you."),
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option(help="As if they were in this role too. Repeatable.")
    ] = None,
    vote: Annotated[Vote, typer.Option(help="Of the action approve.")] = Vote.APPROVE,
    as_json: AsJson = False,
) -> None:
    """Say what a policy asks; or why it decides as it does, by which rule, what would change it."""
    settings = settings_of(ctx, policy=policy)
    profile = read_profile(settings.policy)
    if tool is None and action is None and principal is None:
        lines = explanation(profile)
        if as_json:
            print_json(list(lines))
        else:
            print_lines(lines)
        return
    version = None if tool is None else run_async(_find(settings, tool))
    found: list[Explanation] = []
    if version is not None and action in {None, ActionName.ADMIT}:
        found.append(_admission(profile, version))
    if action is not None or principal is not None:
        asked = action or ActionName.CALL
        found.append(_access(settings, profile, version, asked, principal, role or [], vote))
    if as_json:
        print_json([json_of(each) for each in found])
    else:
        for each in found:
            _print_explanation(each)


@app.command("test")
def try_cases(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A file of cases. Default: the shipped ones."),
    ] = None,
    *,
    policy: Annotated[
        str | None, typer.Option("--policy", help="Instead of the policy that the file names.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try a policy on cases: what is asked, and the decision expected; exit code 1 if one fails."""
    from policies.cases import read_cases, run_cases  # noqa: PLC0415 - others do without

    rows: list[tuple[str, CaseResult]] = []
    for origin, text in _case_files(file):
        cases = read_cases(text, origin=origin)
        name = policy or cases.policy or settings_of(ctx).policy
        if policy is None and file is not None and cases.policy and names_a_file(cases.policy):
            name = str(file.parent / cases.policy)
        profile = read_profile(name)
        rows += [(profile.name, result) for result in run_cases(cases, profile)]
    failed = [result for _, result in rows if not result.passed]
    if as_json:
        results: list[JsonValue] = [
            {"policy": name, **result.model_dump(mode="json")} for name, result in rows
        ]
        print_json({"passed": not failed, "results": results})
    else:
        print_columns(
            [
                (
                    "ok" if result.passed else "FAILED",
                    name,
                    result.name,
                    result.decided if result.passed else result.problem,
                )
                for name, result in rows
            ],
            ("", "POLICY", "CASE", "DECIDED"),
        )
        say(f"{len(rows) - len(failed)} of {len(rows)} cases passed")
    if failed:
        answer_no()


@app.command()
def apply(
    ctx: typer.Context,
    policy: Which = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Decide about every tool of the store now, and not when it is next loaded.

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
def schema() -> None:
    """Print the Cedar schema that access policies are checked against."""
    from policies.cedar_schema import CEDAR_SCHEMA  # noqa: PLC0415 - others do without

    print_lines(CEDAR_SCHEMA.splitlines())


def _case_files(file: Path | None) -> list[tuple[str, str]]:
    if file is not None:
        return [(str(file), policy_text(str(file)))]
    return [(name, policy_text(f"{name}{CASES}", shipped=True)) for name in SHIPPED_PROFILES]


def _profile(ctx: typer.Context, policy: str | None) -> PolicyProfile:
    return read_profile(settings_of(ctx, policy=policy).policy)


async def _find(settings: Settings, ref: str) -> ToolVersion:
    async with open_store(settings) as store:
        return await store.find(parse_ref(ref))


def _admission(profile: PolicyProfile, version: ToolVersion) -> Explanation:
    from policies.explaining import explain_admission  # noqa: PLC0415 - others do without
    from runtime.redecision import request_of  # noqa: PLC0415 - same

    at = datetime.now(UTC)
    return explain_admission(profile, request_of(version, at), at=at)


def _access(  # noqa: PLR0913, PLR0917 - what the options of `explain` say, carried on
    settings: Settings,
    profile: PolicyProfile,
    version: ToolVersion | None,
    action: ActionName,
    principal: str | None,
    roles: list[str],
    vote: Vote,
) -> Explanation:
    from policies.access import Action, Circumstances, Resource  # noqa: PLC0415 - others do without
    from policies.access_samples import Asked  # noqa: PLC0415 - same
    from policies.cases import CaseTool, case_source, principal_of  # noqa: PLC0415 - same
    from policies.explaining import explain_access  # noqa: PLC0415 - same
    from runtime.authorize import resource_of  # noqa: PLC0415 - same

    me = settings.principal
    who = principal_of(principal or f"person:{me}", person=me, model="a-model")
    resource = (
        Resource.of_source(case_source(CaseTool()), author=me, origin="human")
        if version is None
        else resource_of(version)
    )
    context = Circumstances(vote=vote.value if action is ActionName.APPROVE else "")
    asked = Asked(who, Action(action.value), resource, context, tuple(roles))
    return explain_access(profile, asked)


def _print_explanation(found: Explanation) -> None:
    print_lines([f"{found.question} {found.decided}, by policy {found.policy}"])
    print_columns(
        [(each.says, each.rule or "-", each.reason) for each in found.rules],
        ("SAYS", "RULE", "REASON"),
    )
    print_lines(
        [f"it would be {each.decided} if {each.change}" for each in found.changes]
        or ["no single change that was tried makes it otherwise"]
    )


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
        _access_sentence(profile),
    )


def _access_sentence(profile: PolicyProfile) -> str:
    if not profile.access.policies:
        return (
            "People may do everything; models may make, call and read tools, and never approve, "
            "waive, deprecate, revoke or export."
        )
    return (
        f"Who may do what stands in {', '.join(profile.access.policies)} "
        f"(`toolkiln policy show {profile.name}`)."
    )

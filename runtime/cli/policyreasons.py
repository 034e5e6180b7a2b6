"""`toolkiln policy explain`: what a policy asks, why it decides so, and what would change that."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from policies.access import Action, Circumstances, Resource
from policies.config import PolicyProfile
from runtime.cli.invocation import settings_of
from runtime.cli.opening import open_store, parse_ref
from runtime.cli.options import PolicyArgument
from runtime.cli.output import AsJson, json_of, print_columns, print_json, print_lines, run_async
from runtime.cli.policywords import policy_words
from runtime.profiles import read_profile
from runtime.settings import Settings

if TYPE_CHECKING:
    from policies.explaining import Explanation
    from toolstore.models import ToolVersion


class Vote(StrEnum):
    """What is decided in a review."""

    APPROVE = "approve"
    REJECT = "reject"
    CHANGE = "change"


def explain(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    policy: PolicyArgument = None,
    *,
    tool: Annotated[
        str | None, typer.Option(metavar="REF", help="A tool of the store: why it is admitted.")
    ] = None,
    action: Annotated[
        Action | None, typer.Option(help="Why somebody may do this, or may not.")
    ] = None,
    principal: Annotated[
        str | None,
        typer.Option(
            metavar="WHO", help="Who: person:NAME, agent:MODEL or session:ID. Default: you."
        ),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE", help="As if they were in this role too. Repeatable."),
    ] = None,
    vote: Annotated[Vote, typer.Option(help="Of the action approve.")] = Vote.APPROVE,
    as_json: AsJson = False,
) -> None:
    """Say what a policy asks, or why it decides as it does.

    With --tool or --action: by which rule, and what would change the decision.
    """
    settings = settings_of(ctx, policy=policy)
    profile = read_profile(settings.policy)
    asks_access = bool(action or principal or role)
    if tool is None and not asks_access:
        lines = policy_words(profile)
        if as_json:
            print_json(list(lines))
        else:
            print_lines(lines)
        return
    version = None if tool is None else run_async(_find(settings, tool))
    found: list[Explanation] = []
    if version is not None and action in {None, Action.ADMIT}:
        found.append(_admission(profile, version))
    if asks_access:
        asked = action or Action.CALL
        found.append(_access(settings, profile, version, asked, principal, role or [], vote))
    if as_json:
        print_json([json_of(each) for each in found])
    else:
        for each in found:
            _print_explanation(each)


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
    action: Action,
    principal: str | None,
    roles: list[str],
    vote: Vote,
) -> Explanation:
    from policies.access_samples import Asked  # noqa: PLC0415 - `--help` does without
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
    context = Circumstances(vote=vote.value if action is Action.APPROVE else "")
    asked = Asked(who, action, resource, context, tuple(roles))
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

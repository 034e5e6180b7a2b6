"""Whether the person at the command line may do what they ask for, under the policy in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from runtime.settings import Settings
    from toolstore.models import ToolRef, ToolVersion
    from toolstore.store import ToolStore


ActionName: TypeAlias = Literal["approve", "deprecate", "revoke", "export", "read_source"]
"""Those of `policies.access.Action` that the command line asks for; lists do not load it."""


def require(
    settings: Settings,
    action: ActionName,
    *versions: ToolVersion,
    vote: Literal["", "approve"] = "",
) -> None:
    """Go on if `settings.principal` may do `action` with each of `versions`.

    Raises:
        AccessRefusedError: With one of them they may not; nothing was done.
        PolicyConfigError: The policy in force is not exactly understood.
    """
    from policies.access import Action, Circumstances, Principal  # noqa: PLC0415 - lists do without
    from policies.authorizers import authorizer_of  # noqa: PLC0415 - same
    from runtime.authorize import authorize, resource_of  # noqa: PLC0415 - same
    from runtime.profiles import read_profile  # noqa: PLC0415 - same

    access = authorizer_of(read_profile(settings.policy))
    person = Principal.of_person(settings.principal)
    for version in versions:
        resource = resource_of(version)
        authorize(access, person, Action(action), resource, Circumstances(vote=vote))


async def require_of(
    settings: Settings, action: ActionName, store: ToolStore, ref: ToolRef
) -> None:
    """The same with what `ref` means, also where that is damaged: taking back must be possible.

    Raises:
        AccessRefusedError: They may not; nothing was done.
        ToolNotFoundError: There is no such version.
    """
    from policies.access import Action, Principal, Resource  # noqa: PLC0415 - lists do without
    from policies.authorizers import authorizer_of  # noqa: PLC0415 - same
    from policies.permissions import LintLevel  # noqa: PLC0415 - same
    from runtime.authorize import authorize  # noqa: PLC0415 - same
    from runtime.profiles import read_profile  # noqa: PLC0415 - same
    from toolstore.errors import StoreDamagedError  # noqa: PLC0415 - same

    try:
        require(settings, action, await store.find(ref))
    except StoreDamagedError:
        # Nothing about it is believed but what was asked for.
        unknown = Resource(
            name=ref.name,
            digest=ref.digest or "",
            level=LintLevel.L3,
            author="",
            origin="import",
            state="damaged",
        )
        access = authorizer_of(read_profile(settings.policy))
        authorize(access, Principal.of_person(settings.principal), Action(action), unknown)

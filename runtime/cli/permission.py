"""Whether the person at the command line may do what they ask for, under the policy in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.access import Action, Circumstances, Principal, Resource
from policies.people import is_same_person
from policies.permissions import LintLevel
from runtime.errors import UsageError
from toolstore.errors import StoreDamagedError

if TYPE_CHECKING:
    from runtime.settings import Settings
    from toolstore.models import ToolRef, ToolVersion
    from toolstore.store import ToolStore

_NO_CIRCUMSTANCES = Circumstances()


def require(
    settings: Settings,
    action: Action,
    *versions: ToolVersion,
    context: Circumstances = _NO_CIRCUMSTANCES,
) -> None:
    """Go on if `settings.principal` may do `action` with each of `versions`.

    Raises:
        AccessRefusedError: With one of them they may not; nothing was done.
        PolicyConfigError: The policy in force is not exactly understood.
    """
    from runtime.authorize import resource_of  # noqa: PLC0415 - lists do without

    _require(settings, action, [resource_of(version) for version in versions], context)


async def may_take_back(settings: Settings, store: ToolStore, ref: ToolRef) -> None:
    """Go on if they may say which version a name means, or a session gets.

    Raises:
        AccessRefusedError: They may not; nothing was done.
        ToolNotFoundError: There is no such version.
    """
    await _require_even_if_damaged(settings, Action.DEPRECATE, store, ref)


async def may_revoke(settings: Settings, store: ToolStore, ref: ToolRef) -> None:
    """Go on if they may take it back for good.

    Raises:
        AccessRefusedError: They may not; nothing was done.
        ToolNotFoundError: There is no such version.
    """
    await _require_even_if_damaged(settings, Action.REVOKE, store, ref)


async def may_share(settings: Settings, store: ToolStore, ref: ToolRef) -> None:
    """Go on if they may give it to more people: that is a yes to it, as in a review.

    Raises:
        AccessRefusedError: They may not approve it; nothing was done.
        UsageError: They wrote it, and the policy wants somebody else's yes.
        ToolStoreError: There is no such version, or it is damaged.
    """
    from runtime.profiles import read_profile  # noqa: PLC0415 - lists do without

    version = await store.find(ref)
    require(settings, Action.APPROVE, version, context=Circumstances(vote="approve"))
    profile = read_profile(settings.policy)
    is_author = is_same_person(settings.principal, version.provenance.author)
    if is_author and not profile.admission.author_may_approve:
        raise UsageError(
            f"{settings.principal} is the author of {version.ref}, and policy {profile.name} "
            "lets no author give their own tools to others; ask somebody else"
        )


async def _require_even_if_damaged(
    settings: Settings, action: Action, store: ToolStore, ref: ToolRef
) -> None:
    """Taking back must be possible where nothing can be read but what was asked for."""
    try:
        require(settings, action, await store.find(ref))
    except StoreDamagedError:
        unknown = Resource(
            name=ref.name,
            digest=ref.digest or "",
            level=LintLevel.L3,
            author="",
            origin="import",
            state="damaged",
        )
        _require(settings, action, [unknown], _NO_CIRCUMSTANCES)


def _require(
    settings: Settings, action: Action, resources: list[Resource], context: Circumstances
) -> None:
    from policies.authorizers import authorizer_of  # noqa: PLC0415 - lists do without
    from runtime.authorize import authorize  # noqa: PLC0415 - same
    from runtime.profiles import read_profile  # noqa: PLC0415 - same

    access = authorizer_of(read_profile(settings.policy))
    person = Principal.of_person(settings.principal)
    for resource in resources:
        authorize(access, person, action, resource, context)

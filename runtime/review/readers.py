"""Who may look: whatever a reviewer sees has the source in it, so the policy is asked for that."""

from __future__ import annotations

from policies.access import Action, Authorizer, Principal
from runtime.authorize import authorize, resource_of
from toolstore.models import ToolVersion


def may_read(access: Authorizer, reader: str, version: ToolVersion) -> bool:
    """Whether the policy lets the person `reader` read the source of `version`."""
    person = Principal.of_person(reader)
    return access.decide(person, Action.READ_SOURCE, resource_of(version)).allowed


def require_reading(access: Authorizer, reader: str, version: ToolVersion) -> None:
    """Go on if `reader` may read the source of `version`.

    Raises:
        AccessRefusedError: The policy does not let them; the error names the rule.
    """
    person = Principal.of_person(reader)
    authorize(access, person, Action.READ_SOURCE, resource_of(version))

"""From a policy to who may do what under it; Cedar is loaded only where there are Cedar files."""

from __future__ import annotations

from policies.access import Authorizer
from policies.access_rules import BUILT_IN, RuleAuthorizer
from policies.config import PolicyProfile


def authorizer_of(profile: PolicyProfile) -> Authorizer:
    """The authorizer of a policy; its Cedar files are parsed and checked here.

    Raises:
        PolicyConfigError: A Cedar file or a role is not exactly understood.
    """
    access = profile.access
    if not access.policies:
        return RuleAuthorizer(BUILT_IN, digest=profile.digest)
    from policies.cedar import CedarAuthorizer  # noqa: PLC0415 - most policies do without Cedar

    return CedarAuthorizer(access.texts, access.roles, digest=profile.digest)

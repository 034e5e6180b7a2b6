"""Everything that can be said about a policy without a tool: understood or not, and what is odd."""

from __future__ import annotations

from collections.abc import Sequence

from policies.access import Action
from policies.authorizers import authorizer_of
from policies.config import PolicyProfile
from policies.remarks import (
    AccessRuleSeen,
    Remark,
    access_remarks,
    name_remarks,
    setting_remarks,
    unused_actions,
)
from policies.value import Value


class PolicyCheck(Value):
    """What a check of one policy came to."""

    name: str
    digest: str
    rules: tuple[str, ...]
    """Identifiers of the access rules from Cedar files."""

    remarks: tuple[Remark, ...]
    nobody_may: tuple[Action, ...] = ()
    """Actions that no tried request was allowed; no fault by itself."""

    requests: int = 0
    """How many requests the access rules were tried on."""

    complete: bool = True
    """Whether these are all that the names in the rules give."""

    @property
    def passed(self) -> bool:
        """Nothing is odd."""
        return not self.remarks


def check_policy(profile: PolicyProfile) -> PolicyCheck:
    """Check a policy that was read.

    Raises:
        PolicyConfigError: A Cedar file or a role of it is not exactly understood.
    """
    remarks = tuple(setting_remarks(profile))
    if not profile.access.policies:
        authorizer_of(profile)
        return PolicyCheck(name=profile.name, digest=profile.digest, rules=(), remarks=remarks)

    from policies.access_samples import merged, samples  # noqa: PLC0415 - for Cedar files alone
    from policies.cedar import CedarAuthorizer  # noqa: PLC0415 - same
    from policies.cedar_mentions import mentioned  # noqa: PLC0415 - same

    access = profile.access
    authorizer = CedarAuthorizer(access.texts, access.roles, digest=profile.digest)
    rules = authorizer.rules
    found = mentioned(rules)
    # All names together where that is possible, and those of each rule by themselves: a rule
    # that needs a rare combination is tried on it.
    tried = merged(
        samples(found, at_most=512),
        *(samples(mentioned([rule]), at_most=128) for rule in rules),
    )
    applying = tuple(authorizer.matches(tried.requests))

    def probe(ids: Sequence[str]) -> Sequence[frozenset[str]]:
        about = mentioned([rule for rule in rules if rule.id in ids])
        return tuple(authorizer.matches(samples(about, at_most=1_536).requests, ids))

    seen = tuple(
        AccessRuleSeen(rule.id, f"{rule.statement.where}, rule {rule.id!r}", rule.permits)
        for rule in rules
    )
    return PolicyCheck(
        name=profile.name,
        digest=profile.digest,
        rules=tuple(rule.id for rule in rules),
        remarks=(
            *remarks,
            *name_remarks(found, profile),
            *access_remarks(seen, tried, applying, probe),
        ),
        nobody_may=unused_actions(seen, tried, applying),
        requests=len(tried.requests),
        complete=tried.complete,
    )

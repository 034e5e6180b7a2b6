"""A person takes a finding of one version on themselves, for a time."""

from __future__ import annotations

from datetime import datetime, timedelta

from policies.access import Action, Circumstances, Principal
from policies.people import is_same_person
from policies.waivers import Waiver
from runtime.authorize import authorize, resource_of
from runtime.equipment import Equipment
from runtime.errors import UsageError
from runtime.redecision import decide_again
from runtime.terms import terms_of
from toolstore.models import Lifecycle, ToolVersion
from toolstore.store import ToolStore


async def waive(  # noqa: PLR0913 - what a waiver is made of, each by its name
    store: ToolStore,
    equipment: Equipment,
    version: ToolVersion,
    *,
    rule: str,
    principal: str,
    reason: str,
    days: int,
    at: datetime,
) -> ToolVersion:
    """Keep the waiver; a version that waits for nothing else leaves quarantine by it.

    With `days` 0 an earlier waiver of the same person and rule ends.

    Raises:
        UsageError: The policy does not let this person waive this rule for so long, or the
            version has no such finding.
        TransitionError: The version is archived or revoked.
    """
    _check(equipment, version, rule, principal, days)
    expires = at + timedelta(days=days)
    waiver = Waiver(
        rule=rule,
        digest=version.digest,
        principal=principal,
        reason=reason,
        at=at,
        expires_at=expires,
    )
    profile = equipment.profile
    decision = None
    # The policy that sent it to quarantine must agree: a laxer one is no way around it.
    same_policy = version.decision.policy_digest == profile.digest
    if version.state is Lifecycle.QUARANTINED and same_policy:
        waived = version.model_copy(update={"waivers": (*version.waivers, waiver)})
        decision = decide_again(waived, equipment, at)
    return await store.lifecycle.waive(waiver, decision, actor=principal, terms=terms_of(profile))


def _check(
    equipment: Equipment, version: ToolVersion, rule: str, principal: str, days: int
) -> None:
    authorize(
        equipment.access,
        Principal.of_person(principal),
        Action.WAIVE,
        resource_of(version),
        Circumstances(rule=rule),
    )
    profile = equipment.profile
    settings = profile.lifecycle
    if rule not in settings.waivable_rules:
        raise UsageError(
            f"policy {profile.name} lets nobody waive {rule}; it lets people waive "
            f"{', '.join(settings.waivable_rules) or 'nothing'} (lifecycle.waivable_rules)"
        )
    if not 0 <= days <= settings.longest_waiver_days:
        raise UsageError(
            f"a waiver of {days} days was asked for; the policy allows at most "
            f"{settings.longest_waiver_days} (lifecycle.longest_waiver_days)"
        )
    is_author = is_same_person(principal, version.provenance.author)
    if is_author and not profile.admission.author_may_approve:
        raise UsageError(
            f"{principal} is the author of {version.ref}, and the policy lets no author waive "
            "what was found in their own tools; ask somebody else"
        )
    found = sorted({finding.rule for finding in version.evidence.all_findings})
    if rule not in found:
        raise UsageError(
            f"{version.ref} has no finding of {rule}; it has {', '.join(found) or 'none at all'}"
        )

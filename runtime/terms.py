"""What a policy's life-cycle means for versions on their way into the store."""

from __future__ import annotations

from policies.config import PolicyProfile
from toolstore.models import Quota
from toolstore.proposals import ProposalQuota
from toolstore.terms import Terms


def terms_of(profile: PolicyProfile) -> Terms:
    """For whom an approved version is callable at first, and how many may be stored."""
    lifecycle = profile.lifecycle
    return Terms(
        channel=lifecycle.first_channel,
        weight=lifecycle.canary.weight,
        quota=Quota(
            versions_per_session=lifecycle.versions_per_session,
            versions_per_author=lifecycle.versions_per_tenant,
        ),
        beside_current=True,
    )


def proposal_quota_of(profile: PolicyProfile) -> ProposalQuota:
    """How many tools may be proposed, whatever comes of them."""
    lifecycle = profile.lifecycle
    return ProposalQuota(
        per_session=lifecycle.definitions_per_session,
        per_author=lifecycle.definitions_per_tenant,
    )

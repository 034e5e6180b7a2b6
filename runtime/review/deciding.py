"""The decision on a person's yes: by the policy that asked for review and by the one in force."""

from __future__ import annotations

from datetime import datetime

from policies.config import SHIPPED_PROFILES, PolicyProfile
from policies.decision import Approval, Decision
from runtime.errors import UsageError
from runtime.profiles import read_profile
from runtime.redecision import request_of
from toolstore.models import ToolVersion


def decide_jointly(
    version: ToolVersion,
    approval: Approval,
    in_force: PolicyProfile,
    at: datetime,
    *,
    stored: PolicyProfile | None = None,
) -> Decision:
    """The decision of both policies; one that was asked for more people counts.

    `stored` is the policy that asked for review as the store kept it, if it did.

    An approval under a laxer policy would else get around the one that asked.

    Raises:
        UsageError: One of them does not admit it, or the one that asked is not known here.
    """
    request = request_of(version, at, more=(approval,))
    submitted = stored or submitted_under(version, in_force)
    decisions = []
    for profile in (submitted, in_force):
        decision = profile.policy.decide(request)
        if not (decision.allowed or decision.needs_review):
            raise UsageError(
                f"policy {profile.name} does not admit {version.name} with this "
                f"approval: {'; '.join(decision.reasons)}. Nothing was approved."
            )
        decisions.append(decision)
    waiting = next((each for each in decisions if each.needs_review), decisions[0])
    # By the digest that it was kept under: the program may have more settings by now.
    return waiting.model_copy(update={"policy_digest": version.decision.policy_digest})


def submitted_under(version: ToolVersion, in_force: PolicyProfile) -> PolicyProfile:
    """The policy that sent `version` to review, found by its digest.

    Raises:
        UsageError: It is neither the one in force nor a shipped one.
    """
    for profile in (in_force, *map(read_profile, SHIPPED_PROFILES)):
        if profile.digest == version.decision.policy_digest:
            return profile
    raise UsageError(
        f"{version.ref} was submitted under a policy with digest "
        f"{version.decision.policy_digest}, which is neither the one in force "
        f"({in_force.name}) nor a shipped one. Nothing was approved; name its file with "
        "--policy, or define the tool again under the present policy."
    )

"""What a policy says about versions once they are proven: channels, retirement, quotas, waivers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from policies.decision import Channel
from policies.sequential import CanarySettings
from policies.value import Value

RuleCode = Annotated[str, Field(pattern=r"^[A-Z]{2}\d{3}$")]


class LifecycleSettings(Value):
    """The section `[lifecycle]`."""

    first_channel: Channel = Channel.STABLE
    """Where an approved version goes first: to the session that wrote it, to a share of the
    sessions beside the stable one, or to everybody."""

    canary: CanarySettings = CanarySettings()
    retire_after_days: int = Field(default=90, ge=1, le=3_650)
    """A version that nobody called for so long is proposed for retirement: deprecated first."""

    archive_after_days: int = Field(default=90, ge=1, le=3_650)
    """A deprecated version that nobody called for so long is proposed for the archive."""

    definitions_per_session: int = Field(default=500, ge=1)
    """Tools that one session may propose, those that are refused included."""

    definitions_per_tenant: int = Field(default=10_000, ge=1)
    """The same of one tenant, in any 24 hours, on all hosts of the store together."""

    versions_per_session: int = Field(default=500, ge=1)
    """Versions that one session may store."""

    versions_per_tenant: int = Field(default=100_000, ge=1)
    """Versions that one tenant may store."""

    waivable_rules: tuple[RuleCode, ...] = Field(default=("TR201", "TR202", "TR203"), max_length=50)
    """Findings that a person may take on themselves for a time."""

    longest_waiver_days: int = Field(default=90, ge=1, le=3_650)

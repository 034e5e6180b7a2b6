"""What a reviewer sees, and says: a queue, one version with all its parts, a vote."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime

from policies.marking import SafeText
from policies.permissions import LintLevel
from policies.value import Value
from runtime.review.parts import (
    Behaviour,
    Capability,
    Coverage,
    DiffPart,
    FindingView,
    HistoryLine,
    Neighbour,
    OthersView,
    SourceLine,
    StatementView,
    TrialView,
    Users,
    VersionView,
    VoteView,
)
from toolstore.models import Lifecycle, Origin

MAX_REASON: Final = 2_000
"""Characters of a reason that a person gives, and of any that is shown."""


class QueueLine(Value):
    """One version that waits for a person."""

    ref: SafeText
    """`name@3`."""

    digest: str
    description: SafeText
    level: LintLevel
    author: SafeText
    origin: Origin
    since: AwareDatetime
    why: tuple[SafeText, ...]
    """What the policy wants of a person, one reason each."""

    votes: int
    """How many people said yes so far, with a yes that still counts."""

    needed: int
    """How many must."""

    asked: SafeText | None = None
    """The change that was asked for last, if any was."""

    replaces: SafeText | None = None
    """The version that would give way to it."""

    newer: SafeText | None = None
    """A later version of the tool that waits too: this one is likely done with."""


class ReviewItem(Value):
    """Everything about one version that a person should see before a vote."""

    shown: str
    """Hand this back with the vote: it says what was on the screen."""

    digest: str
    name: SafeText
    ref: SafeText
    state: Lifecycle
    state_reason: SafeText
    waits: bool
    level: LintLevel
    description: SafeText
    author: SafeText
    origin: Origin
    model: SafeText | None
    session: SafeText | None
    created_at: AwareDatetime
    since: AwareDatetime
    image_digest: str
    evidence_digest: str
    policy_digest: str
    policy_name: str
    why: tuple[SafeText, ...]
    votes: int
    needed: int
    before: SafeText | None
    """The version that it is compared with; None where it is the first."""

    diff: tuple[DiffPart, ...]
    capabilities: tuple[Capability, ...]
    source: tuple[SourceLine, ...]
    schema_lines: tuple[SafeText, ...]
    findings: tuple[FindingView, ...]
    trials: tuple[TrialView, ...]
    coverage: Coverage | None
    coverage_missing: str
    """Why there is no coverage; empty where there is."""

    neighbour: Neighbour | None
    users: Users
    behaviour: Behaviour | None
    place: SafeText | None
    """For whom it is callable; None where it is not approved."""

    versions: tuple[VersionView, ...]
    """All versions of the name, latest first."""

    vouchers: tuple[StatementView, ...] | None
    """Who vouches for it in this store; None in a store without keys."""

    others: tuple[OthersView, ...]
    """What came with it from elsewhere, oldest first."""

    history: tuple[HistoryLine, ...]
    earlier_votes: tuple[VoteView, ...]
    warnings: tuple[str, ...]
    """What is odd about the text itself, such as characters that hide or pretend."""

    @property
    def capability_summary(self) -> str:
        """All capabilities in one line."""
        return ", ".join(each.words.plain for each in self.capabilities)


class Vote(StrEnum):
    """What a reviewer can say."""

    APPROVE = "approve"
    REJECT = "reject"
    ASK = "ask"
    """Asks for a change: it goes on waiting, and the author is told."""


class ReviewOutcome(Value):
    """What came of a vote."""

    ref: SafeText
    digest: str
    vote: Vote
    state: Lifecycle
    words: SafeText
    """What it means, for the reviewer."""

    @property
    def settled(self) -> bool:
        """Whether it waits no more."""
        return self.state is not Lifecycle.QUARANTINED

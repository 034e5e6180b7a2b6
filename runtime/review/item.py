"""What a reviewer sees, as values that any screen can show as they are.

Whatever somebody else wrote is `SafeText`: harmless, with marks where it is not what it seems.
Plain strings are our own words, digests and numbers.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import AwareDatetime

from policies.decision import Channel
from policies.evidence import TrialKind
from policies.findings import Severity
from policies.marking import SafeText
from policies.permissions import LintLevel
from policies.value import Value
from toolstore.models import Lifecycle, Origin


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


class LineKind(StrEnum):
    """What a line of a diff is."""

    SAME = "same"
    ADDED = "added"
    REMOVED = "removed"
    PLACE = "place"
    """Not of the text: says where in it the next lines stand."""


class DiffLine(Value):
    """One line of a diff."""

    kind: LineKind
    text: SafeText
    before: int | None = None
    """Number in the earlier text."""

    after: int | None = None
    """Number in the later text."""


class DiffPart(Value):
    """What differs in one respect; without lines nothing does."""

    title: str
    """`source`, `description`, `schema`, `permissions`, `examples`, `packages`, `image`."""

    lines: tuple[DiffLine, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything differs."""
        return bool(self.lines)


class Risk(StrEnum):
    """How much a capability deserves a look."""

    NONE = "none"
    LOOK = "look"
    CARE = "care"


class Capability(Value):
    """One thing that the tool can or cannot reach, in words."""

    words: SafeText
    risk: Risk


class SourceLine(Value):
    """One line of the source."""

    number: int
    text: SafeText
    covered: bool | None = None
    """Whether a trial ran it; None where it holds no statement, or nothing was measured."""


class FindingView(Value):
    """One finding of a check."""

    rule: str
    severity: Severity
    line: int | None
    message: SafeText
    suggestion: SafeText
    waived_by: SafeText | None = None
    """Who took it on themselves, for this very version and for a time."""


class TrialView(Value):
    """One run of the candidate."""

    kind: TrialKind
    passed: bool
    arguments: SafeText
    files: tuple[SafeText, ...]
    expected: SafeText | None
    """None for generated arguments."""

    outcome: SafeText
    """The value, the exception or what stopped it."""

    detail: SafeText
    output: SafeText
    wall_seconds: float
    memory_bytes: int | None


class Gap(Value):
    """A part of the source that the runs did not reach."""

    line: int
    words: SafeText
    """Such as: the condition was never false."""


class Coverage(Value):
    """What the trials reached of the source, as told by the process that ran it: no proof."""

    statements: int
    statements_run: int
    arms: int
    """Ways that branches can go."""

    arms_run: int
    by_examples: tuple[Gap, ...]
    """What the author's examples do not reach."""

    by_all: tuple[Gap, ...]
    """What generated arguments do not reach either."""

    lines_missed: tuple[int, ...]
    """Lines with statements that no trial ran."""

    lines_run: tuple[int, ...]
    runs: int

    @property
    def words(self) -> str:
        """One sentence."""
        return (
            f"{self.statements_run} of {self.statements} statements and "
            f"{self.arms_run} of {self.arms} ways of branches were run"
        )


class Neighbour(Value):
    """The tool of the store that does the most similar thing."""

    ref: SafeText
    description: SafeText
    same_code: bool
    """But for names, comments and layout."""

    likeness: float
    """Of the words, from 0 to 1."""


class Users(Value):
    """Who depends on the name."""

    pinned: tuple[SafeText, ...] | None
    """Approved tools that call an exact version of it; None where there are too many to ask."""

    calls: int
    """Calls of all its versions, as far as they are kept."""


class Behaviour(Value):
    """How it behaves beside the version that it would replace."""

    summary: SafeText
    inputs: int
    differences: tuple[SafeText, ...]


class VoteView(Value):
    """One earlier vote."""

    event: int
    principal: SafeText
    vote: str
    at: AwareDatetime
    words: SafeText
    scope: Channel | None = None
    expires_at: AwareDatetime | None = None
    counts: bool = True
    """False for a yes that has expired."""


class HistoryLine(Value):
    """One event of the log about the tool."""

    event: int
    at: AwareDatetime
    version: SafeText
    what: str
    actor: SafeText
    reason: SafeText


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

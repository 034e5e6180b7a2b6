"""The parts of what a reviewer sees, as values that any screen can show as they are.

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
from policies.sequential import Tally
from policies.value import Value
from toolstore.bundlereport import Standing, Verdict
from toolstore.models import Lifecycle


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
    state: SafeText | None
    """Where it led: the state, and for whom it is callable; None where that goes without saying."""

    actor: SafeText
    reason: SafeText


class VersionView(Value):
    """One version of the tool, and where it stands."""

    ref: SafeText
    digest: str
    state: Lifecycle
    place: SafeText | None
    """For whom it is callable: `stable`, `canary at 0.1`; None where it is not approved."""

    author: SafeText
    created_at: AwareDatetime
    calls: Tally | None = None
    """Counted since the canary began; None where none runs, or it has no part in it."""


class StatementView(Value):
    """What one signed statement about the version is worth, here and now."""

    part: SafeText
    standing: Standing
    detail: SafeText
    signer: SafeText | None
    """Whose key signed it; the file's own word where `trusted` is false."""

    trusted: bool
    at: AwareDatetime | None
    """When it was signed, as the statement says."""


class OthersView(Value):
    """What a file from elsewhere says of the version; it counts for nothing here."""

    at: AwareDatetime
    actor: SafeText
    """Who brought it."""

    bundle: str
    """Digest of the file."""

    verdict: Verdict
    lines: tuple[StatementView, ...]

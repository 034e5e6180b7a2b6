"""Evidence: what was checked of one version, on which digest, and what came of it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import (
    AwareDatetime,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from policies.findings import Finding, Severity
from policies.outcomes import Outcome
from policies.permissions import LintLevel
from policies.replay import Replay
from policies.value import JsonObject, Value, canonical_json, sha256_digest

__all__ = ["Evidence", "LintReport", "Outcome", "Trial", "TrialKind"]


class TrialKind(StrEnum):
    """Where the arguments of a trial come from."""

    EXAMPLE = "example"
    """The author's example, in a fresh container."""

    REPEAT = "repeat"
    """The same example again in another fresh container: the answer must be the same."""

    PROPERTY = "property"
    """Generated from the schema; many in one container, each a fresh module (weaker, and said)."""


class Trial(Value):
    """One run of the candidate. The verdict was computed on the host from the raw outcome."""

    kind: TrialKind
    arguments: JsonObject
    files: dict[str, str] = Field(default={})
    """Digests of the files that it was given, by name; for generated arguments not kept."""

    expected: JsonObject | None = None
    """`{"returns": …}` or `{"raises": …}`; None for generated arguments."""

    outcome: Outcome
    value: JsonValue = None
    error: str | None = None
    """`ValueError: …` where it raised; what stopped it otherwise. The guest's words: untrusted."""

    output: str = ""
    passed: bool
    detail: str
    """Why it passed or not, in one sentence."""

    wall_seconds: float
    memory_bytes: int | None = None


class LintReport(Value):
    """What the static checks found, and the level that the source reached."""

    level: LintLevel
    findings: tuple[Finding, ...] = ()

    @property
    def passed(self) -> bool:
        """No finding of error severity."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


class Evidence(Value):
    """Everything that was checked about one version, bound to it by digest."""

    subject: str
    """The digest of the version."""

    source_digest: str
    image_digest: str
    """The guest image that every trial ran in."""

    report: LintReport
    trials: tuple[Trial, ...]
    findings: tuple[Finding, ...] = ()
    """What the trials found."""

    replay: Replay | None = None
    """How it behaves beside the version that it is to replace; None where there is none."""

    produced_by: str
    """Program and version, such as `toolkiln 0.1.0`."""

    produced_at: AwareDatetime

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, inner: SerializerFunctionWrapHandler) -> dict[str, object]:
        # Evidence that was kept before there were replays has the same bytes, and digest, still.
        fields: dict[str, object] = inner(self)
        if self.replay is None:
            fields.pop("replay", None)
        return fields

    @property
    def digest(self) -> str:
        """Identity of this evidence, over all of it."""
        return sha256_digest(canonical_json(self.model_dump(mode="json")))

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """Static findings and those of the trials, in the order of the stages."""
        return self.report.findings + self.findings

    def trials_of(self, kind: TrialKind) -> tuple[Trial, ...]:
        """The trials of one kind, in the order they were planned."""
        return tuple(trial for trial in self.trials if trial.kind is kind)

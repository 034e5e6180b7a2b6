"""Evidence: what was checked of one version, on which digest, and what came of it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import AwareDatetime, Field, JsonValue

from policies.findings import Finding, Severity
from policies.permissions import LintLevel
from policies.value import JsonObject, Value, canonical_json, sha256_digest


class Outcome(StrEnum):
    """What came of one run. All of it is the guest's doing: failures of ours are exceptions."""

    RETURNED = "returned"
    RAISED = "raised"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    LIMIT_EXCEEDED = "limit_exceeded"
    """Stopped by a ceiling other than time and memory: output, size of the result, CPU, files."""

    CRASHED = "crashed"
    """The process ended without an answer: a signal, `os._exit`, a broken interpreter."""

    PROTOCOL_BROKEN = "protocol_broken"
    """What came back is not one well-formed answer: forged, doubled, partial, or not JSON."""


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

    produced_by: str
    """Program and version, such as `toolkiln 0.1.0`."""

    produced_at: AwareDatetime

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

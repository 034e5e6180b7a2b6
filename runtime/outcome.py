"""What `define_tool` and `call_tool` come to, in a form for programs and in words for a model."""

from __future__ import annotations

import json
from typing import Final, Self

from pydantic import JsonValue

from policies.display import escape_text
from policies.evidence import Evidence, Outcome, TrialKind
from policies.findings import Finding, Severity
from policies.value import JsonObject, Value
from sandbox.artefacts import Artefact, ArtefactInfo
from sandbox.base import ExecutionResult
from toolstore.models import Lifecycle, ToolVersion

FINDINGS_HEAD: Final = "\nFindings:\n"
"""Parts what came of a definition from what was found, in the words for a model."""

_FILES_HEAD: Final = (
    "It made these files. The user can open them, and tools that read files are given them from "
    "now on, by name:"
)


class DefinitionOutcome(Value):
    """The answer to one `define_tool`."""

    name: str
    admitted: bool
    needs_review: bool
    ref: str | None = None
    """`name@sequence`; None where nothing was stored."""

    digest: str | None = None
    """Of the version; None where no schema could be read, so that there is no version."""

    findings: tuple[Finding, ...] = ()
    reasons: tuple[str, ...] = ()
    evidence: Evidence | None = None
    duplicate_of: str | None = None
    """The tool that does this already; then nothing was stored."""

    @classmethod
    def duplicate(cls, name: str, existing: ToolVersion, how: str) -> Self:
        """The store has it, under another name."""
        return cls(
            name=name,
            admitted=False,
            needs_review=False,
            ref=str(existing.ref),
            digest=existing.digest,
            reasons=(how,),
            duplicate_of=existing.name,
        )

    @classmethod
    def refused(
        cls,
        name: str,
        findings: tuple[Finding, ...],
        reasons: tuple[str, ...] = (),
        digest: str | None = None,
        evidence: Evidence | None = None,
    ) -> Self:
        """Nothing was stored."""
        errors = sum(finding.severity is Severity.ERROR for finding in findings)
        return cls(
            name=name,
            admitted=False,
            needs_review=False,
            digest=digest,
            findings=findings,
            reasons=reasons or (f"{errors} finding(s) must be mended first",),
            evidence=evidence,
        )

    @classmethod
    def stored(cls, version: ToolVersion) -> Self:
        """The version is in the store, callable or waiting for a person."""
        return cls(
            name=version.name,
            admitted=version.state is Lifecycle.APPROVED,
            needs_review=version.state is Lifecycle.QUARANTINED,
            ref=str(version.ref),
            digest=version.digest,
            findings=version.evidence.all_findings,
            reasons=version.decision.reasons,
            evidence=version.evidence,
        )

    def to_text(self) -> str:
        """What the model reads: the state, every finding, and what to do next."""
        head = self._headline()
        parts = [head, *(f"- {reason}" for reason in self.reasons if not self.admitted)]
        text = "\n".join(parts)
        if self.findings:
            text += FINDINGS_HEAD + "\n".join(map(_finding_text, self.findings))
        return text

    def _headline(self) -> str:
        name = escape_text(self.name[:100], keep_newlines=False)
        if self.duplicate_of is not None:
            return (
                f"Not stored: the store has a tool that does this, {self.ref}. Call "
                f"{self.duplicate_of} instead; you can from the next request on. If {name} is "
                "meant to be another tool all the same, call define_tool again with the complete "
                "tool and `insist`: true. How it was found:"
            )
        if self.admitted:
            return (
                f"Admitted as {self.ref}{self._proof()}. "
                f"You can call {name} from the next request on; do not define it again."
            )
        if self.needs_review:
            return (
                f"Stored as {self.ref} and waiting for a person's review{self._proof()}; it cannot "
                "be called yet. Do not define it again; tell the user that "
                f"`toolkiln review show {name}` shows it."
            )
        return (
            f"Refused: {name} was not admitted and cannot be called. Mend everything below in one "
            "go and call define_tool again with the complete tool."
        )

    def _proof(self) -> str:
        if self.evidence is None:
            return ""
        examples = len(self.evidence.trials_of(TrialKind.EXAMPLE))
        probes = self.evidence.trials_of(TrialKind.PROPERTY)
        passed = sum(trial.passed for trial in probes)
        return f" ({examples} examples passed, {passed} of {len(probes)} generated inputs passed)"

    def to_json(self) -> JsonObject:
        """All of it as JSON."""
        return self.model_dump(mode="json")


def _finding_text(finding: Finding) -> str:
    place = f"line {finding.line}, column {finding.column}: " if finding.line else ""
    shown = f"\n    {finding.source_line.strip()}" if finding.source_line else ""
    return (
        f"- [{finding.severity} {finding.rule}] {place}{finding.message}{shown}\n"
        f"    To mend it: {finding.suggestion}"
    )


class CallOutcome(Value):
    """The answer to one call of a made tool."""

    ref: str
    content: JsonValue
    """The tool's JSON value; the error in words where `is_error`."""

    is_error: bool
    outcome: Outcome | None = None
    """None where the call never reached the sandbox."""

    execution: ExecutionResult | None = None
    artefacts: tuple[Artefact, ...] = ()
    """The files that it left behind, and those of the tools that it called; none of an error."""

    def to_text(self) -> str:
        """What the model reads: the value as JSON, marked as what it is, nothing unprintable."""
        if self.is_error:
            return str(self.content)
        value = printable_json(self.content)
        text = (
            f'{{"tool":"{self.ref}","untrusted":true,"characters":{len(value)},"result":{value}}}'
        )
        if not self.artefacts:
            return text
        return "\n".join([text, _FILES_HEAD, *(f"- {describe_file(a)}" for a in self.artefacts)])


def describe_file(file: ArtefactInfo) -> str:
    """A file in one line; its name has only characters that mean nothing elsewhere."""
    return f"{file.name} ({file.media_type}, {file.size_bytes:,} bytes, {file.digest})"


def printable_json(value: JsonValue) -> str:
    """`value` as compact JSON that shows nothing invisible and hides nothing."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if escape_text(text, keep_newlines=False) == text:
        return text
    return json.dumps(value, separators=(",", ":"))

"""What each role has to say, in statements: of evidence, of votes, of decisions, of the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from policies.decision import Approval, Decision
from policies.evidence import Evidence, Trial, TrialKind
from policies.findings import Finding, Severity
from policies.statements import (
    PARTS_OF,
    PREDICATE_TYPE,
    Check,
    Kind,
    Result,
    Statement,
    make_statement,
    named,
    value_digest,
)
from policies.value import JsonObject, sha256_digest

_EVIDENCE_MEDIA: Final = "application/vnd.toolkiln.evidence+json"


def evidence_statements(
    evidence: Evidence, evidence_digest: str, name: str, *, at: datetime
) -> tuple[tuple[Kind, Statement], ...]:
    """What the linter and the sandbox have to say.

    `evidence_digest` is of the bytes as they are kept.
    """
    found = _parts(evidence)
    statements = []
    for kind, wanted in PARTS_OF.items():
        parts: JsonObject = {
            check.value: {"result": result.value, "summary": summary}
            for check, (result, summary) in found.items()
            if check in wanted
        }
        predicate: JsonObject = {
            "evidence": {"digest": named(evidence_digest), "mediaType": _EVIDENCE_MEDIA},
            "producer": evidence.produced_by,
            "producedOn": evidence.produced_at.isoformat(),
            "signedOn": at.isoformat(),
            "parts": parts,
        }
        statements.append((kind, make_statement(kind, name, evidence.subject, predicate)))
    return tuple(statements)


def review_statement(approval: Approval, name: str) -> Statement:
    """What a person's yes says."""
    expires = approval.expires_at
    return make_statement(
        Kind.REVIEW,
        name,
        approval.digest,
        {
            "vote": "approve",
            "principal": approval.principal,
            "said": {"digest": named(value_digest(approval))},
            "reviewedOn": approval.at.isoformat(),
            "expiresOn": None if expires is None else expires.isoformat(),
            "scope": str(approval.scope),
            "shown": approval.shown,
        },
    )


def rejection_statement(  # noqa: PLR0913 - each is one fact of the no
    *, name: str, digest: str, principal: str, reason: str, at: datetime, shown: str
) -> Statement:
    """What a person's no says."""
    return make_statement(
        Kind.REVIEW,
        name,
        digest,
        {
            "vote": "reject",
            "principal": principal,
            "said": {"digest": named(sha256_digest(reason.encode()))},
            "reviewedOn": at.isoformat(),
            "expiresOn": None,
            "scope": "",
            "shown": shown,
        },
    )


def admission_statement(
    decision: Decision, *, name: str, digest: str, inputs: Sequence[tuple[Kind, str]], at: datetime
) -> Statement:
    """The verification summary: this policy, on these envelopes (kind and digest), said this."""
    return make_statement(
        Kind.ADMISSION,
        name,
        digest,
        {
            "verifier": {"id": "urn:toolkiln:admitter"},
            "timeVerified": at.isoformat(),
            "resourceUri": f"urn:toolkiln:tool:{name}",
            "policy": {"uri": "urn:toolkiln:policy", "digest": named(decision.policy_digest)},
            "inputAttestations": [
                {"uri": PREDICATE_TYPE[kind], "digest": named(envelope)}
                for kind, envelope in inputs
            ],
            "verificationResult": "PASSED" if decision.allowed else "FAILED",
            "verifiedLevels": ["TOOLKILN_ADMITTED"] if decision.allowed else [],
            "slsaVersion": "1.0",
            "urn:toolkiln:decision": {"digest": named(value_digest(decision))},
        },
    )


def checkpoint_statement(*, sequence: int, head: str, states: str, at: datetime) -> Statement:
    """Where the log stands; the subject is the hash of its last event."""
    return make_statement(
        Kind.CHECKPOINT,
        "log",
        head,
        {"sequence": sequence, "head": head, "states": states, "at": at.isoformat()},
    )


def bundle_statement(*, ref: str, version: str, document: str, at: datetime) -> Statement:
    """What the exporter of a version says: `document` is the digest of the file without this."""
    return make_statement(
        Kind.BUNDLE,
        ref,
        document,
        {"ref": ref, "version": {"digest": named(version)}, "sealedOn": at.isoformat()},
    )


def _parts(evidence: Evidence) -> dict[Check, tuple[Result, JsonObject]]:
    """What came of each kind of check, with numbers for a reader."""
    examples = (*evidence.trials_of(TrialKind.EXAMPLE), *evidence.trials_of(TrialKind.REPEAT))
    static = evidence.report.findings
    lint, schema = (
        [finding for finding in static if (str(finding.stage) == "schema") is of_schema]
        for of_schema in (False, True)
    )
    parts: dict[Check, tuple[Result, JsonObject]] = {
        Check.LINT: (
            _result_of(lint),
            {"level": evidence.report.level.value, "findings": len(lint)},
        ),
        Check.SCHEMA: (_result_of(schema), {"findings": len(schema)}),
        Check.EXAMPLES: _trials(examples, evidence, failure=Result.FAILED),
    }
    generated = evidence.trials_of(TrialKind.PROPERTY)
    if generated:
        parts[Check.PROPERTIES] = _trials(generated, evidence, failure=Result.WARNED)
    if evidence.replay is not None:
        runs, differing = len(evidence.replay.runs), len(evidence.replay.differences)
        parts[Check.REPLAY] = (
            Result.WARNED if differing or not runs else Result.PASSED,
            {
                "predecessor": evidence.replay.predecessor,
                "runs": runs,
                "differences": differing,
            },
        )
    return parts


def _result_of(findings: Iterable[Finding]) -> Result:
    severities = {finding.severity for finding in findings}
    if Severity.ERROR in severities:
        return Result.FAILED
    return Result.WARNED if severities else Result.PASSED


def _trials(
    trials: Sequence[Trial], evidence: Evidence, *, failure: Result
) -> tuple[Result, JsonObject]:
    failed = sum(not trial.passed for trial in trials)
    return (
        failure if failed else Result.PASSED,
        {"image": evidence.image_digest, "runs": len(trials), "failed": failed},
    )

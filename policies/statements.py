"""What is signed about a version: in-toto Statements, and who may make which.

The shapes: in-toto Statement v1 (github.com/in-toto/attestation), of which the subject is the
version's digest, and for the admission the SLSA verification summary v1 (slsa.dev). Evidence stays
where it is; a statement names its bytes by digest, so that a signature covers all of it and is
small. Everything here is pure; signatures are made and checked in `toolstore.attest`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from policies.decision import Approval, Decision
from policies.evidence import Evidence, Trial, TrialKind
from policies.findings import Finding, Severity
from policies.value import JsonObject, Value, canonical_json, sha256_digest

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
"""What a DSSE envelope says of a payload that is a statement."""

VSA_TYPE: Final = "https://slsa.dev/verification_summary/v1"
_EVIDENCE_MEDIA: Final = "application/vnd.toolkiln.evidence+json"


class Role(StrEnum):
    """Who vouches. One key a role: what the key of one says, that of another may not."""

    LINTER = "linter"
    SANDBOX = "sandbox"
    REVIEWER = "reviewer"
    ADMITTER = "admitter"


class Check(StrEnum):
    """What is vouched for: the parts of evidence, and what people say of it."""

    LINT = "lint"
    SCHEMA = "schema"
    EXAMPLES = "examples"
    """The author's examples and their repetitions, each in a container of its own."""

    PROPERTIES = "properties"
    """Generated arguments."""

    REPLAY = "replay"
    """What the version before was asked, asked again."""

    REVIEW = "review"


class Kind(StrEnum):
    """The kinds of statements."""

    ANALYSIS = "analysis"
    """What the linter found in the text: `lint` and `schema`."""

    TRIALS = "trials"
    """What the sandbox saw: `examples`, `properties` and `replay`."""

    REVIEW = "review"
    """What one person said."""

    ADMISSION = "admission"
    """What the policy said, and on which statements that rests."""

    CHECKPOINT = "checkpoint"
    """Where the log stood; about a store, not about a version."""

    BUNDLE = "bundle"
    """What was exported; about the bytes of a file, not about a version."""


ROLE_OF: Final[Mapping[Kind, Role]] = MappingProxyType(
    {
        Kind.ANALYSIS: Role.LINTER,
        Kind.TRIALS: Role.SANDBOX,
        Kind.REVIEW: Role.REVIEWER,
        Kind.ADMISSION: Role.ADMITTER,
        Kind.CHECKPOINT: Role.ADMITTER,
        Kind.BUNDLE: Role.ADMITTER,
    }
)
"""Whose signature counts on what."""

PARTS_OF: Final[Mapping[Kind, frozenset[Check]]] = MappingProxyType(
    {
        Kind.ANALYSIS: frozenset({Check.LINT, Check.SCHEMA}),
        Kind.TRIALS: frozenset({Check.EXAMPLES, Check.PROPERTIES, Check.REPLAY}),
    }
)
"""What a statement about evidence may speak of."""

PREDICATE_TYPE: Final[Mapping[Kind, str]] = MappingProxyType(
    {kind: f"urn:toolkiln:{kind.value}:v1" for kind in Kind if kind is not Kind.ADMISSION}
    | {Kind.ADMISSION: VSA_TYPE}
)
"""The type of predicate that each has; also what tells them apart."""

_KIND_OF: Final = {predicate: kind for kind, predicate in PREDICATE_TYPE.items()}


class Result(StrEnum):
    """What came of a check, in the words of in-toto's test results."""

    PASSED = "PASSED"
    WARNED = "WARNED"
    FAILED = "FAILED"


class Wire(Value):
    """A part of a statement: fields that a later program adds are kept out of the way."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Subject(Wire):
    """What a statement is about."""

    name: str
    digest: dict[str, str]


class Statement(Wire):
    """An in-toto Statement, as signed."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(STATEMENT_TYPE, alias="_type")
    subject: tuple[Subject, ...] = Field(min_length=1, max_length=1)
    predicate_type: str = Field(alias="predicateType")
    predicate: JsonObject

    @property
    def kind(self) -> Kind | None:
        """What it says; None for a type of predicate that is not ours."""
        return _KIND_OF.get(self.predicate_type)

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the subject; empty where the statement gives none."""
        found = self.subject[0].digest.get("sha256")
        return "" if found is None else f"sha256:{found}"

    def to_bytes(self) -> bytes:
        """The bytes that are signed."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


class ResourceDigest(Wire):
    """A thing named by the digest of its bytes."""

    digest: dict[str, str]

    @property
    def sha256(self) -> str:
        """`sha256:<hex>`; empty where there is none."""
        found = self.digest.get("sha256")
        return "" if found is None else f"sha256:{found}"


class Part(Wire):
    """What came of one kind of check."""

    result: Result
    summary: JsonObject = Field(default={})
    """Numbers for a reader; the evidence is what counts."""


class EvidencePredicate(Wire):
    """What one role found, each kind of check a part of it."""

    evidence: ResourceDigest
    """The evidence as the store keeps it: canonical JSON."""

    producer: str
    """Program and version."""

    produced_at: AwareDatetime = Field(alias="producedOn")
    signed_at: AwareDatetime = Field(alias="signedOn")
    parts: dict[Check, Part]


class ReviewPredicate(Wire):
    """What a person said about exactly what was shown."""

    vote: Literal["approve", "reject"]
    principal: str
    said: ResourceDigest
    """The approval as the log keeps it; of a no, the reason."""

    reviewed_at: AwareDatetime = Field(alias="reviewedOn")
    expires_at: AwareDatetime | None = Field(default=None, alias="expiresOn")
    scope: str = ""
    shown: str = ""
    """Digest of what was on the screen, where the reviewer's program says it."""


class Admission(Wire):
    """What a SLSA verification summary of ours says."""

    verified_at: AwareDatetime = Field(alias="timeVerified")
    policy: ResourceDigest
    inputs: tuple[ResourceDigest, ...] = Field(alias="inputAttestations")
    result: Literal["PASSED", "FAILED"] = Field(alias="verificationResult")
    decision: ResourceDigest = Field(alias="urn:toolkiln:decision")
    """The decision as the log keeps it."""


class CheckpointPredicate(Wire):
    """Where the log stood, and in which state every version was."""

    sequence: int = Field(ge=0)
    head: str
    """Hash of the last event."""

    states: str
    """Root of the map of all versions; see `toolstore.attest.seals`."""

    at: AwareDatetime


class BundlePredicate(Wire):
    """That a file is what was exported; the subject is all of it but this statement."""

    ref: str
    version: ResourceDigest
    sealed_at: AwareDatetime = Field(alias="sealedOn")


def named(digest: str) -> JsonObject:
    """`digest` (`sha256:<hex>`) as in-toto writes digests."""
    return {"sha256": digest.removeprefix("sha256:")}


def make_statement(kind: Kind, name: str, digest: str, predicate: JsonObject) -> Statement:
    """A statement about the version `digest`."""
    return Statement(
        subject=(Subject(name=name, digest={"sha256": digest.removeprefix("sha256:")}),),
        predicate_type=PREDICATE_TYPE[kind],
        predicate=predicate,
    )


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


def checks_of(evidence: Evidence) -> frozenset[Check]:
    """The kinds of checks that this evidence holds, each of which must be vouched for."""
    found = {Check.LINT, Check.SCHEMA, Check.EXAMPLES}
    kinds = {trial.kind for trial in evidence.trials}
    if TrialKind.PROPERTY in kinds:
        found.add(Check.PROPERTIES)
    if evidence.replay is not None:
        found.add(Check.REPLAY)
    return frozenset(found)


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


def value_digest(value: Value) -> str:
    """Digest of a value that the log holds.

    Over what differs from the defaults only, so that a field which a later program adds to the
    type does not change it for what was written before.
    """
    return sha256_digest(canonical_json(value.model_dump(mode="json", exclude_defaults=True)))


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

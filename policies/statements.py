"""The shapes of what is signed about a version, and who may say which: in-toto Statements.

The shapes: in-toto Statement v1 (github.com/in-toto/attestation), of which the subject is the
version's digest, and for the admission the SLSA verification summary v1 (slsa.dev). Evidence stays
where it is; a statement names its bytes by digest, so that a signature covers all of it and is
small. They are made in `policies.vouching`, signed and checked in `toolstore.attest`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from policies.evidence import Evidence, TrialKind
from policies.value import JsonObject, Value, canonical_json, sha256_digest

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
"""What a DSSE envelope says of a payload that is a statement."""

VSA_TYPE: Final = "https://slsa.dev/verification_summary/v1"


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


def checks_of(evidence: Evidence) -> frozenset[Check]:
    """The kinds of checks that this evidence holds, each of which must be vouched for."""
    found = {Check.LINT, Check.SCHEMA, Check.EXAMPLES}
    kinds = {trial.kind for trial in evidence.trials}
    if TrialKind.PROPERTY in kinds:
        found.add(Check.PROPERTIES)
    if evidence.replay is not None:
        found.add(Check.REPLAY)
    return frozenset(found)


def value_digest(value: Value) -> str:
    """Digest of a value that the log holds.

    Over what differs from the defaults only, so that a field which a later program adds to the
    type does not change it for what was written before.
    """
    return sha256_digest(canonical_json(value.model_dump(mode="json", exclude_defaults=True)))

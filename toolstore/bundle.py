"""The file that a tool travels in: one version with everything that was said about it.

Format 2 holds source, schema, examples, lock, evidence, all that the log has about it (how it came,
what people and the policy said), the policy's text, every signed statement, the public keys that
they were signed with, and a seal: a statement about all other bytes of the file. Format 1 had no
signatures; it is still read.

A bundle proves that it is what was exported and who vouched for it, not that they were honest:
whoever takes it in runs the whole pipeline again, and keeps the evidence of others as what it is.
`toolstore.bundlecheck` says what holds of one.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from policies.decision import Approval, Decision
from policies.evidence import Evidence
from policies.permissions import LintLevel
from policies.schema import ToolSchema
from policies.source import ToolSource
from policies.value import JsonObject, Value, canonical_json, sha256_digest
from toolstore.attest.trust import TrustedKey
from toolstore.errors import BundleError
from toolstore.events import EventDetail
from toolstore.models import Event, Provenance, ToolVersion, version_digest

FORMAT_1: Final = "toolkiln.tool-bundle/1"
FORMAT: Final = "toolkiln.tool-bundle/2"
MAX_BYTES: Final = 16 * 1024 * 1024
MAX_PARTS: Final = 250_000
"""Lists, objects and their members; what a parser makes of one takes about a hundred bytes."""

MAX_ENVELOPES: Final = 1_000
MAX_KEYS: Final = 1_000
MAX_EVENTS: Final = 10_000


class EnvelopeSignature(Value):
    """One signature of an envelope."""

    keyid: str = Field(max_length=64)
    sig: str = Field(max_length=16_384)


class SealedStatement(Value):
    """A DSSE envelope (github.com/secure-systems-lab/dsse) with one signature, and no more."""

    payload: str = Field(max_length=1 << 20)
    payloadType: str = Field(max_length=100)  # noqa: N815 - the name in the envelope
    signatures: tuple[EnvelopeSignature, ...] = Field(min_length=1, max_length=1)

    @property
    def content(self) -> bytes:
        """The bytes that a store keeps of it, and that other statements name by their digest."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def is_canonical(self) -> bool:
        """Whether its Base64 is the one spelling of its bytes."""
        return all(_is_base64(text) for text in (self.payload, self.signatures[0].sig))


class Bundle(Value):
    """Format 1: a version with evidence that nobody signed."""

    format: Literal["toolkiln.tool-bundle/1"] = FORMAT_1
    digest: str
    sequence: int = Field(ge=1)
    """In the store that it came from."""

    source: ToolSource
    source_schema: ToolSchema
    image_digest: str
    level: LintLevel
    provenance: Provenance
    evidence: Evidence
    decision: Decision
    approvals: tuple[Approval, ...]

    @property
    def ref(self) -> str:
        """`name@sequence`, as it was called where it came from."""
        return f"{self.source.name}@{self.sequence}"

    def to_json(self) -> JsonObject:
        """The bundle as JSON, in the form that it is written in."""
        return {**self.model_dump(mode="json"), "source": self.source.to_json()}


class SignedBundle(Value):
    """Format 2: a version outside of a store; nothing about it is verified yet."""

    format: Literal["toolkiln.tool-bundle/2"] = FORMAT
    digest: str
    source: ToolSource
    source_schema: ToolSchema
    image_digest: str
    lock: JsonObject | None
    """The wheels of its packages, by name, version and hash; None where it has none, or the host
    that exported it did not make its image."""

    evidence_document: JsonObject = Field(alias="evidence")
    """As it was signed: a program that knows more fields must not add them."""

    events: tuple[Event, ...] = Field(min_length=1, max_length=MAX_EVENTS)
    """All that the log has about it: how it came, what people and the policy said, in order."""

    policy: str | None
    """The policy's text whose digest the last decision names: canonical JSON."""

    envelopes: tuple[SealedStatement, ...] = Field(max_length=MAX_ENVELOPES)
    """Every signed statement about the version."""

    keys: tuple[TrustedKey, ...] = Field(max_length=MAX_KEYS)
    """The public keys that they were signed with, as the exporter knows them."""

    seal: SealedStatement | None
    """The exporter's statement about all that stands before it."""

    @property
    def ref(self) -> str:
        """`name@sequence`, as it was called where it came from."""
        birth = self.details[0].birth
        return f"{self.source.name}@{birth.sequence if birth else '?'}"

    @property
    def details(self) -> tuple[EventDetail, ...]:
        """What the events carry.

        Raises:
            ValidationError: one is none that this program knows.
        """
        return tuple(EventDetail.model_validate_json(event.detail) for event in self.events)

    @property
    def evidence(self) -> Evidence:
        """What was checked.

        Raises:
            ValidationError: the document is no evidence.
        """
        return Evidence.model_validate(self.evidence_document)

    @property
    def evidence_digest(self) -> str:
        """Identity of the evidence, as statements and events name it."""
        return sha256_digest(canonical_json(self.evidence_document))


AnyBundle: TypeAlias = Bundle | SignedBundle
_ANY: Final = TypeAdapter[AnyBundle](Annotated[AnyBundle, Field(discriminator="format")])


def export_bundle(version: ToolVersion) -> bytes:
    """The one byte form of `version` outside of a store: canonical JSON and a line's end."""
    bundle = Bundle(
        digest=version.digest,
        sequence=version.sequence,
        source=version.source,
        source_schema=version.source_schema,
        image_digest=version.image_digest,
        level=version.level,
        provenance=version.provenance,
        evidence=version.evidence,
        decision=version.decision,
        approvals=version.approvals,
    )
    return canonical_json(bundle.to_json()) + b"\n"


def bundle_document(  # noqa: PLR0913 - each is one part of the file
    version: ToolVersion,
    *,
    evidence: JsonObject,
    events: Sequence[Event],
    policy: str | None,
    lock: JsonObject | None,
    envelopes: Sequence[bytes],
    keys: Sequence[TrustedKey],
) -> JsonObject:
    """A bundle of format 2 without its seal, as the JSON that a seal is about."""
    log: list[JsonValue] = [each.model_dump(mode="json") for each in events]
    sealed: list[JsonValue] = [json.loads(each) for each in envelopes]
    trusted: list[JsonValue] = [each.model_dump(mode="json") for each in keys]
    return {
        "format": FORMAT,
        "digest": version.digest,
        "source": version.source.to_json(),
        "source_schema": version.source_schema.model_dump(mode="json"),
        "image_digest": version.image_digest,
        "lock": lock,
        "evidence": evidence,
        "events": log,
        "policy": policy,
        "envelopes": sealed,
        "keys": trusted,
    }


def document_digest(document: JsonObject) -> str:
    """What the seal of a bundle is about: all of it but the seal."""
    rest = {name: part for name, part in document.items() if name != "seal"}
    return sha256_digest(canonical_json(rest))


def write_bundle(document: JsonObject, seal: bytes) -> bytes:
    """The one byte form of a bundle: canonical JSON, the seal last, and a line's end."""
    return canonical_json({**document, "seal": json.loads(seal)}) + b"\n"


def parse_bundle(content: bytes) -> tuple[AnyBundle, JsonObject]:
    """The bundle in `content` and its document; only its form is checked, to the last byte.

    Bounded: in bytes, in parts, and in depth by the parser.

    Raises:
        BundleError: it is none.
    """
    if len(content) > MAX_BYTES:
        raise BundleError(f"it has {len(content)} bytes, and {MAX_BYTES} are the most")
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_PARTS:
        raise BundleError(f"it has more than {MAX_PARTS} parts")
    body = content.removesuffix(b"\n")
    try:
        document: JsonValue = json.loads(body)
        # One byte form: what a lenient parser would pass over (a key twice, NaN, spaces) is not it.
        if canonical_json(document) != body:
            raise BundleError("it is not in the form that `export` writes")
        if not isinstance(document, dict):
            raise BundleError("it is no JSON object")
        bundle = _ANY.validate_python(document)
        if isinstance(bundle, SignedBundle) and not _seal_is_as_written(bundle, document):
            raise BundleError("its seal is not in the form and at the place that `export` writes")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise BundleError(f"{where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"it is no JSON document ({error})") from error
    return bundle, document


def _seal_is_as_written(bundle: SignedBundle, document: JsonObject) -> bool:
    """Whether the one part that the seal is not about has the one form of it."""
    seal = None if bundle.seal is None else json.loads(bundle.seal.content)
    return canonical_json(document) == canonical_json(
        {**{name: part for name, part in document.items() if name != "seal"}, "seal": seal}
    )


def read_bundle(content: bytes) -> AnyBundle:
    """The bundle that `content` is: its version and its evidence belong together.

    Raises:
        BundleError: it is none, or not what its digest says.
    """
    bundle, _document = parse_bundle(content)
    check_content(bundle)
    return bundle


def check_content(bundle: AnyBundle) -> Evidence:
    """Its evidence, if digest, source, schema, image, evidence and approvals are of one version.

    Raises:
        BundleError: they are not.
    """
    digest = version_digest(bundle.source, bundle.source_schema, bundle.image_digest)
    if digest != bundle.digest:
        raise BundleError(f"it says that it is {bundle.digest}, and its content is {digest}")
    try:
        evidence = bundle.evidence
    except ValidationError as error:
        raise BundleError("its evidence is none that this program can read") from error
    if evidence.subject != digest:
        raise BundleError(f"its evidence is about {evidence.subject}, and it is {digest}")
    about = (evidence.source_digest, evidence.image_digest)
    if about != (bundle.source.digest, bundle.image_digest):
        raise BundleError("its evidence was gathered on another source or in another image")
    approvals = bundle.approvals if isinstance(bundle, Bundle) else ()
    if any(approval.digest != digest for approval in approvals):
        raise BundleError("an approval in it is of another version")
    return evidence


def _is_base64(text: str) -> bool:
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode() == text
    except (ValueError, binascii.Error):
        return False

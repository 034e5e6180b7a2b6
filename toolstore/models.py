"""The values of the store: references, versions, states, events."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, Self

from pydantic import AwareDatetime, Field, model_validator

from policies.decision import Approval, Channel, Decision
from policies.evidence import Evidence
from policies.permissions import LintLevel
from policies.schema import ToolSchema
from policies.source import ToolSource
from policies.value import Value, canonical_json, sha256_digest
from policies.waivers import Waiver

_REF = re.compile(
    r"(?P<name>[^@\s]+)(?:@(?:(?P<sequence>[1-9]\d{0,8})|(?P<digest>sha256:[0-9a-f]{6,64})))?"
)


class Lifecycle(StrEnum):
    """Where a version stands."""

    DRAFT = "draft"
    QUARANTINED = "quarantined"
    """Proven and waiting for a person; callable by nobody."""

    APPROVED = "approved"
    """Callable by those whom its channel names; the stable one is what the name means."""

    DEPRECATED = "deprecated"
    """Replaced or retired; callable by its exact reference, not found by search."""

    ARCHIVED = "archived"
    """Retired for good unless a person goes back to it: callable by nobody, no fault of it."""

    REVOKED = "revoked"
    """Rejected or taken back: refused at load and at call; the bytes are kept for audit."""


class Origin(StrEnum):
    """Who wrote a tool."""

    HUMAN = "human"
    AGENT = "agent"
    IMPORT = "import"


class ToolRef(Value):
    """`name`, `name@3` or `name@sha256:…` (a unique beginning of the digest is enough)."""

    name: str
    sequence: int | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference.

        Raises:
            ValueError: `text` is none of the three forms.
        """
        match = _REF.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is no reference to a tool; write NAME, NAME@3 or NAME@sha256:…"
            )
        sequence = match["sequence"]
        return cls(
            name=match["name"],
            sequence=int(sequence) if sequence else None,
            digest=match["digest"],
        )

    def __str__(self) -> str:
        if self.sequence is not None:
            return f"{self.name}@{self.sequence}"
        return self.name if self.digest is None else f"{self.name}@{self.digest}"


class Place(Value):
    """Where an approved version stands: for whom it is callable.

    Of a name at most one version is stable and one is the canary; beside them each session may
    have one of its own.
    """

    channel: Channel = Channel.STABLE
    weight: float | None = Field(default=None, gt=0.0, le=1.0)
    """Of a canary: which share of the sessions gets it."""

    session: str | None = None
    """Of a version for one session: which."""

    @model_validator(mode="after")
    def _says_what_its_channel_needs(self) -> Self:
        if (self.weight is not None) != (self.channel is Channel.CANARY):
            raise ValueError("a canary has a weight, and nothing else has one")
        if (self.session is not None) != (self.channel is Channel.SESSION):
            raise ValueError("a session's version names the session, and nothing else does")
        return self

    def __str__(self) -> str:
        if self.channel is Channel.CANARY:
            return f"canary at {self.weight:g}"
        return self.channel if self.session is None else f"session {self.session}"


STABLE: Final = Place()
"""For everybody."""


class Pin(Value):
    """A session that stays with one version of a name, whatever else the name comes to mean."""

    session: str
    name: str
    digest: str


class Quota(Value):
    """How many versions may be stored; checked in the transaction that stores one more."""

    versions_per_session: int = Field(ge=1)
    versions_per_author: int = Field(ge=1)


class Provenance(Value):
    """Where a version came from."""

    author: str
    """The principal answerable for it: the person or account that the session ran for."""

    origin: Origin
    session: str | None = None
    model: str | None = None
    created_at: AwareDatetime


class Submission(Value):
    """A proven version on its way in, with everything that was said about it.

    The digest covers what decides how it runs: the source (with examples and permissions), the
    schema, the lock of its packages (none yet) and the guest image.
    """

    source: ToolSource
    source_schema: ToolSchema
    image_digest: str
    level: LintLevel
    evidence: Evidence
    decision: Decision
    provenance: Provenance

    @property
    def digest(self) -> str:
        """Identity of the version."""
        return version_digest(self.source, self.source_schema, self.image_digest)


def version_digest(source: ToolSource, source_schema: ToolSchema, image_digest: str) -> str:
    """`sha256:<hex>` over canonical JSON of source, schema, lock and image."""
    return sha256_digest(
        canonical_json(
            {
                "source": source.to_json(),
                "schema": source_schema.model_dump(mode="json"),
                "lock": None,
                "image": image_digest,
            }
        )
    )


class ToolVersion(Value):
    """One immutable version and its present state, as read and verified from the store."""

    digest: str
    sequence: int = Field(ge=1)
    state: Lifecycle
    state_reason: str
    """Why it is in that state: of the last event."""

    source: ToolSource
    source_schema: ToolSchema
    image_digest: str
    level: LintLevel
    parent: str | None
    """Digest of the version that was current when this one came."""

    provenance: Provenance
    evidence: Evidence
    decision: Decision
    """The latest one."""

    approvals: tuple[Approval, ...] = ()
    """Those that nobody took back; `Approval.counts` says which have not ended."""

    place: Place | None = None
    """For whom it is callable; None where it is not approved."""

    waivers: tuple[Waiver, ...] = ()
    """All that were ever given, oldest first; `policies.waivers.in_force` says which count."""

    @property
    def name(self) -> str:
        """Name of the tool."""
        return self.source.name

    @property
    def ref(self) -> ToolRef:
        """`name@sequence`."""
        return ToolRef(name=self.source.name, sequence=self.sequence)


class ToolSummary(Value):
    """One line about one version, cheap to read for thousands."""

    name: str
    sequence: int
    digest: str
    state: Lifecycle
    level: LintLevel
    description: str
    origin: Origin
    author: str
    created_at: AwareDatetime
    place: Place | None = None
    """For whom it is callable; None where it is not approved."""


class Event(Value):
    """One entry of the append-only log; `hash` covers the entry and the hash before it."""

    sequence: int
    previous_hash: str
    hash: str
    at: AwareDatetime
    actor: str
    type: str
    digest: str
    """Of the version."""

    name: str
    from_state: Lifecycle | None
    to_state: Lifecycle
    policy_digest: str | None
    reason: str
    detail: str
    """Canonical JSON: the decision, the approval, the evidence digest."""


class Damage(Value):
    """One thing that `verify` found wrong."""

    where: str
    problem: str


class VerifyReport(Value):
    """What of the store can be trusted."""

    versions: int
    events: int
    blobs: int
    statements: int = 0
    """Signed statements about versions."""

    signed_to: int | None = None
    """The last event that a signed checkpoint vouches for; None where nobody has the keys."""

    damage: tuple[Damage, ...] = ()
    trusted: tuple[str, ...] = ()
    """References (`name@3`) of the versions that are whole, with a log unbroken since they came."""

    @property
    def intact(self) -> bool:
        """Nothing is damaged."""
        return not self.damage

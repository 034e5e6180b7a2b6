"""From stored rows and bytes to a version, or to the refusal of it: pure, so each attack is a test.

A row says nothing that is believed: the digest covers source, schema and image; the first event
covers sequence, parent, level and provenance; the last event covers the state; the evidence names
the digest that it is about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, TypeVar

from pydantic import ValidationError

from policies.decision import Approval, Decision
from policies.evidence import Evidence
from policies.people import is_same_person
from policies.schema import ToolSchema
from policies.source import ToolSource
from policies.value import Value, sha256_digest
from toolstore.attest.chain import Chain, Kept
from toolstore.errors import StoreDamagedError
from toolstore.events import Birth, EventDetail, EventType, entry_problem, place_after, time_text
from toolstore.models import Event, Lifecycle, Place, ToolVersion, version_digest

ValueT = TypeVar("ValueT", bound=Value)

_NUMBERS: Final = frozenset({"tool", "sequence", "state_event"})
_KINDS_SEEN: Final = set[tuple[type, ...]]()
"""The types of the columns of rows that were as they must be: a handful."""

_BESIDE: Final = frozenset(
    {
        EventType.ATTESTED,
        EventType.IMPORTED,
        EventType.PINNED,
        EventType.PROVEN,
        EventType.UNPINNED,
    }
)
"""Types of events that give no reason for the state that a version is in."""


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version as the tables have it; nothing of it is verified yet."""

    digest: str
    name: str
    tool: int
    sequence: int
    parent: str | None
    source: str
    source_schema: str
    image_digest: str
    level: str
    description: str
    author: str
    origin: str
    created_at: str
    state: str | None
    """None: the derived state is missing."""

    state_event: int | None
    channel: str | None = None
    weight: float | None = None
    place_session: str | None = None

    @classmethod
    def read(cls, fields: Mapping[Any, Any]) -> Self:
        """The row as the database gives it.

        SQLite lets values of any type into any column. One of another type becomes one that
        equals nothing which was put in, so that it is damage here and no error further on.
        """
        kinds = tuple(map(type, fields.values()))
        if kinds not in _KINDS_SEEN:
            sound = {name: _of_its_type(name, value) for name, value in fields.items()}
            if kinds != tuple(map(type, sound.values())):
                return cls(**sound)
            _KINDS_SEEN.add(kinds)
        return cls(**fields)

    @property
    def place(self) -> Place | None:
        """For whom it is callable, as the tables have it.

        Raises:
            StoreDamagedError: no place is like that.
        """
        if self.channel is None:
            return None
        fields = {"channel": self.channel, "weight": self.weight, "session": self.place_session}
        try:
            return Place.model_validate(fields)
        except ValidationError as error:
            raise StoreDamagedError(f"{self.ref} has a channel that there is not") from error

    @property
    def ref(self) -> str:
        """`name@sequence`."""
        return f"{self.name}@{self.sequence}"


def _of_its_type(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _NUMBERS:
        return value if isinstance(value, int) else -1
    if name == "weight":
        return value if isinstance(value, float) else math.nan
    return value if isinstance(value, str) else repr(value)


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that the store has about one version."""

    row: VersionRow
    events: tuple[Event, ...]
    """Of this version, in the order of the log."""

    details: tuple[EventDetail, ...]
    evidence_of: Mapping[str, str]
    """Which version the tables say that a piece of evidence is about."""

    blobs: Mapping[str, bytes]
    attested: Vouching | None = None
    """Who verifies the statements about it; None in a store without keys."""


class Vouching(Protocol):
    """The signed statements about versions."""

    def envelopes(self, digest: str) -> Mapping[str, bytes]:
        """Those about one version, as kept."""
        ...

    def check(self, kept: Kept) -> Chain:
        """Verify them, and that the log has no other events of the version."""
        ...


def details_of(row: VersionRow, events: tuple[Event, ...]) -> tuple[EventDetail, ...]:
    """What the events of a version carry.

    Raises:
        StoreDamagedError: an entry is not what its hash says, or not readable.
    """
    if not events:
        raise _damaged(row, "the log has no event of it")
    for event in events:
        problem = entry_problem(event)
        if problem is not None:
            raise _damaged(row, f"event {event.sequence}: {problem}")
    return tuple(_parse(row, EventDetail, event.detail.encode()) for event in events)


def evidence_digest(row: VersionRow, details: tuple[EventDetail, ...]) -> str:
    """Digest of the evidence that the version stands on: of the latest event that names any.

    Raises:
        StoreDamagedError: no event names any.
    """
    named = [detail.evidence for detail in details if detail.evidence is not None]
    if not named:
        raise _damaged(row, "no event of it names its evidence")
    return named[-1]


def read_content(row: VersionRow, blobs: Mapping[str, bytes]) -> tuple[ToolSource, ToolSchema]:
    """Source and schema of a version, which its digest covers.

    Raises:
        StoreDamagedError: they are missing, or not what the digest says.
    """
    source = _parse(row, ToolSource, _blob(row, blobs, row.source))
    schema = _parse(row, ToolSchema, _blob(row, blobs, row.source_schema))
    if version_digest(source, schema, row.image_digest) != row.digest:
        raise _damaged(row, "its source, schema and image do not give its digest")
    return source, schema


def assemble(record: Record) -> ToolVersion:
    """The version, with every byte, link and state verified.

    Raises:
        StoreDamagedError: anything about it is not what was put in.
    """
    row = record.row
    source, schema = read_content(row, record.blobs)
    birth = _check_birth(record, source)
    evidence = _evidence(record)
    decisions: list[Decision] = [d.decision for d in record.details if d.decision is not None]
    if not decisions:
        raise _damaged(row, "no event of it carries a decision")
    state = _check_state(record)
    _check_statements(record, evidence)
    return ToolVersion.model_construct(
        digest=row.digest,
        sequence=row.sequence,
        state=state,
        state_reason=_state_reason(record.events),
        source=source,
        source_schema=schema,
        image_digest=row.image_digest,
        level=birth.level,
        parent=row.parent,
        provenance=birth.provenance,
        evidence=evidence,
        decision=decisions[-1],
        approvals=_approvals(record),
        place=_check_place(record),
        waivers=tuple(d.waiver for d in record.details if d.waiver is not None),
    )


def _check_birth(record: Record, source: ToolSource) -> Birth:
    row, birth = record.row, record.details[0].birth
    if birth is None:
        raise _damaged(row, "its first event does not say how it came")
    provenance = birth.provenance
    said = (
        (source.name, source.description, birth.sequence, birth.parent, birth.level.value),
        (provenance.author, provenance.origin.value, time_text(provenance.created_at)),
    )
    kept = (
        (row.name, row.description, row.sequence, row.parent, row.level),
        (row.author, row.origin, row.created_at),
    )
    if said != kept or record.events[0].name != row.name:
        raise _damaged(row, "name, number, parent, level, description or origin were changed")
    return birth


def _check_state(record: Record) -> Lifecycle:
    row, last = record.row, record.events[-1]
    before: Lifecycle | None = None
    for event in record.events:
        if event.digest != row.digest or event.from_state is not before:
            raise _damaged(row, f"an event of it is missing before event {event.sequence}")
        before = event.to_state
    if row.state != last.to_state or row.state_event != last.sequence:
        raise _damaged(
            row,
            f"its state is kept as {row.state} (event {row.state_event}), "
            f"and the log says {last.to_state.value} (event {last.sequence})",
        )
    return last.to_state


def _check_place(record: Record) -> Place | None:
    row = record.row
    place: Place | None = None
    for event, detail in zip(record.events, record.details, strict=True):
        place = place_after(EventType(event.type), detail, event.to_state, place)
    if row.place != place:
        raise _damaged(row, f"its channel is kept as {row.place}, and the log says {place}")
    return place


def _evidence(record: Record) -> Evidence:
    row = record.row
    digest = evidence_digest(row, record.details)
    evidence = _parse(row, Evidence, _blob(row, record.blobs, digest))
    if evidence.subject != row.digest or record.evidence_of.get(digest) != row.digest:
        raise _damaged(row, "its evidence is about another version")
    return evidence


def kept(record: Record, envelopes: Mapping[str, bytes]) -> Kept:
    """What the chain of statements is about.

    Raises:
        StoreDamagedError: its evidence is not what its digest says.
    """
    return Kept(
        ref=record.row.ref,
        digest=record.row.digest,
        events=record.events,
        details=record.details,
        evidence=_evidence(record),
        evidence_digest=evidence_digest(record.row, record.details),
        envelopes=envelopes,
    )


def _check_statements(record: Record, evidence: Evidence) -> None:
    """Who vouches for all of this; nothing to see in a store without keys."""
    if record.attested is None:
        return
    row = record.row
    record.attested.check(
        Kept(
            ref=row.ref,
            digest=row.digest,
            events=record.events,
            details=record.details,
            evidence=evidence,
            evidence_digest=evidence_digest(row, record.details),
            envelopes=record.attested.envelopes(row.digest),
        )
    )


def _state_reason(events: tuple[Event, ...]) -> str:
    """Why it is where it is: what was said last of that, and not of things beside it."""
    return next(each.reason for each in reversed(events) if each.type not in _BESIDE)


def _approvals(record: Record) -> tuple[Approval, ...]:
    """The yeses that stand: who asks for a change afterwards takes theirs back."""
    standing: list[Approval] = []
    for event, detail in zip(record.events, record.details, strict=True):
        if event.type == EventType.CHANGE_ASKED:
            standing = [a for a in standing if not is_same_person(a.principal, event.actor)]
        if detail.approval is not None:
            standing.append(detail.approval)
    if any(approval.digest != record.row.digest for approval in standing):
        raise _damaged(record.row, "an approval of it is about another version")
    return tuple(standing)


def _blob(row: VersionRow, blobs: Mapping[str, bytes], digest: str) -> bytes:
    content = blobs.get(digest)
    if content is None:
        raise _damaged(row, f"the bytes of {digest} are missing")
    if sha256_digest(content) != digest:
        raise _damaged(row, f"the bytes kept under {digest} are not what it says")
    return content


def _parse(row: VersionRow, kind: type[ValueT], content: bytes) -> ValueT:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise _damaged(row, f"what is kept of it is no {kind.__name__}") from error


def _damaged(row: VersionRow, problem: str) -> StoreDamagedError:
    return StoreDamagedError(f"{row.ref} ({row.digest}): {problem}")

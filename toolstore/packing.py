"""A version on its way out of the store: everything about it, sealed into one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, select

from policies.statements import ROLE_OF, Kind
from policies.value import JsonObject
from policies.vouching import bundle_statement
from toolstore import logbook, reading, tables
from toolstore.assemble import VersionRow, details_of, evidence_digest
from toolstore.attest.guard import Guard, guard_of
from toolstore.attest.trust import TrustedKey
from toolstore.blobs import as_bytes, read_blobs
from toolstore.bundle import bundle_document, document_digest, export_bundle, write_bundle
from toolstore.models import ToolVersion

_attestation = tables.attestation.c


@dataclass(frozen=True, slots=True)
class Extras:
    """What goes into a bundle that the store does not have itself."""

    lock: JsonObject | None = None
    """The wheels of the image's packages."""


NO_EXTRAS: Final = Extras()


def pack(connection: Connection, row: VersionRow, extras: Extras, *, at: datetime) -> bytes:
    """The bundle of a verified version, sealed with the key of this host's admitter.

    A store without keys gives a bundle of format 1: it has no signature to show.

    Raises:
        StoreDamagedError: it is not what was put in.
        KeysError: this host cannot sign.
    """
    version = reading.load(connection, row)
    guard = guard_of(connection)
    if guard is None:
        return export_bundle(version)
    document = document_of(connection, row, version, guard, extras)
    statement = bundle_statement(
        ref=str(version.ref), version=version.digest, document=document_digest(document), at=at
    )
    return write_bundle(document, guard.ring.sign(statement, Kind.BUNDLE))


def document_of(
    connection: Connection,
    row: VersionRow,
    version: ToolVersion,
    guard: Guard,
    extras: Extras = NO_EXTRAS,
) -> JsonObject:
    """Everything about a verified version, before it is sealed."""
    events = tuple(logbook.events(connection, tables.event.c.version == row.digest))
    details = details_of(row, events)
    evidence, policy = evidence_digest(row, details), version.decision.policy_digest
    blobs = read_blobs(connection, [evidence, policy])
    kept = envelopes_of(connection, [row.digest])
    order = dict.fromkeys(digest for detail in details for digest in detail.attestations or ())
    envelopes = [kept[digest] for digest in order]
    return bundle_document(
        version,
        evidence=json.loads(blobs[evidence]),
        events=events,
        policy=blobs[policy].decode() if policy in blobs else None,
        lock=extras.lock,
        envelopes=envelopes,
        keys=_keys(guard, envelopes),
    )


def envelopes_of(connection: Connection, digests: Sequence[str]) -> dict[str, bytes]:
    """The statements about some versions, as kept, by their digest."""
    query = select(_attestation.digest, _attestation.envelope).where(
        _attestation.version.in_(digests)
    )
    return {kept: as_bytes(content) for kept, content in connection.execute(query)}


def _keys(guard: Guard, envelopes: list[bytes]) -> tuple[TrustedKey, ...]:
    """The public keys behind these envelopes and the seal, each once."""
    ring = guard.ring.ring()
    used = [each["keyid"] for content in envelopes for each in json.loads(content)["signatures"]]
    sealer = ring.signers.get(ROLE_OF[Kind.BUNDLE])
    used += [] if sealer is None else [sealer.keyid]
    found = (ring.find(keyid) for keyid in dict.fromkeys(used))
    return tuple(key for key in found if key is not None)

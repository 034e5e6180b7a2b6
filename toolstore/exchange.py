"""Tools that leave the store and come into it: `ToolStore.exchange`.

What a file from elsewhere says of a version is kept whole, as an event with the file's digest. It
is the word of others: shown, and never counted.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

from pydantic import AwareDatetime
from sqlalchemy import Connection

from policies.statements import Role, Statement
from policies.value import Value, sha256_digest
from toolstore import logbook, packing, reading, tables
from toolstore.attest.guard import guard_of
from toolstore.attest.trust import TrustedKey
from toolstore.blobs import put_blobs, read_blobs
from toolstore.bundle import SealedStatement
from toolstore.bundlecheck import check_bundle, check_document
from toolstore.bundlereport import BundleReport
from toolstore.errors import StoreDamagedError
from toolstore.events import EventDetail, EventType
from toolstore.lane import Lane
from toolstore.models import ToolRef, ToolVersion
from toolstore.packing import NO_EXTRAS, Extras
from toolstore.writing import Writer

T = TypeVar("T")


class Write(Protocol):
    """Runs one change as one actor, in one transaction."""

    def __call__(self, actor: str, work: Callable[[Writer], T]) -> Awaitable[T]:
        """Run it."""
        ...


class OthersWord(Value):
    """What a file from elsewhere says, and what holds of it here and now."""

    at: AwareDatetime
    """When it came."""

    actor: str
    """Who brought it."""

    bundle: str
    """Digest of the file."""

    report: BundleReport


class Signed(Value):
    """Whose key signed one statement."""

    kind: str
    keyid: str
    role: Role | None
    """None for a key that is not trusted any more."""

    person: str | None


@dataclass(frozen=True, slots=True)
class Exchange:
    """Writes and reads what travels between stores."""

    reads: Lane
    write: Write
    clock: Callable[[], datetime]

    async def export(self, ref: ToolRef, extras: Extras = NO_EXTRAS) -> bytes:
        """The bundle of the version that a person means by `ref`.

        Raises:
            ToolNotFoundError: there is none.
            StoreDamagedError: it is not what was put in.
            KeysError: this host cannot sign.
        """

        def work(connection: Connection) -> bytes:
            row = reading.find_row(connection, ref)
            return packing.pack(connection, row, extras, at=self.clock())

        return await self.reads.run(work)

    async def report(self, ref: ToolRef) -> BundleReport | None:
        """Who vouches for a version here, and what holds of it; None in a store without keys.

        Raises:
            ToolNotFoundError: there is none.
            StoreDamagedError: it is not what was put in.
        """

        def work(connection: Connection) -> BundleReport | None:
            row = reading.find_row(connection, ref)
            guard = guard_of(connection)
            if guard is None:
                return None
            version = reading.load(connection, row)
            document = packing.document_of(connection, row, version, guard)
            return check_document(document, trusted_keys(connection), at=self.clock())

        return await self.reads.run(work)

    async def signatures(self, versions: Sequence[ToolVersion]) -> Mapping[str, Signed]:
        """Who signed each statement about these versions, by its digest, as events name it.

        The versions were verified when they were read; nothing is verified again here.
        """
        return await self.reads.run(
            partial(_signatures, digests=[version.digest for version in versions])
        )

    async def check(self, content: bytes) -> BundleReport:
        """What holds of a bundle, given the keys that this store trusts."""

        def work(connection: Connection) -> BundleReport:
            return check_bundle(content, trusted_keys(connection), at=self.clock())

        return await self.reads.run(work)

    async def keep(self, digest: str, content: bytes, *, actor: str) -> ToolVersion:
        """Keep a bundle beside the version that was made of it here; twice is once.

        Raises:
            ToolNotFoundError: no version has this digest.
            StoreDamagedError: it is not what was put in.
        """
        return await self.write(actor, partial(_keep, digest=digest, content=content))

    async def words(self, version: ToolVersion) -> tuple[OthersWord, ...]:
        """What others said of a version, oldest first.

        Raises:
            StoreDamagedError: a file is missing or not what its digest says.
        """
        return await self.reads.run(partial(_words, digest=version.digest, at=self.clock()))


def trusted_keys(connection: Connection) -> dict[str, TrustedKey]:
    """The keys that the store trusts, by their identity; none in a store without keys."""
    guard = guard_of(connection)
    return {} if guard is None else {key.keyid: key for key in guard.ring.ring().keys}


def _signatures(connection: Connection, digests: Sequence[str]) -> dict[str, Signed]:
    trusted = trusted_keys(connection)
    found: dict[str, Signed] = {}
    for digest, content in packing.envelopes_of(connection, digests).items():
        envelope = SealedStatement.model_validate_json(content)
        keyid = envelope.signatures[0].keyid
        key = trusted.get(keyid)
        statement = Statement.model_validate_json(base64.b64decode(envelope.payload))
        found[digest] = Signed(
            kind=statement.kind.value if statement.kind else "?",
            keyid=keyid,
            role=key.role if key else None,
            person=key.person if key else None,
        )
    return found


def _keep(writer: Writer, digest: str, content: bytes) -> ToolVersion:
    row = reading.require_digest(writer.connection, digest)
    version = reading.load(writer.connection, row)
    bundle = sha256_digest(content)
    if any(found == bundle for _, _, found in _listed(writer.connection, digest)):
        return version
    put_blobs(writer.connection, [content])
    detail = EventDetail(bundle=bundle)
    writer.journal.record(row, EventType.IMPORTED, "others' word on it was kept", detail)
    return writer.finish(digest)


def _words(connection: Connection, digest: str, at: datetime) -> tuple[OthersWord, ...]:
    listed = _listed(connection, digest)
    files = read_blobs(connection, [bundle for _, _, bundle in listed])
    trusted = trusted_keys(connection)
    words = []
    for came, actor, bundle in listed:
        if bundle not in files:
            raise StoreDamagedError(f"the imported file {bundle} is missing")
        report = check_bundle(files[bundle], trusted, at=at)
        words.append(OthersWord(at=came, actor=actor, bundle=bundle, report=report))
    return tuple(words)


def _listed(connection: Connection, digest: str) -> list[tuple[datetime, str, str]]:
    """The files that the log names: when, by whom, which."""
    event = tables.event.c
    imported = logbook.events(
        connection, event.version == digest, event.type == EventType.IMPORTED.value
    )
    details = [(each, EventDetail.model_validate_json(each.detail)) for each in imported]
    return [(each.at, each.actor, found.bundle) for each, found in details if found.bundle]

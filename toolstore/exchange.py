"""Tools that leave the store and come into it: `ToolStore.exchange`.

What a file from elsewhere says of a version is kept whole, as an event with the file's digest. It
is the word of others: shown, and never counted.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

from pydantic import AwareDatetime
from sqlalchemy import ColumnElement, Connection

from policies.statements import Role, Statement
from policies.value import Value, sha256_digest
from toolstore import logbook, packing, reading, tables
from toolstore.attest.guard import guard_of
from toolstore.blobs import put_blobs, read_raw_blobs
from toolstore.bundle import SealedStatement
from toolstore.bundlecheck import check_bundle, check_document
from toolstore.bundlereader import Trust
from toolstore.bundlereport import BundleReport, Line, Standing
from toolstore.commit import Commit
from toolstore.events import EventDetail, EventType
from toolstore.lane import Lane
from toolstore.models import ToolRef, ToolVersion
from toolstore.packing import NO_EXTRAS, Extras
from toolstore.writing import Writer

T = TypeVar("T")


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
    write: Commit
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
            return check_document(document, trust_of(connection), at=self.clock())

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
            return check_bundle(content, trust_of(connection), at=self.clock())

        return await self.reads.run(work)

    async def keep(self, digest: str, content: bytes, *, actor: str) -> ToolVersion:
        """Keep a bundle beside the version that was made of it here; twice is once.

        Raises:
            ToolNotFoundError: no version has this digest.
            StoreDamagedError: it is not what was put in.
        """
        return await self.write(actor, partial(_keep, digest=digest, content=content))

    async def words(self, version: ToolVersion) -> tuple[OthersWord, ...]:
        """What others said of a version, oldest first; a damaged file is one that is broken."""
        return await self.reads.run(partial(_words, digest=version.digest, at=self.clock()))


def trust_of(connection: Connection) -> Trust:
    """The keys that the store trusts, and those that it must not; none in a store without keys."""
    guard = guard_of(connection)
    if guard is None:
        return Trust({})
    ring = guard.ring.ring()
    return Trust({key.keyid: key for key in ring.keys}, frozenset(ring.distrusted))


def _signatures(connection: Connection, digests: Sequence[str]) -> dict[str, Signed]:
    trusted = trust_of(connection).keys
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
    if any(
        found == bundle
        for _, _, found in _listed(writer.connection, tables.event.c.version == digest)
    ):
        return version
    put_blobs(writer.connection, [content])
    detail = EventDetail(bundle=bundle)
    writer.journal.record(row, EventType.IMPORTED, "others' word on it was kept", detail)
    return writer.finish(digest)


def _words(connection: Connection, digest: str, at: datetime) -> tuple[OthersWord, ...]:
    listed = _listed(connection, tables.event.c.version == digest)
    files = read_raw_blobs(connection, [bundle for _, _, bundle in listed])
    trust = trust_of(connection)
    return tuple(
        OthersWord(at=came, actor=actor, bundle=bundle, report=_report(files, bundle, trust, at))
        for came, actor, bundle in listed
    )


def _report(files: Mapping[str, bytes], bundle: str, trust: Trust, at: datetime) -> BundleReport:
    """What holds of a kept file; what is damaged of it is said, for nothing rests on it."""
    content = files.get(bundle)
    problem = "it is missing" if content is None else "it is not the file that came"
    if content is not None and sha256_digest(content) == bundle:
        return check_bundle(content, trust, at=at)
    line = Line(part="file", standing=Standing.BROKEN, detail=f"{bundle}: {problem} in this store")
    return BundleReport(ref=None, digest=None, format=None, lines=(line,))


def _listed(
    connection: Connection, *conditions: ColumnElement[bool]
) -> list[tuple[datetime, str, str]]:
    """The files that the log names: when they came, by whom, which."""
    imported = tables.event.c.type == EventType.IMPORTED.value
    events = logbook.events(connection, imported, *conditions)
    details = [(each, EventDetail.model_validate_json(each.detail)) for each in events]
    return [(each.at, each.actor, found.bundle) for each, found in details if found.bundle]

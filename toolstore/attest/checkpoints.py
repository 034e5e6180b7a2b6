"""Signed checkpoints: where the log stood, in the store and on the host that saw it.

Each write ends with one, in its own transaction. The newest that this host has seen is kept
outside of the store as well, so that putting back an older store, whole and consistent in itself,
is noticed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, func, insert, select

from policies.statements import CheckpointPredicate, Kind
from policies.value import sha256_digest
from policies.vouching import checkpoint_statement
from toolstore import logbook, tables
from toolstore.attest.envelopes import open_envelope
from toolstore.attest.errors import AttestationError, Flaw, RolledBackError, UnsignedError
from toolstore.attest.keys import KeyRing
from toolstore.attest.seals import EMPTY_ROOT
from toolstore.blobs import as_bytes
from toolstore.errors import StoreUnusableError
from toolstore.events import Link

_MAX_BYTES: Final = 1 << 16
_table = tables.checkpoint.c
_LATEST: Final = select(_table.envelope).order_by(_table.number.desc()).limit(1)
_HEAD: Final = select(
    tables.log_head.c.sequence,
    tables.log_head.c.hash,
    _LATEST.scalar_subquery().label("envelope"),
)
"""The kept end of the log, and the newest checkpoint beside it, in one query."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was signed of the log at one point."""

    sequence: int
    head: str
    states: str
    at: datetime | None
    keyid: str
    envelope: bytes


NOTHING: Final = Checkpoint(
    sequence=0, head=Link().hash, states=EMPTY_ROOT, at=None, keyid="", envelope=b""
)
"""Where a log stands that has no event: there is nothing to sign."""


def read_checkpoint(content: bytes, ring: KeyRing) -> Checkpoint:
    """The checkpoint in an envelope, verified.

    Raises:
        AttestationError: it is none, or its signature does not count.
    """
    envelope = open_envelope(content, ring.find)
    predicate = envelope.predicate
    if envelope.kind is not Kind.CHECKPOINT or not isinstance(predicate, CheckpointPredicate):
        raise AttestationError("what stands for a checkpoint is none", Flaw.ALTERED)
    if envelope.statement.digest != predicate.head:
        raise AttestationError("a checkpoint is about another event than it names", Flaw.ALTERED)
    return Checkpoint(
        sequence=predicate.sequence,
        head=predicate.head,
        states=predicate.states,
        at=predicate.at,
        keyid=envelope.key.keyid,
        envelope=content,
    )


def sign_checkpoint(
    connection: Connection, ring: KeyRing, link: Link, states: str, at: datetime
) -> Checkpoint:
    """Sign where the log stands and keep it in the store."""
    statement = checkpoint_statement(sequence=link.sequence, head=link.hash, states=states, at=at)
    content = ring.sign(statement, Kind.CHECKPOINT)
    number = (connection.scalar(select(func.max(_table.number))) or 0) + 1
    row = {"number": number, "sequence": link.sequence, "envelope": content}
    connection.execute(insert(tables.checkpoint).values(row))
    return read_checkpoint(content, ring)


def latest_envelope(connection: Connection) -> bytes | None:
    """The newest checkpoint as the store keeps it, unverified."""
    found = connection.scalar(_LATEST)
    return None if found is None else as_bytes(found)


def signed_head(connection: Connection, ring: KeyRing, known: Checkpoint | None) -> Checkpoint:
    """The checkpoint at which the log ends, verified; `known` need not be verified again.

    Raises:
        UnsignedError: the log was kept without keys.
        AttestationError: the log does not end where the newest checkpoint says.
    """
    head = connection.execute(_HEAD).first()
    if head is None:
        return NOTHING
    if head.envelope is None:
        raise UnsignedError("the log has no checkpoint")
    content = as_bytes(head.envelope)
    if known is not None and known.envelope == content:
        found = known
    else:
        found = read_checkpoint(content, ring)
    if (found.sequence, found.head) != (head.sequence, head.hash):
        problem = (
            f"the log ends at event {head.sequence}, and what was signed ends at event "
            f"{found.sequence}"
        )
        if found.sequence < head.sequence:
            problem += ": somebody wrote without keys, or events were added by hand"
        raise AttestationError(problem, Flaw.LOG)
    return found


class SeenCheckpoints:
    """What this host has seen of one store: one file outside of it, which only goes forward."""

    def __init__(self, folder: Path, where: str) -> None:
        name = sha256_digest(where.encode()).removeprefix("sha256:")[:32]
        self._folder = folder
        self._where = where
        self.path = folder / f"{name}.json"

    def read(self, ring: KeyRing) -> Checkpoint | None:
        """The newest one; None where this host has not seen the store yet.

        Raises:
            AttestationError: the file is not what was written.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(_MAX_BYTES)
        try:
            return read_checkpoint(content, ring)
        except AttestationError as error:
            raise AttestationError(
                f"{self.path}, where this host keeps what it saw of the store: {error.what}",
                error.flaw,
            ) from error

    def prepare(self, coming: Checkpoint) -> None:
        """Put `coming` beside the file, so that all that is left for `write` is to name it.

        A full disk and a folder that is read only are so told while what was signed can be undone.

        Raises:
            StoreUnusableError: it cannot be kept.
        """
        try:
            with self._exclusive():
                self._put_beside(coming.envelope)
        except OSError as error:
            raise self._unusable(error) from error

    def write(self, seen: Checkpoint, ring: KeyRing, *, backwards: bool = False) -> None:
        """Keep `seen`, unless a later one is there already."""
        try:
            with self._exclusive():
                before = None if backwards else self.read(ring)
                if before is None or before.sequence <= seen.sequence:
                    self._replace(seen.envelope)
        except OSError as error:
            raise self._unusable(error) from error

    def check(self, connection: Connection, ring: KeyRing) -> None:
        """Refuse a store that is behind what this host saw of it, or that went another way.

        Raises:
            RolledBackError: it is.
            AttestationError: the file is not what was written.
        """
        seen = self.read(ring)
        if seen is None:
            return
        head = logbook.kept_head(connection)
        told = "" if seen.at is None else f", signed on {seen.at.isoformat(timespec='seconds')}"
        if head.sequence < seen.sequence:
            raise RolledBackError(
                self._where,
                f"ends at event {head.sequence}, and this host saw event {seen.sequence} of it"
                f"{told}: an older state was put back",
            )
        if seen.sequence and logbook.link_at(connection, seen.sequence).hash != seen.head:
            raise RolledBackError(
                self._where,
                f"has another event {seen.sequence} than this host saw{told}: its log was "
                "written anew, or it is another store",
            )

    def _replace(self, content: bytes) -> None:
        if not self._beside.is_file() or self._beside.read_bytes() != content:
            self._put_beside(content)  # not prepared, or another process was next
        self._beside.replace(self.path)

    @property
    def _beside(self) -> Path:
        return self.path.with_suffix(".new")

    def _put_beside(self, content: bytes) -> None:
        self._beside.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(self._beside, flags, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path.with_suffix(".lock"), flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _unusable(self, error: OSError) -> StoreUnusableError:
        return StoreUnusableError(
            str(self._folder),
            error.strerror or str(error),
            advice="There this host keeps what it saw of its stores; make it writable.",
        )

"""What a person asks of the signatures of a store: sign what is not signed, say where it stands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from pydantic import AwareDatetime
from sqlalchemy import Connection

from policies.value import Value
from toolstore import audit, logbook, reading
from toolstore.assemble import VersionRow
from toolstore.attest import seals
from toolstore.attest.chain import read_chain
from toolstore.attest.checkpoints import (
    Checkpoint,
    latest_envelope,
    read_checkpoint,
    sign_checkpoint,
)
from toolstore.attest.errors import AttestationError, Flaw, KeysError
from toolstore.attest.guard import Guard, GuardedLane, bind, guard_of
from toolstore.attest.notary import Notary
from toolstore.errors import StoreDamagedError
from toolstore.events import EventDetail, EventType
from toolstore.journal import Journal
from toolstore.models import ToolVersion


class SignedState(Value):
    """Where the log stood when it was signed."""

    sequence: int
    head: str
    """Hash of the last event."""

    states: str
    """Root of the map of all versions."""

    at: AwareDatetime | None
    keyid: str
    envelope: str
    """The checkpoint itself (DSSE, JSON), to be kept wherever else it is safe."""


class SignReport(Value):
    """What was signed anew."""

    signed: tuple[str, ...]
    """References of the versions that had statements missing."""

    checkpoint: SignedState


class Signatures:
    """The signatures of one open store."""

    def __init__(
        self, reads: GuardedLane, writes: GuardedLane, clock: Callable[[], datetime]
    ) -> None:
        self._reads = reads
        self._writes = writes
        self._clock = clock

    async def state(self) -> SignedState:
        """Where the log stands, as signed.

        Raises:
            AttestationError: it is not what was signed.
            KeysError: the store was opened without keys.
        """
        return await self._reads.run(lambda connection: _state(_guard(connection).head(connection)))

    async def checkpoint(self) -> SignedState:
        """Sign once more where the log stands: with a new key, or for a new time.

        Raises:
            AttestationError: the log is not what was signed before.
            KeysError: the store was opened without keys, or the admitter's cannot be used.
        """
        at = self._clock()

        def work(connection: Connection) -> SignedState:
            guard = _guard(connection)
            head = guard.head(connection)
            if head.sequence == 0:
                return _state(head)
            link = logbook.checked_head(connection)
            guard.written = sign_checkpoint(connection, guard.ring, link, head.states, at)
            return _state(guard.written)

        return await self._writes.run(work)

    async def accept(self) -> SignedState:
        """Go on from the store as it is, although this host has seen a later state of it.

        The store's own signatures must hold. The caller has opened it with `accept_older`.

        Raises:
            AttestationError: they do not.
        """

        def work(connection: Connection) -> SignedState:
            guard = _guard(connection)
            head = guard.head(connection)
            if guard.seen is not None and head.envelope:
                guard.seen.write(head, guard.ring, backwards=True)
            return _state(head)

        return await self._reads.run(work)

    async def sign(self, *, actor: str) -> SignReport:
        """Sign what is not signed: versions that were kept without keys, and the log.

        Whoever asks for it answers for what is there: it is checked against digests and hashes
        first, and nothing else is known of it. What was signed and altered is not mended.

        Raises:
            StoreDamagedError: what is there does not fit together; nothing was signed.
            KeysError: the store was opened without keys, or they cannot be used.
        """
        at = self._clock()
        return await self._writes.run(lambda connection: _sign(connection, at, actor))

    async def version(self, digest: str) -> ToolVersion:
        """A version with everything verified, by its whole digest."""
        return await self._reads.run(lambda c: reading.load(c, reading.require_digest(c, digest)))


def _sign(connection: Connection, at: datetime, actor: str) -> SignReport:
    guard = _guard(connection)
    bind(connection, None)
    report = audit.audit(connection)
    if not report.intact:
        first = report.damage[0]
        raise StoreDamagedError(
            f"{first.where}: {first.problem}; nothing was signed, because a signature would "
            "vouch for that"
        )
    hashes: dict[str, list[str]] = defaultdict(list)
    for event in logbook.events(connection):
        hashes[event.digest].append(event.hash)
    _check_not_against(connection, guard)
    root = seals.rebuild(connection, hashes)
    head = logbook.checked_head(connection)
    stands = Checkpoint(
        sequence=head.sequence, head=head.hash, states=root, at=at, keyid="", envelope=b""
    )
    mending = replace(guard, trusting=stands, maps_checked=True)
    bind(connection, mending)
    journal = Journal(connection, at=at, actor=actor)
    notary = Notary(connection, mending, at=at, actor=actor)
    signed = [
        row.ref
        for row in reading.all_rows(connection)
        if _complete(connection, mending, notary, journal, row)
    ]
    notary.keep()
    journal.write()
    if signed:
        guard.written = mending.written
    elif head.sequence:
        guard.written = sign_checkpoint(connection, guard.ring, head, root, at)
    bind(connection, guard)
    if guard.written is None:
        return SignReport(signed=(), checkpoint=_state(stands))
    return SignReport(signed=tuple(signed), checkpoint=_state(guard.written))


def _check_not_against(connection: Connection, guard: Guard) -> None:
    """The log must be what was signed last, or go on from there."""
    content = latest_envelope(connection)
    if content is None:
        _check_never_signed(guard)
        return
    last = read_checkpoint(content, guard.ring)
    if logbook.kept_head(connection).sequence < last.sequence or (
        logbook.link_at(connection, last.sequence).hash != last.head
    ):
        raise AttestationError(
            f"event {last.sequence} of the log is not the one that was signed, so nothing was "
            "signed: put the store back from a copy",
            Flaw.LOG,
        )


def _check_never_signed(guard: Guard) -> None:
    """A log without any checkpoint is one from before, unless this host knows better."""
    seen = None if guard.seen is None else guard.seen.read(guard.ring)
    if seen is not None:
        raise AttestationError(
            f"this host saw the log signed as far as event {seen.sequence}, and it has no "
            "checkpoint any more, so nothing was signed: put the store back from a copy",
            Flaw.LOG,
        )


def _complete(
    connection: Connection, guard: Guard, notary: Notary, journal: Journal, row: VersionRow
) -> bool:
    """Sign what nobody signed about one version; whether there was anything.

    Raises:
        AttestationError: what was signed about it does not hold.
    """
    kept = reading.kept_of(connection, row)
    if kept.listed:
        try:
            read_chain(kept, guard.ring.find)
        except AttestationError as error:
            if error.flaw is not Flaw.MISSING:
                raise
        else:
            return False
    made = notary.complete(row.digest, row.name, kept.details)
    if made:
        detail = EventDetail(attestations=made)
        journal.record(row, EventType.ATTESTED, "signed after it was kept", detail)
    return bool(made)


def _guard(connection: Connection) -> Guard:
    guard = guard_of(connection)
    if guard is None:
        raise KeysError(
            "(none)", "the store was opened without keys", advice="Open it with a key ring."
        )
    return guard


def _state(found: Checkpoint) -> SignedState:
    return SignedState(
        sequence=found.sequence,
        head=found.head,
        states=found.states,
        at=found.at,
        keyid=found.keyid,
        envelope=found.envelope.decode(),
    )

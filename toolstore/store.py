"""`ToolStore`: the store as everybody else sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy import Connection

from policies.decision import Approval, Decision
from policies.signatures import DEFAULT_SIGNATURES, SignatureSettings
from toolstore import calls, forgetting, forms, intake, moves, reading, searching, votes
from toolstore.attest.checkpoints import SeenCheckpoints
from toolstore.attest.guard import Guard, GuardedLane
from toolstore.attest.keys import KeyRing
from toolstore.attest.signing import Signatures
from toolstore.commit import Commit
from toolstore.database import BUSY_SECONDS, Database
from toolstore.decisions import Decisions
from toolstore.events import EventType
from toolstore.exchange import Exchange
from toolstore.head import Head
from toolstore.index import Location, database_at
from toolstore.lifecycle import LifecycleMoves
from toolstore.lookups import Lookups
from toolstore.models import (
    Submission,
    ToolRef,
    ToolVersion,
)
from toolstore.proofs import Proofs
from toolstore.terms import NO_TERMS, Terms
from toolstore.writing import Writer

T = TypeVar("T")


def utc_now() -> datetime:
    """The clock of a store that was given no other."""
    return datetime.now(UTC)


class ToolStore(Lookups):
    """Keeps accepted tools where any number of processes share them: a folder, or PostgreSQL.

    Every change is one transaction, on the disk before the call returns.
    """

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        super().__init__(GuardedLane(database, writes=False), Head(database))
        self._where = database.where
        self._writes = GuardedLane(database, writes=True)
        self._write = Commit(self._writes, clock)
        self.signatures = Signatures(self._reads, self._writes, clock)
        """Of what is kept: where the log stands, and signing what is not signed."""

        self.lifecycle = LifecycleMoves(self._reads, self._write)
        """Channels, pins, waivers, retirement."""

        self.decisions = Decisions(self._reads, self._write)
        """Policies, and decisions that were taken again."""

        self.exchange = Exchange(self._reads, self._write, clock)
        """Tools that leave the store and come into it."""

        self.proofs = Proofs(self._write)
        """What other hosts found about the same versions."""

    @classmethod
    async def open(  # noqa: PLR0913 - each is one choice of whoever opens it
        cls,
        location: Location,
        *,
        busy_seconds: float = BUSY_SECONDS,
        clock: Callable[[], datetime] = utc_now,
        keys: KeyRing | None = None,
        signatures: SignatureSettings = DEFAULT_SIGNATURES,
        seen: Path | None = None,
        accept_older: bool = False,
    ) -> Self:
        """Open the store at `location`: a folder, or a URL `postgresql://user@host/database`.

        It is made where it is missing. One in a folder is brought up to date where it is old;
        one on a server, which others use too, is not (`toolkiln store migrate` does).

        With `keys`, all that is written is signed, all that is read is verified, and to be
        called a version needs what `signatures` say. `seen` is the folder, outside of the store,
        where this host keeps how far it has seen the log of each store; with `accept_older` a
        store that is behind that is opened all the same.

        Raises:
            RolledBackError: the store is older than what this host has seen of it.
            KeysError: the keys cannot be used.
            StoreUnusableError: the place cannot be used, or another program's time made the store.
            StoreDamagedError: it is a link, no database, or another program's.
            StoreBusyError: another process kept the lock for `busy_seconds`.
        """
        if keys is not None:
            keys.stay_out_of(location)
        database = await asyncio.to_thread(_prepared, location, busy_seconds)
        store = cls(database, clock=clock)
        if keys is not None:
            guard = Guard(keys, signatures, clock)
            try:
                await store._watch(guard, seen, accept_older=accept_older)
            except BaseException:
                await store.close()
                raise
        return store

    async def close(self) -> None:
        """Finish what was begun and let go of the files; safe to do twice."""
        self._head.close()
        await self._reads.close()
        await self._writes.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # -- changes ---------------------------------------------------------------------------------

    async def admit(
        self, submission: Submission, *, actor: str, terms: Terms = NO_TERMS
    ) -> ToolVersion:
        """Take in a proven version: approved where the decision allows, else quarantined.

        `terms` say for whom an approved version is callable at first, and how many there may be.

        The same submission again gives the version that is there. One that was quarantined and
        is now allowed becomes approved; one that was replaced becomes current again. Whatever
        was approved of the name becomes deprecated in the same transaction.

        Raises:
            TransitionError: refused by the decision, revoked before, taken out before, evidence
                about something else, or the name reads like another tool's. No version was added.
            QuotaError: as many versions are stored as `terms` allow.
            StoreBusyError: nothing was written, and a retry mends it.
        """
        return await self._write(actor, partial(intake.admit, submission=submission, terms=terms))

    async def approve(  # noqa: PLR0913 - what a yes rests on, each by its name
        self,
        digest: str,
        approval: Approval,
        decision: Decision,
        *,
        actor: str,
        after: int | None = None,
        terms: Terms = NO_TERMS,
    ) -> ToolVersion:
        """Keep a person's yes to a quarantined version; it becomes the approved one if allowed.

        Where the decision asks for more people, the yes is kept and the version stays where it
        is. The bytes are verified first. `after` is the last event about the version that the
        decision knew of. For whom it is callable then, `terms` say and the scopes of the yeses,
        whichever is narrower. A yes to what was decided meanwhile is kept in the log.

        Raises:
            VoteOvertakenError: there is a later event about the version than `after`.
            TransitionError: not quarantined, the approval is of another digest, or the decision
                refuses it.
            ToolNotFoundError: no version has this digest.
        """

        def work(writer: Writer) -> ToolVersion:
            row = reading.require_digest(writer.connection, digest)
            return votes.approve(writer, row, approval, decision, after=after, terms=terms)

        return await self._write(actor, work)

    async def ask_change(
        self, digest: str, *, actor: str, reason: str, shown: str | None = None
    ) -> ToolVersion:
        """Keep a person's wish for a change of a quarantined version, which goes on waiting.

        Raises:
            TransitionError: it is not quarantined.
            ToolNotFoundError: no version has this digest.
        """

        def work(writer: Writer) -> ToolVersion:
            row = reading.require_digest(writer.connection, digest)
            return votes.ask_change(writer, row, reason, shown)

        return await self._write(actor, work)

    async def reject(
        self, digest: str, *, actor: str, reason: str, shown: str | None = None
    ) -> ToolVersion:
        """Say no to a quarantined version; it is revoked then.

        Raises:
            TransitionError: it is not quarantined.
            ToolNotFoundError: no version has this digest.
        """

        def work(writer: Writer) -> ToolVersion:
            row = reading.require_digest(writer.connection, digest)
            return votes.take_back(writer, row, EventType.REJECTED, reason, shown=shown)

        return await self._write(actor, work)

    async def revoke(self, which: ToolRef | str, *, actor: str, reason: str) -> ToolVersion:
        """Take a version back for good, by reference or whole digest.

        A bare name means its approved version. Nothing takes its place: `rollback` is the way
        to an earlier one.

        Raises:
            TransitionError: it is revoked already.
            ToolNotFoundError: there is no such version.
        """

        def work(writer: Writer) -> ToolVersion:
            row = (
                reading.require_digest(writer.connection, which)
                if isinstance(which, str)
                else reading.find_row(writer.connection, which)
            )
            return votes.take_back(writer, row, EventType.REVOKED, reason)

        return await self._write(actor, work)

    async def rollback(
        self, name: str, *, actor: str, reason: str, to: ToolRef | None = None
    ) -> ToolVersion:
        """Undo the last move: end the canary, else bring back what was replaced last, or `to`.

        Raises:
            TransitionError: there is none, or `to` is neither deprecated nor archived.
            ToolNotFoundError: there is no such tool or version.
        """
        return await self._write(actor, partial(moves.rollback, name=name, reason=reason, to=to))

    async def reindex(self) -> None:
        """Make the search index anew from the stable tools; it is the only thing changed."""
        await self._writes.run(searching.rebuild)

    # -- calls, and tools alike ------------------------------------------------------------------

    async def record_calls(
        self, records: Sequence[calls.CallRecord], *, keep: int, before: datetime
    ) -> None:
        """Keep calls, and forget what came before a time or is beyond `keep` of a version.

        Raises:
            StoreBusyError: nothing was written, and a retry mends it.
        """
        versions = {record.version for record in records}

        def work(connection: Connection) -> None:
            calls.add(connection, records)
            forgetting.prune(connection, versions, keep=keep, before=before)

        await self._writes.run(work)

    async def forget_calls(self, which: forgetting.Which, *, bodies_alone: bool = False) -> int:
        """Delete recorded calls, or only what went in and came out of them; of how many.

        Raises:
            StoreBusyError: nothing was deleted, and a retry mends it.
        """
        return await self._writes.run(
            partial(forgetting.forget, which=which, bodies_alone=bodies_alone)
        )

    async def note_form(self, digest: str, *, normal: str, shape: str) -> None:
        """Keep what finds tools equal to a version: see `policies.normal`."""
        await self._writes.run(partial(forms.note, version=digest, normal=normal, shape=shape))

    # -- signatures ------------------------------------------------------------------------------

    async def _watch(self, guard: Guard, seen: Path | None, *, accept_older: bool) -> None:
        """Let everything be signed and verified from now on; refuse an older state of the store."""
        if seen is not None:
            guard.seen = SeenCheckpoints(seen, self._where)
            if not accept_older:
                await self._reads.run(partial(guard.seen.check, ring=guard.ring))
        # Each lane has a thread of its own, and so a guard of its own.
        self._reads.guard, self._writes.guard = guard, replace(guard)


def _prepared(location: Location, busy_seconds: float) -> Database:
    database = database_at(location, busy_seconds)
    database.prepare()
    return database

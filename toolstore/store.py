"""`ToolStore`: the store as everybody else sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from sqlalchemy import Connection

from policies.decision import Approval, Decision
from policies.signatures import DEFAULT_SIGNATURES, SignatureSettings
from toolstore import audit, calls, forms, logbook, postings, reading, searching
from toolstore.assemble import VersionRow
from toolstore.attest.checkpoints import SeenCheckpoints
from toolstore.attest.guard import Guard, GuardedLane
from toolstore.attest.keys import KeyRing
from toolstore.attest.signing import Signatures
from toolstore.channels import Offer
from toolstore.database import BUSY_SECONDS, Database
from toolstore.decisions import Decisions
from toolstore.errors import StoreDamagedError, ToolNotCallableError, TransitionError
from toolstore.events import EventType
from toolstore.exchange import Exchange
from toolstore.head import Head
from toolstore.index import Location, database_at
from toolstore.lifecycle import LifecycleMoves
from toolstore.models import (
    Event,
    Lifecycle,
    Submission,
    ToolRef,
    ToolSummary,
    ToolVersion,
    VerifyReport,
)
from toolstore.pins import pins
from toolstore.terms import NO_TERMS, Terms
from toolstore.writing import Writer

T = TypeVar("T")

CALLABLE: Final = frozenset({Lifecycle.APPROVED, Lifecycle.DEPRECATED})
"""States in which an exact reference may be called."""

DamageListener = Callable[[str, StoreDamagedError], None]


def utc_now() -> datetime:
    """The clock of a store that was given no other."""
    return datetime.now(UTC)


class ToolStore:
    """Keeps accepted tools where any number of processes share them: a folder, or PostgreSQL.

    Every change is one transaction, on the disk before the call returns. What is read as a
    `ToolVersion` was verified against digest, evidence and log; summaries are the tables' word
    and good for showing.
    """

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._where = database.where
        self._reads = GuardedLane(database, writes=False)
        self._writes = GuardedLane(database, writes=True)
        self._head = Head(database)
        self.signatures = Signatures(self._reads, self._writes, clock)
        """Of what is kept: where the log stands, and signing what is not signed."""

        self.lifecycle = LifecycleMoves(self._reads, self._write)
        """Channels, pins, waivers, retirement."""

        self.decisions = Decisions(self._reads, self._write)
        """Policies, and decisions that were taken again."""

        self.exchange = Exchange(self._reads, self._write, clock)
        """Tools that leave the store and come into it."""

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
        return await self._write(actor, lambda writer: writer.admit(submission, terms))

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
            return writer.approve(row, approval, decision, after, terms)

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
            return writer.ask_change(row, reason, shown)

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
            return writer.take_back(row, EventType.REJECTED, reason, shown=shown)

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
            return writer.take_back(row, EventType.REVOKED, reason)

        return await self._write(actor, work)

    async def rollback(
        self, name: str, *, actor: str, reason: str, to: ToolRef | None = None
    ) -> ToolVersion:
        """Undo the last move: end the canary, else bring back what was replaced last, or `to`.

        Raises:
            TransitionError: there is none, or `to` is neither deprecated nor archived.
            ToolNotFoundError: there is no such tool or version.
        """
        return await self._write(actor, lambda writer: writer.rollback(name, reason, to))

    # -- single versions -------------------------------------------------------------------------

    async def get(self, ref: ToolRef, *, session: str | None = None) -> ToolVersion:
        """The version that a call of `ref` runs in `session`, verified.

        A bare name means what `channels.Offer` chooses; an exact reference may be deprecated too,
        and is refused where it is for another session alone.

        Raises:
            ToolNotFoundError: there is no such tool or version.
            ToolNotCallableError: it is there, and its state forbids calling it.
            StoreDamagedError: it is not what was put in.
        """
        return await self._reads.run(partial(_get, ref=ref, session=session))

    async def find(self, ref: ToolRef) -> ToolVersion:
        """The version that a person means by `ref`, in whatever state, verified.

        A bare name means its approved version, else its latest.

        Raises:
            ToolNotFoundError: there is no such tool or version.
            StoreDamagedError: it is not what was put in.
        """

        def work(connection: Connection) -> ToolVersion:
            return reading.load(connection, reading.find_row(connection, ref))

        return await self._reads.run(work)

    async def version(self, digest: str) -> ToolVersion:
        """The version with this whole digest, in whatever state, verified.

        Raises:
            ToolNotFoundError: there is no such version.
            StoreDamagedError: it is not what was put in.
        """

        def work(connection: Connection) -> ToolVersion:
            return reading.load(connection, reading.require_digest(connection, digest))

        return await self._reads.run(work)

    # -- many ------------------------------------------------------------------------------------

    async def history(self, name: str) -> tuple[ToolVersion, ...]:
        """All versions of a name, oldest first.

        Raises:
            ToolNotFoundError: there is no such tool.
            StoreDamagedError: one is not what was put in.
        """

        def work(connection: Connection) -> tuple[ToolVersion, ...]:
            rows = reading.require_name(connection, name)
            return tuple(reading.load_all(connection, rows))

        return await self._reads.run(work)

    async def pending(self, *, on_damage: DamageListener | None = None) -> tuple[ToolVersion, ...]:
        """All versions that wait for a person, by name.

        Raises:
            StoreDamagedError: one is damaged, and there is no `on_damage` to hear of it.
        """
        return await self._in_state(Lifecycle.QUARANTINED, on_damage)

    async def current_versions(
        self, *, on_damage: DamageListener | None = None
    ) -> tuple[ToolVersion, ...]:
        """The stable version of every name, by name.

        With `on_damage`, which gets the reference and the error, a damaged one is left out and
        the others come; without it, one damaged version is an error.

        Raises:
            StoreDamagedError: one is damaged, and there is no `on_damage` to hear of it.
        """

        def work(connection: Connection, note: reading.OnDamage | None) -> Iterator[ToolVersion]:
            return reading.load_all(connection, reading.stable_rows(connection), note)

        return await self._collect(work, on_damage)

    async def summaries(
        self,
        states: Collection[Lifecycle] | None = None,
        *,
        limit: int | None = None,
        after: tuple[str, int] | None = None,
        names: Collection[str] | None = None,
    ) -> tuple[ToolSummary, ...]:
        """One line a version, by name and sequence: all, or some states, or names. Not verified.

        With `limit` a page of them; the next one begins behind the name and sequence of the
        last line, given as `after`.
        """
        return await self._reads.run(
            partial(reading.summaries, states=states, limit=limit, after=after, names=names)
        )

    async def offers(self, names: Collection[str] | None = None) -> dict[str, Offer]:
        """What is approved under each name, or under each of `names`. Not verified."""
        return await self._reads.run(partial(reading.offers, names=names))

    async def versions_of(self, name: str) -> tuple[ToolSummary, ...]:
        """One line for each version of a name, oldest first. Not verified."""
        return await self._reads.run(partial(reading.summaries_of_name, name=name))

    async def search_documents(
        self, *, on_damage: DamageListener | None = None
    ) -> tuple[tuple[str, str], ...]:
        """Name and searchable text of every stable tool, for a `Bm25Index`; bytes verified.

        Raises:
            StoreDamagedError: one is damaged, and there is no `on_damage` to hear of it.
        """
        return await self._collect(reading.search_documents, on_damage)

    async def search(self, query: str, limit: int) -> tuple[str, ...]:
        """Names of the stable tools that match `query` best, best first.

        Ranked as `Bm25Index` does, by the index that the database keeps. Not verified: loading a
        tool that was found does that.
        """
        return await self._reads.run(
            lambda connection: tuple(postings.find(connection, query, limit))
        )

    async def reindex(self) -> None:
        """Make the search index anew from the stable tools; it is the only thing changed."""
        await self._writes.run(searching.rebuild)

    # -- the log ---------------------------------------------------------------------------------

    def head(self) -> int:
        """Sequence of the last event, 0 for none: microseconds, for asking at every turn.

        Raises:
            StoreDamagedError: the log is shorter than it was.
        """
        return self._head.sequence()

    async def changes_since(self, sequence: int) -> tuple[Event, ...]:
        """The events after `sequence`, verified as a chain.

        Raises:
            StoreDamagedError: the chain is broken there.
        """
        return await self._reads.run(partial(logbook.events_since, sequence=sequence))

    async def events(self, name: str | None = None) -> tuple[Event, ...]:
        """The log, or what of it is about one name; `verify` checks it."""
        return await self._reads.run(partial(logbook.log, name=name))

    async def verify(self) -> VerifyReport:
        """Check every byte, version, link and derived state; damage is the answer, not an error."""
        return await audit.verify(self._reads)

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
            calls.prune(connection, versions, keep=keep, before=before)

        await self._writes.run(work)

    async def calls_of(
        self, digest: str, *, limit: int, with_body: bool = False
    ) -> tuple[calls.CallRecord, ...]:
        """The latest recorded calls of a version, latest first."""
        return await self._reads.run(
            partial(calls.latest, version=digest, limit=limit, with_body=with_body)
        )

    async def note_form(self, digest: str, *, normal: str, shape: str) -> None:
        """Keep what finds tools equal to a version: see `policies.normal`."""
        await self._writes.run(partial(forms.note, version=digest, normal=normal, shape=shape))

    async def approved_alike(
        self, *, normal: str | None = None, shape: str | None = None, limit: int = 20
    ) -> tuple[ToolRef, ...]:
        """Exact references of approved versions of that form, the latest approved first."""
        return await self._reads.run(
            partial(forms.approved_alike, normal=normal, shape=shape, limit=limit)
        )

    # -- signatures ------------------------------------------------------------------------------

    async def _watch(self, guard: Guard, seen: Path | None, *, accept_older: bool) -> None:
        """Let everything be signed and verified from now on; refuse an older state of the store."""
        if seen is not None:
            guard.seen = SeenCheckpoints(seen, self._where)
            if not accept_older:
                await self._reads.run(partial(guard.seen.check, ring=guard.ring))
        # Each lane has a thread of its own, and so a guard of its own.
        self._reads.guard, self._writes.guard = guard, replace(guard)

    # -- inside ----------------------------------------------------------------------------------

    async def _write(self, actor: str, work: Callable[[Writer], T]) -> T:
        at = self._clock()

        def run(connection: Connection) -> tuple[T, TransitionError | None]:
            writer = Writer(connection, at=at, actor=actor)
            return work(writer), writer.refusal

        done, refusal = await self._writes.run(run)
        if refusal is not None:
            raise refusal
        return done

    async def _in_state(
        self, state: Lifecycle, on_damage: DamageListener | None
    ) -> tuple[ToolVersion, ...]:
        def work(connection: Connection, note: reading.OnDamage | None) -> Iterator[ToolVersion]:
            rows = reading.rows_in_state(connection, [state])
            return reading.load_all(connection, rows, note)

        return await self._collect(work, on_damage)

    async def _collect(
        self,
        work: Callable[[Connection, reading.OnDamage | None], Iterator[T]],
        on_damage: DamageListener | None,
    ) -> tuple[T, ...]:
        """All that `work` yields; the listener hears of damage here, not on the store's thread."""
        damaged: list[tuple[str, StoreDamagedError]] = []

        def note(row: VersionRow, error: StoreDamagedError) -> None:
            damaged.append((row.ref, error))

        found = await self._reads.run(
            lambda connection: tuple(work(connection, note if on_damage else None))
        )
        if on_damage is not None:
            for ref, error in damaged:
                on_damage(ref, error)
        return found


def _prepared(location: Location, busy_seconds: float) -> Database:
    database = database_at(location, busy_seconds)
    database.prepare()
    return database


def _get(connection: Connection, ref: ToolRef, session: str | None) -> ToolVersion:
    rows = reading.require_name(connection, ref.name)
    if ref.sequence is not None or ref.digest is not None:
        row = reading.only_match(rows, ref)
    else:
        row = _chosen(connection, ref.name, rows, session)
    version = reading.load(connection, row, to_call=True)
    if version.state not in CALLABLE:
        raise ToolNotCallableError(str(version.ref), version.state.value, version.state_reason)
    owner = version.place.session if version.place else None
    if owner not in {None, session}:
        raise ToolNotCallableError(
            str(version.ref),
            f"approved for the session {owner} alone",
            f"`toolkiln tools promote {version.ref}` is how a person gives it to everybody",
        )
    return version


def _chosen(
    connection: Connection, name: str, rows: list[VersionRow], session: str | None
) -> VersionRow:
    held = {} if session is None else {p.name: p.digest for p in pins(connection, session)}
    offer = Offer()
    for row in rows:
        offer.add(row.digest, row.channel, row.weight, row.place_session)
    digest = offer.choose(name, session, held.get(name))
    found = next((row for row in rows if row.digest == digest), None)
    if found is None:
        # What is wrong with the bytes is told before what is wrong with the state.
        reading.load(connection, reading.find_row(connection, ToolRef(name=name)))
        states = ", ".join(f"@{row.sequence} {row.channel or row.state}" for row in rows)
        raise ToolNotCallableError(
            name, "without an approved version", f"its versions are {states}"
        )
    return found

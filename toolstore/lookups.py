"""What can be asked of a store; `ToolStore` adds what can be changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from toolstore import audit, calls, forgetting, forms, logbook, postings, reading
from toolstore.assemble import VersionRow
from toolstore.attest.guard import GuardedLane
from toolstore.channels import Offer
from toolstore.choosing import callable_version
from toolstore.errors import StoreDamagedError
from toolstore.head import Head
from toolstore.models import Event, Lifecycle, ToolRef, ToolSummary, ToolVersion, VerifyReport

T = TypeVar("T")

DamageListener = Callable[[str, StoreDamagedError], None]


class Lookups:
    """Reads versions and the log, each question in one transaction of its own.

    What is read as a `ToolVersion` was verified against digest, evidence and log; summaries are
    the tables' word and good for showing.
    """

    def __init__(self, reads: GuardedLane, head: Head) -> None:
        self._reads = reads
        self._head = head

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
        return await self._reads.run(partial(callable_version, ref=ref, session=session))

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

    async def calls_of(
        self, digest: str, *, limit: int, with_body: bool = False
    ) -> tuple[calls.CallRecord, ...]:
        """The latest recorded calls of a version, latest first."""
        return await self._reads.run(
            partial(calls.latest, version=digest, limit=limit, with_body=with_body)
        )

    async def calls_kept(self, which: forgetting.Which) -> tuple[forgetting.CallsKept, ...]:
        """What is kept of recorded calls, a line a version."""
        return await self._reads.run(partial(forgetting.kept, which=which))

    async def approved_alike(
        self, *, normal: str | None = None, shape: str | None = None, limit: int = 20
    ) -> tuple[ToolRef, ...]:
        """Exact references of approved versions of that form, the latest approved first."""
        return await self._reads.run(
            partial(forms.approved_alike, normal=normal, shape=shape, limit=limit)
        )

    # -- inside ----------------------------------------------------------------------------------

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

"""Writes the log: steps are sealed in memory one after the other, then put down together."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, insert, update

from toolstore import derived, logbook, postings, tables
from toolstore.assemble import VersionRow
from toolstore.attest.notary import Notary, notary_of
from toolstore.blobs import has_blob
from toolstore.derived import Fact
from toolstore.events import EventDetail, EventType, Link, Step, place_after, seal, time_text
from toolstore.models import Event, Lifecycle


class Journal:
    """The steps of one transaction, as one actor at one time."""

    def __init__(self, connection: Connection, *, at: datetime, actor: str) -> None:
        self._connection = connection
        self._at = at
        self._actor = actor
        self._before = logbook.checked_head(connection)
        self._notary = notary_of(connection, at=at, actor=actor)
        self._events: list[Event] = []
        self._rows: dict[str, VersionRow] = {}
        self._facts: list[Fact] = []

    def record(
        self, row: VersionRow, kind: EventType, reason: str, detail: EventDetail | None = None
    ) -> VersionRow:
        """Seal one step of `row`; what it is afterwards.

        Raises:
            ValueError: the life-cycle has no such step.
        """
        detail = self._with_policy(detail or EventDetail())
        if self._notary is not None:
            detail = self._notary.attest(row.digest, row.name, kind, reason, detail)
        step = Step(
            type=kind,
            digest=row.digest,
            name=row.name,
            from_state=None if row.state is None else Lifecycle(row.state),
            reason=reason,
            detail=detail,
        )
        event = seal(step, self._last(), at=self._at, actor=self._actor)
        self._events.append(event)
        place = place_after(kind, step.detail, event.to_state, row.place)
        after = replace(
            row,
            state=event.to_state.value,
            state_event=event.sequence,
            channel=place.channel.value if place else None,
            weight=place.weight if place else None,
            place_session=place.session if place else None,
        )
        self._rows[row.digest] = after
        self._facts.append(Fact(event.sequence, row.tool, row.digest, kind, step.detail))
        return after

    @property
    def notary(self) -> Notary | None:
        """Who vouches for the steps; None in a store without keys."""
        return self._notary

    def write(self) -> None:
        """Put down what was sealed, and bring what derives from it along."""
        if not self._events:
            return
        self._connection.execute(insert(tables.event), [_event_row(e) for e in self._events])
        last = self._last()
        if self._before.sequence == 0:
            head = insert(tables.log_head).values(id=1, sequence=last.sequence, hash=last.hash)
            self._connection.execute(head)
        else:
            self._connection.execute(
                update(tables.log_head).values(sequence=last.sequence, hash=last.hash)
            )
        derived.write_rows(self._connection, self._rows.values())
        derived.write_facts(self._connection, self._facts)
        postings.follow(self._connection, self._rows.values())
        if self._notary is not None:
            self._notary.finish(self._events)

    def _with_policy(self, detail: EventDetail) -> EventDetail:
        """Say of a decision that the text of its policy is kept, where it is."""
        if detail.decision is None:
            return detail
        digest = detail.decision.policy_digest
        return detail.model_copy(
            update={"policy": digest if has_blob(self._connection, digest) else None}
        )

    def _last(self) -> Link:
        if not self._events:
            return self._before
        return Link(sequence=self._events[-1].sequence, hash=self._events[-1].hash)


def _event_row(event: Event) -> dict[str, object]:
    return {
        "sequence": event.sequence,
        "previous_hash": event.previous_hash,
        "hash": event.hash,
        "at": time_text(event.at),
        "actor": event.actor,
        "type": event.type,
        "version": event.digest,
        "name": event.name,
        "from_state": event.from_state,
        "to_state": event.to_state,
        "policy_digest": event.policy_digest,
        "reason": event.reason,
        "detail": event.detail,
    }

"""What every step of the life-cycle writes with, inside one transaction that the caller holds."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from policies.decision import Decision
from toolstore import reading
from toolstore.assemble import VersionRow
from toolstore.errors import ToolNotFoundError, TransitionError
from toolstore.events import EventDetail, EventType, is_allowed
from toolstore.journal import Journal
from toolstore.models import Lifecycle, ToolVersion
from toolstore.placing import Placing


class Writer:
    """Writes as one actor at one time: one change, then it is done with."""

    def __init__(self, connection: Connection, *, at: datetime, actor: str) -> None:
        self.connection = connection
        self.at = at
        self.journal = Journal(connection, at=at, actor=actor)
        self.placing = Placing(connection, self.journal)
        self.refusal: TransitionError | None = None
        """What to tell the caller although something was written: a vote that came too late."""

    def overrule(self, row: VersionRow, vote: str, detail: EventDetail) -> None:
        """Keep a vote that came after the decision: everybody who decided is in the log."""
        self.refusal = TransitionError(
            row.ref, f"it is {row.state} by now; {vote} came too late, and is kept in the log"
        )
        self.journal.record(row, EventType.OVERRULED, f"{vote} came too late", detail)

    def require(self, row: VersionRow, kind: EventType) -> None:
        """Refuse a step that the life-cycle does not have from where `row` is.

        Raises:
            TransitionError: it has none.
        """
        state = None if row.state is None else Lifecycle(row.state)
        if not is_allowed(kind, state):
            raise TransitionError(row.ref, f"it is {row.state}, so it cannot be {PASSIVE[kind]}")

    def finish(self, digest: str) -> ToolVersion:
        """Put down what was done, and read it back as any reader would."""
        self.journal.write()
        row = reading.row_of_digest(self.connection, digest)
        if row is None:
            raise ToolNotFoundError(digest)
        return reading.load(self.connection, row)


PASSIVE: Final = {
    EventType.APPROVED: "approved; only a quarantined version can",
    EventType.REJECTED: "rejected; only a quarantined version can, and `revoke` takes others back",
    EventType.CHANGE_ASKED: "sent back for a change; only a quarantined version can",
    EventType.REVOKED: "revoked again",
    EventType.RESTORED: "gone back to; only a deprecated or archived version can",
    EventType.SUSPENDED: "set aside; only an approved or deprecated version can",
    EventType.CANARIED: "tried as a canary; only an approved or deprecated version can",
    EventType.PROMOTED: "promoted; only an approved version can, and `rollback` restores others",
    EventType.CANARY_FAILED: "taken out; only a canary can",
    EventType.DEPRECATED: "deprecated; only an approved version can",
    EventType.ARCHIVED: "archived; only a deprecated version can, so deprecate it first",
    EventType.PINNED: "pinned; only an approved or deprecated version can",
    EventType.PROVEN: "proven again; it was taken back or put away",
    EventType.WAIVED: "given a waiver; it is decided for good, or nobody can call it",
}
"""What cannot be done, and from where it could be."""


def words(decision: Decision) -> str:
    """The reasons of a decision, for the log."""
    return "; ".join(decision.reasons) or "no reason was given"

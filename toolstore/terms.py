"""The terms of an admission: how far it goes at first, and how much may be stored in all."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Self

from pydantic import Field
from sqlalchemy import Connection, func, select

from policies.decision import Channel
from policies.value import Value
from toolstore import reading, tables
from toolstore.errors import PredecessorChangedError, QuotaError, TransitionError
from toolstore.models import STABLE, Lifecycle, Place, Provenance, Quota, Submission
from toolstore.placing import last_event

_ADVICE: Final = (
    "Call a tool that is there, or ask a person to raise the limit in the policy; "
    "retiring tools does not lower the count"
)
_WIDTH = (Channel.SESSION, Channel.CANARY, Channel.STABLE)


class Terms(Value):
    """What the policy's life-cycle says about versions on their way in."""

    channel: Channel = Channel.STABLE
    """Where a version goes that is approved."""

    weight: float = Field(default=0.1, gt=0.0, le=1.0)
    """Of a canary."""

    quota: Quota | None = None
    beside_current: bool = False
    """Whether the evidence must be about what is replaced: a replay beside that very version, or
    none where there is none."""

    def narrowed(self, channels: Collection[Channel]) -> Self:
        """These terms with the narrowest of `channels`."""
        return self.model_copy(update={"channel": min(channels, key=_WIDTH.index)})

    def place(self, name: str, came: Provenance, connection: Connection) -> Place:
        """Where an approved version of `name` goes.

        A version that no session wrote has no session to stay in, and the first version of a name
        has nothing to be tried against: both are for everybody.
        """
        if self.channel is Channel.SESSION and came.session is not None:
            return Place(channel=Channel.SESSION, session=came.session)
        rows = reading.rows_of_name(connection, name)
        has_stable = any(row.channel == Channel.STABLE for row in rows)
        if self.channel is Channel.CANARY and has_stable:
            return Place(channel=Channel.CANARY, weight=self.weight)
        return STABLE


NO_TERMS = Terms()
"""For everybody at once, as much as there is."""


def check_quota(connection: Connection, submission: Submission, quota: Quota) -> None:
    """Refuse one version too many of a session or an author.

    Raises:
        QuotaError: there are as many as the policy allows.
    """
    came, made_in, version = submission.provenance, tables.made_in, tables.tool_version
    if came.session is not None:
        mine = made_in.c.session == came.session
        count = connection.scalar(select(func.count()).select_from(made_in).where(mine)) or 0
        if count >= quota.versions_per_session:
            raise QuotaError(
                submission.source.name,
                f"this session has stored {count} versions",
                f"lifecycle.versions_per_session is {quota.versions_per_session}",
                _ADVICE,
            )
    mine = version.c.author == came.author
    count = connection.scalar(select(func.count()).select_from(version).where(mine)) or 0
    if count >= quota.versions_per_author:
        raise QuotaError(
            submission.source.name,
            f"{came.author} has stored {count} versions",
            f"lifecycle.versions_per_tenant is {quota.versions_per_author}",
            _ADVICE,
        )


def check_beside_current(connection: Connection, submission: Submission) -> None:
    """Refuse evidence that was gathered beside another version than the one that is replaced.

    What is current itself replaces nothing.

    Raises:
        PredecessorChangedError: another version became current meanwhile, or none is any more.
    """
    rows = reading.rows_of_name(connection, submission.source.name)
    current = next((row for row in rows if row.channel == Channel.STABLE), None)
    replay = submission.evidence.replay
    compared = None if replay is None else replay.predecessor
    found = None if current is None else current.digest
    if found not in {compared, submission.digest}:
        raise PredecessorChangedError(
            submission.source.name,
            compared=None if replay is None else replay.predecessor_ref,
            current=None if current is None else current.ref,
        )


def check_not_revoked(connection: Connection, submission: Submission) -> None:
    """Refuse a text that was revoked in another image: a newer image makes it no better.

    Raises:
        TransitionError: it was.
    """
    rows = reading.rows_of_name(connection, submission.source.name)
    for row in rows:
        if row.source == submission.source.digest and row.state == Lifecycle.REVOKED:
            raise TransitionError(
                submission.source.name,
                f"{row.ref} is exactly this text in another image, and was revoked "
                f"({last_event(connection, row).reason}); change the tool and submit it as a new "
                "version",
            )

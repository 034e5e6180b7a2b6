"""How many tools a session and an author may propose: each costs a proof, stored or not.

Counted in the store, in the one transaction at a time that writes to it, so that all processes
and hosts share what is left. The log does not cover it: these are counts, and nothing is allowed
because of one that would not be allowed without.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from pydantic import Field
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select

from policies.value import Value
from toolstore import tables
from toolstore.errors import QuotaError
from toolstore.events import time_text
from toolstore.writing import Writer

WINDOW: Final = timedelta(hours=24)
"""Of an author's proposals those count that are younger."""

KEPT: Final = timedelta(days=30)
"""Of a session's; older ones are forgotten."""

_proposal = tables.proposal.c
_ADVICE: Final = "Use the tools that there are, or ask a person to raise the limit in the policy"


class ProposalQuota(Value):
    """How many there may be."""

    per_session: int = Field(ge=1)
    per_author: int = Field(ge=1)
    """In any 24 hours."""


def propose(
    writer: Writer, name: str, author: str, session: str | None, quota: ProposalQuota
) -> None:
    """Count one more proposal of `author` in `session`.

    Raises:
        QuotaError: it would be one too many; it is not counted.
    """
    connection, at = writer.connection, writer.at
    connection.execute(delete(tables.proposal).where(_proposal.at <= time_text(at - KEPT)))
    if session is not None:
        count = _count(connection, _proposal.session == session)
        if count >= quota.per_session:
            raise QuotaError(
                name,
                f"this session has proposed {count} tools",
                f"lifecycle.definitions_per_session is {quota.per_session}",
                _ADVICE,
            )
    recent = _proposal.at > time_text(at - WINDOW)
    count = _count(connection, _proposal.author == author, recent)
    if count >= quota.per_author:
        raise QuotaError(
            name,
            f"{author} has proposed {count} tools in the last 24 hours",
            f"lifecycle.definitions_per_tenant is {quota.per_author}",
            f"{_ADVICE}, or try again later",
        )
    row = {"author": author, "session": session, "at": time_text(at)}
    connection.execute(insert(tables.proposal).values(row))


def _count(connection: Connection, *conditions: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(tables.proposal).where(*conditions)
    return connection.scalar(query) or 0

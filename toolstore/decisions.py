"""Policies and decisions under them: `ToolStore.decisions`.

The whole text of a policy is kept under its digest, so that a decision can be checked when the
file that it came from is long another one. A version is decided again once for each policy, on the
evidence and the approvals that it has: what no longer passes goes back to quarantine.
"""

from __future__ import annotations

from functools import partial
from typing import Final, TypeVar

from sqlalchemy import Connection, exists, select

from policies.decision import Decision
from toolstore import logbook, reading, tables
from toolstore.blobs import has_blob, put_blobs, read_blobs
from toolstore.commit import Commit
from toolstore.errors import StoreDamagedError
from toolstore.events import EventDetail, EventType, is_allowed
from toolstore.lane import Lane
from toolstore.models import Lifecycle, ToolVersion
from toolstore.writing import Writer

T = TypeVar("T")

SHOWN_REASONS: Final = 3


class Decisions:
    """Keeps policies, and decisions that were taken again."""

    def __init__(self, reads: Lane, write: Commit) -> None:
        self._reads = reads
        self._write = write

    async def keep_policy(self, text: bytes, *, digest: str, actor: str) -> None:
        """Keep the text of a policy, where it is not there, or not there any more.

        `digest` is what it hashes to.

        Raises:
            StoreDamagedError: other bytes are kept under its digest.
        """
        if not await self._reads.run(lambda connection: has_blob(connection, digest)):
            await self._write(actor, lambda writer: put_blobs(writer.connection, [text]))

    async def policy(self, digest: str) -> bytes | None:
        """The text of the policy with this digest; None where it was never kept.

        Raises:
            StoreDamagedError: the bytes are not what the digest says, or were taken away.
        """
        return await self._reads.run(partial(_policy, digest=digest))

    async def decided_again(
        self, digest: str, decision: Decision, *, policy: bytes, actor: str
    ) -> ToolVersion:
        """Keep what a policy says now to a version that was approved under another one.

        Allowed, the version stays where it is, and the log says so once for each policy. Else it
        goes back to quarantine, with the reasons.

        Raises:
            ToolNotFoundError: no version has this digest.
            StoreDamagedError: it is not what was put in.
        """
        work = partial(_decide_again, digest=digest, decision=decision, policy=policy)
        return await self._write(actor, work)


def _policy(connection: Connection, digest: str) -> bytes | None:
    found = read_blobs(connection, [digest]).get(digest)
    if found is None:
        for event in logbook.events(connection, tables.event.c.policy_digest == digest):
            if EventDetail.model_validate_json(event.detail).policy == digest:
                raise StoreDamagedError(
                    f"the text of the policy {digest} is missing, under which event "
                    f"{event.sequence} was decided"
                )
    return found


def _decide_again(writer: Writer, digest: str, decision: Decision, policy: bytes) -> ToolVersion:
    row = reading.require_digest(writer.connection, digest)
    version = reading.load(writer.connection, row)
    if not is_allowed(EventType.REDECIDED, version.state):
        return version  # somebody else took it back meanwhile
    put_blobs(writer.connection, [policy])
    detail = EventDetail(decision=decision)
    reasons = "; ".join(decision.reasons[:SHOWN_REASONS])
    if not decision.allowed:
        same = version.decision.policy_digest == decision.policy_digest
        why = "what it was approved on has ended" if same else "the policy changed"
        reason = f"{why}, and it no longer passes: {reasons}"
        writer.placing.take_out(row, EventType.SUSPENDED, reason, detail)
    elif not _was_decided(writer.connection, digest, decision.policy_digest):
        reason = f"the policy changed, and it passes: {reasons}"
        writer.journal.record(row, EventType.REDECIDED, reason, detail)
    else:
        return version
    return writer.finish(digest)


def _was_decided(connection: Connection, digest: str, policy_digest: str) -> bool:
    """Whether the log has a yes under this policy since the version last left quarantine."""
    event = tables.event.c
    since = (
        select(event.sequence)
        .where(event.version == digest, event.from_state == Lifecycle.QUARANTINED.value)
        .where(event.to_state == Lifecycle.APPROVED.value)
        .order_by(event.sequence.desc())
        .limit(1)
        .scalar_subquery()
    )
    found = exists().where(
        event.version == digest,
        event.policy_digest == policy_digest,
        event.sequence >= since,
        event.to_state.in_([Lifecycle.APPROVED.value, Lifecycle.DEPRECATED.value]),
    )
    return bool(connection.scalar(select(found)))

"""What the pages need of the review desk, and of the log behind it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from policies.decision import Channel
from runtime.review.item import QueueLine, ReviewItem, ReviewOutcome, Vote


class Desk(Protocol):
    """`runtime.review.desk.ReviewDesk`; see there for what each raises."""

    async def queue(self) -> tuple[QueueLine, ...]:
        """What waits for a person."""
        ...

    async def item(
        self, ref: str, *, measured: bool = True, reader: str | None = None
    ) -> ReviewItem:
        """Everything about one version."""
        ...

    async def decide(  # noqa: PLR0913 - a vote has these parts
        self,
        shown: str,
        vote: Vote,
        *,
        principal: str,
        reason: str = "",
        scope: Channel = Channel.STABLE,
        expires_at: datetime | None = None,
    ) -> ReviewOutcome:
        """Keep a vote on exactly what was shown."""
        ...

"""The review desk: what waits, everything about one version, and votes on what was shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

from policies.config import PolicyProfile
from policies.decision import Channel
from runtime.composition import Composition
from runtime.equipment import Equipment
from runtime.review.assembly import Assembly
from runtime.review.item import QueueLine, ReviewItem, ReviewOutcome, Vote
from runtime.review.measuring import Measuring
from runtime.review.readers import require_reading
from runtime.review.references import find_version
from runtime.review.voting import Ballot, Voting
from runtime.review.waiting import read_queue
from sandbox.base import Sandbox
from toolstore.models import ToolVersion
from toolstore.store import ToolStore


class ReviewDesk:
    """Reads one store for reviewers and keeps their votes in it.

    Whoever looks is named: nothing is shown of a version whose source the policy does not let
    them read.
    """

    def __init__(  # noqa: PLR0913  each is one part that it brings together
        self,
        *,
        store: ToolStore,
        equipment: Equipment,
        composition: Composition,
        sandbox: Callable[[], Awaitable[Sandbox]] | None,
        package_folder: Path,
        clock: Callable[[], datetime],
    ) -> None:
        """Without a `sandbox` coverage is not measured."""
        self._store = store
        self._equipment = equipment
        self._clock = clock
        self._measuring = Measuring(sandbox, equipment, composition)
        self._assembly = Assembly(store, equipment, package_folder, clock)
        self._voting = Voting(store, equipment, clock)

    @property
    def profile(self) -> PolicyProfile:
        """The policy in force."""
        return self._equipment.profile

    async def queue(self, *, reader: str) -> tuple[QueueLine, ...]:
        """What waits for a person and `reader` may read, the longest first; nothing damaged."""
        return await read_queue(self._store, self._equipment, reader, self._clock())

    async def item(self, ref: str, *, reader: str, measured: bool = True) -> ReviewItem:
        """Everything about one version, by reference or whole digest.

        A bare name means the one version of it that waits. With `measured` the coverage is
        measured in the sandbox, where that was not done before.

        Raises:
            AccessRefusedError: The policy does not let `reader` read its source, or that of the
                version that it is compared with.
            ToolNotFoundError: There is no such version.
            UsageError: Several wait under that name, or it is no reference.
            StoreDamagedError: It is not what was put in.
        """
        version = await self.find(ref)
        require_reading(self._equipment.access, reader, version)
        if measured:
            coverage = await self._measuring.measure(version)
        else:
            coverage = self._measuring.known(version)
        return await self._assembly.item(version.digest, coverage, reader=reader)

    async def decide(  # noqa: PLR0913  a vote has these parts
        self,
        shown: str,
        vote: Vote,
        *,
        principal: str,
        reason: str = "",
        scope: Channel = Channel.STABLE,
        expires_at: datetime | None = None,
    ) -> ReviewOutcome:
        """Keep a vote on exactly what was shown.

        Args:
            shown: `ReviewItem.shown`, or the digest of a version alone.
            vote: Yes, no, or a wish for a change.
            principal: Who votes.
            reason: Goes to the author's session; needed for a no and for a wish.
            scope: How far a yes goes.
            expires_at: From when on a yes no longer counts; None is for good.

        Raises:
            ReviewChangedError: What was shown is not what is there. Nothing was done.
            UsageError: A part of the vote is missing or makes no sense, or the policy says no.
            TransitionError: It does not wait for review.
            ToolNotFoundError: No version has this digest.
        """
        ballot = Ballot(vote, principal, reason, scope, expires_at)
        return await self._voting.decide(shown, ballot)

    async def find(self, text: str) -> ToolVersion:
        """The version that a reviewer means: a bare NAME is the one of it that waits.

        Raises:
            ToolNotFoundError: There is no such version.
            UsageError: Several wait under that name, or it is no reference.
            StoreDamagedError: It is not what was put in.
        """
        return await find_version(self._store, text)

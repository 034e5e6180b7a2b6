"""Quotas of proposals: what is left is shared by everybody who has the store open."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from factories import NOON
from store_places import Place

from toolstore.errors import QuotaError
from toolstore.proposals import KEPT, ProposalQuota
from toolstore.store import ToolStore

QUOTA = ProposalQuota(per_session=2, per_author=3)


async def test_proposals_are_counted_by_session_and_by_author_in_a_day(place: Place) -> None:
    now = NOON

    def clock() -> datetime:
        return now

    async with (
        await ToolStore.open(place.location, clock=clock) as one,
        await ToolStore.open(place.location, clock=clock) as other,
    ):

        async def propose(store: ToolStore, session: str | None) -> None:
            await store.lifecycle.propose("double", author="ada", session=session, quota=QUOTA)

        await propose(one, "a")
        await propose(other, "a")
        with pytest.raises(QuotaError, match=r"2 tools, and .*definitions_per_session is 2"):
            await propose(one, "a")
        await propose(one, "b")
        with pytest.raises(QuotaError, match="definitions_per_tenant is 3"):
            await propose(other, None)
        now += timedelta(hours=24)
        await propose(other, None)
        with pytest.raises(QuotaError, match="definitions_per_session"):
            await propose(other, "a")
        now += KEPT
        await propose(other, "a")
        assert (await one.verify()).damage == ()
    assert place.query("SELECT author, session FROM proposal") == [("ada", "a")]


async def test_a_quota_holds_for_all_who_propose_at_once(place: Place) -> None:
    stores = [await ToolStore.open(place.location) for _ in range(4)]
    quota = ProposalQuota(per_session=5, per_author=100)
    try:
        outcomes = await asyncio.gather(
            *(
                stores[n % 4].lifecycle.propose("x", author=f"p{n}", session="one", quota=quota)
                for n in range(16)
            ),
            return_exceptions=True,
        )
    finally:
        for store in stores:
            await store.close()

    assert sum(outcome is None for outcome in outcomes) == 5
    assert {type(outcome) for outcome in outcomes} == {type(None), QuotaError}

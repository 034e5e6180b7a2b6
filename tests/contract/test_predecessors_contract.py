"""What may not come in: evidence about another predecessor, and a text that was revoked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from factories import make_submission
from store_places import Place

from policies.replay import Replay
from policies.value import sha256_digest
from toolstore.errors import PredecessorChangedError, TransitionError
from toolstore.models import Submission, ToolVersion
from toolstore.store import ToolStore
from toolstore.terms import Terms

TERMS = Terms(beside_current=True)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[ToolStore]:
    async with await ToolStore.open(place.location) as opened:
        yield opened


def version_of(number: int, beside: ToolVersion | None = None) -> Submission:
    """Another text of one tool, with evidence of how it behaves beside `beside`."""
    code = f"def double(number: int) -> int:\n    return number * 2 + {number} - {number}\n"
    made = make_submission(code=code)
    if beside is None:
        return made
    replay = Replay(predecessor=beside.digest, predecessor_ref=str(beside.ref), left_out="none")
    return made.model_copy(update={"evidence": made.evidence.model_copy(update={"replay": replay})})


async def admit(store: ToolStore, submission: Submission) -> ToolVersion:
    return await store.admit(submission, actor="ada", terms=TERMS)


async def test_who_replaces_something_was_compared_with_it(store: ToolStore) -> None:
    first = await admit(store, version_of(1))
    with pytest.raises(PredecessorChangedError, match=r"compared with no other .* double@1 is"):
        await admit(store, version_of(2))
    second = await admit(store, version_of(2, first))
    with pytest.raises(PredecessorChangedError, match=r"with double@1, and double@2 is current"):
        await admit(store, version_of(3, first))

    assert await admit(store, version_of(2, first)) == second  # it is what is current
    assert len(await store.history("double")) == 2
    await store.revoke(second.digest, actor="bob", reason="no")
    with pytest.raises(PredecessorChangedError, match="none is current any more"):
        await admit(store, version_of(3, second))
    third = await admit(store, version_of(3))
    assert third.parent is None
    assert (await store.verify()).intact


async def test_what_was_revoked_stays_out_in_a_newer_image_too(store: ToolStore) -> None:
    first = version_of(1)
    await store.revoke((await admit(store, first)).digest, actor="bob", reason="it lies")
    image = sha256_digest(b"a newer image")
    evidence = first.evidence.model_copy(update={"image_digest": image})
    again = first.model_copy(update={"image_digest": image})
    again = again.model_copy(
        update={"evidence": evidence.model_copy(update={"subject": again.digest})}
    )
    with pytest.raises(TransitionError, match=r"double@1 is exactly this text .* \(it lies\)"):
        await admit(store, again)
    assert len(await store.history("double")) == 1
    assert (await admit(store, version_of(2))).sequence == 2


async def test_of_upgrades_at_once_one_comes_and_the_others_are_told(place: Place) -> None:
    async with (
        await ToolStore.open(place.location) as one,
        await ToolStore.open(place.location) as other,
    ):
        first = await admit(one, version_of(0))
        done = await asyncio.gather(
            *(admit((one, other)[n % 2], version_of(n, first)) for n in range(1, 9)),
            return_exceptions=True,
        )

        (winner,) = (each for each in done if isinstance(each, ToolVersion))
        assert sum(isinstance(each, PredecessorChangedError) for each in done) == 7
        assert winner.parent == first.digest
        assert [each.digest for each in await one.history("double")] == [
            first.digest,
            winner.digest,
        ]

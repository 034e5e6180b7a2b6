"""Recorded calls and the forms of versions, on every database that a store can be kept in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from factories import NOON, make_submission
from store_places import Place

from policies.outcomes import Outcome
from policies.value import canonical_json, sha256_digest
from toolstore.calls import CallBody, CallRecord
from toolstore.forgetting import Which
from toolstore.store import ToolStore

LONG_AGO = NOON - timedelta(days=1000)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[ToolStore]:
    async with await ToolStore.open(place.location) as opened:
        yield opened


async def version_in(store: ToolStore, name: str = "double") -> str:
    return (await store.admit(make_submission(name), actor="ada")).digest


def record(version: str, number: int, *, days: int = 0, body: bool = True) -> CallRecord:
    return CallRecord(
        version=version,
        session="session-1",
        tenant="ada",
        arguments_digest=sha256_digest(canonical_json({"number": number})),
        result_digest=sha256_digest(canonical_json(number * 2)),
        outcome=Outcome.RETURNED,
        execute_seconds=0.25,
        total_seconds=0.5,
        memory_bytes=5_000_000_000,
        at=NOON + timedelta(days=days),
        body=CallBody(arguments={"number": number}, value=number * 2) if body else None,
    )


async def keep(store: ToolStore, *records: CallRecord, limit: int = 100) -> None:
    await store.record_calls(records, keep=limit, before=LONG_AGO)


async def test_calls_come_back_latest_first(store: ToolStore) -> None:
    version = await version_in(store)
    first, second = record(version, 1), record(version, 2, body=False)
    await keep(store, first, second)

    assert await store.calls_of(version, limit=10) == (second, first)
    assert await store.calls_of(version, limit=10, with_body=True) == (first,)
    assert await store.calls_of(version, limit=1) == (second,)
    assert (await store.verify()).intact


async def test_calls_are_forgotten_by_number_and_by_age(store: ToolStore) -> None:
    one, other = await version_in(store), await version_in(store, "treble")
    await keep(store, *(record(one, number) for number in range(6)), record(other, 9))
    await keep(store, record(one, 6), limit=3)
    assert [call.body for call in await store.calls_of(one, limit=10)] == [
        CallBody(arguments={"number": number}, value=number * 2) for number in (6, 5, 4)
    ]
    assert len(await store.calls_of(other, limit=10)) == 1

    late = record(one, 7, days=2)
    await store.record_calls([late], keep=100, before=NOON + timedelta(days=1))
    assert await store.calls_of(one, limit=10) == (late,)
    assert await store.calls_of(other, limit=10) == ()


async def test_a_body_stays_as_long_as_a_call_has_it(store: ToolStore) -> None:
    version = await version_in(store)
    await keep(store, record(version, 1), record(version, 1, days=5))
    await store.record_calls([], keep=100, before=NOON + timedelta(days=1))

    (left,) = await store.calls_of(version, limit=10, with_body=True)
    assert left.body == CallBody(arguments={"number": 1}, value=2)


async def test_calls_are_deleted_on_request(store: ToolStore) -> None:
    one, other = await version_in(store), await version_in(store, "treble")
    theirs = record(one, 1).model_copy(update={"session": "session-2", "tenant": "bob"})
    await keep(store, record(one, 1), theirs, record(one, 2, days=3), record(other, 1))
    assert [(each.name, each.calls, each.bodies) for each in await store.calls_kept(Which())] == [
        ("double", 3, 3),
        ("treble", 1, 1),
    ]

    assert await store.forget_calls(Which(session="session-1", name="double")) == 2
    assert await store.calls_of(one, limit=9) == (theirs,)  # its body was another's as well
    assert await store.forget_calls(Which(tenant="bob", version=other)) == 0
    assert await store.forget_calls(Which(tenant="bob"), bodies_alone=True) == 1
    assert await store.calls_of(one, limit=9) == (theirs.model_copy(update={"body": None}),)
    assert await store.forget_calls(Which(before=NOON + timedelta(days=1))) == 2
    assert await store.calls_kept(Which()) == ()
    assert (await store.verify()).intact


async def test_nothing_of_a_deleted_call_is_left(place: Place, store: ToolStore) -> None:
    version = await version_in(store)
    await keep(store, record(version, 1), record(version, 2), record(version, 2, days=1))
    await store.forget_calls(Which(before=NOON + timedelta(hours=1)))
    ((calls, bodies),) = place.query(
        "SELECT (SELECT count(*) FROM call), (SELECT count(*) FROM call_body)"
    )
    assert (calls, bodies) == (1, 1)


async def test_only_approved_versions_of_that_form_are_found(store: ToolStore) -> None:
    one, other = await version_in(store), await version_in(store, "treble")
    await store.note_form(one, normal="n1", shape="s")
    await store.note_form(one, normal="n1", shape="s")
    await store.note_form(other, normal="n2", shape="s")

    assert [ref.digest for ref in await store.approved_alike(normal="n1", limit=9)] == [one]
    assert {ref.name for ref in await store.approved_alike(shape="s", limit=9)} == {
        "double",
        "treble",
    }
    assert len(await store.approved_alike(shape="s", limit=1)) == 1
    assert await store.approved_alike(normal="n1", shape="other", limit=9) == ()
    await store.revoke(one, actor="ada", reason="no")
    assert await store.approved_alike(normal="n1", limit=9) == ()


async def test_a_body_that_is_not_what_was_put_in_is_left_out(
    place: Place, store: ToolStore
) -> None:
    version = await version_in(store)
    await keep(store, record(version, 1), record(version, 2))
    place.tamper(
        "UPDATE call_body SET bytes = (SELECT bytes FROM call_body ORDER BY digest LIMIT 1)"
    )

    (left,) = await store.calls_of(version, limit=10)
    assert left.body is not None
    assert left.arguments_digest == sha256_digest(canonical_json(left.body.arguments))
    (damage,) = (await store.verify()).damage
    assert "what is kept of it is not what was recorded" in damage.problem

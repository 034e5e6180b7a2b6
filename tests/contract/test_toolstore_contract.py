"""What every store promises, wherever it is: in a folder, on a PostgreSQL server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from factories import NOON, allowed, make_submission, needs_review
from store_places import Place

from policies.decision import Approval
from toolstore.database import BUSY_SECONDS
from toolstore.errors import (
    StoreBusyError,
    StoreDamagedError,
    StoreUnusableError,
    ToolNotCallableError,
    ToolNotFoundError,
    TransitionError,
)
from toolstore.index import database_at
from toolstore.layout import REVISIONS
from toolstore.models import Lifecycle, Submission, ToolRef
from toolstore.store import ToolStore
from toolstore.tables import APPEND_ONLY, metadata


@pytest.fixture
async def store(place: Place) -> AsyncIterator[ToolStore]:
    async with await ToolStore.open(place.location) as opened:
        yield opened


def variant(number: int, name: str = "double", **changes: object) -> Submission:
    code = f"def {name}(number: int) -> int:\n    return number * 2  # {number}\n"
    return make_submission(name, code=code, **changes)  # type: ignore[arg-type]


def yes_to(digest: str, principal: str = "bob") -> Approval:
    return Approval(principal=principal, digest=digest, at=NOON, comment="looks right")


# -- one life --------------------------------------------------------------------------------------


async def test_a_life_from_submission_to_revocation(store: ToolStore, place: Place) -> None:
    first = await store.admit(variant(1), actor="ada")
    second = await store.admit(variant(2), actor="ada")

    assert (await store.get(ToolRef(name="double"))).digest == second.digest
    back = await store.rollback("double", actor="bob", reason="slow")
    assert back.digest == first.digest
    await store.revoke(ToolRef(name="double", sequence=1), actor="bob", reason="wrong")
    with pytest.raises(ToolNotCallableError, match="wrong"):
        await store.get(ToolRef(name="double", sequence=1))
    with pytest.raises(TransitionError, match="revoked"):
        await store.admit(variant(1), actor="ada")
    assert [v.state.value for v in await store.history("double")] == ["revoked", "deprecated"]
    report = await store.verify()
    assert report.damage == ()
    assert report.trusted == ("double@1", "double@2")
    async with await ToolStore.open(place.location) as again:
        assert await again.events() == await store.events()
        assert again.head() == store.head() == report.events


async def test_a_person_decides_once(store: ToolStore) -> None:
    waiting = await store.admit(variant(1, decision=needs_review()), actor="ada")

    assert waiting.state is Lifecycle.QUARANTINED
    assert await store.pending() == (waiting,)
    approved = await store.approve(waiting.digest, yes_to(waiting.digest), allowed(), actor="bob")
    assert approved.state is Lifecycle.APPROVED
    assert [each.principal for each in approved.approvals] == ["bob"]
    with pytest.raises(TransitionError, match="too late"):
        await store.reject(waiting.digest, actor="eve", reason="too late")


async def test_what_is_not_there_is_said_so(store: ToolStore) -> None:
    await store.admit(variant(1), actor="ada")

    with pytest.raises(ToolNotFoundError, match="Did you mean 'double'"):
        await store.get(ToolRef(name="doubel"))
    with pytest.raises(ToolNotFoundError):
        await store.revoke("sha256:" + "0" * 64, actor="bob", reason="gone")


async def test_every_text_comes_back_as_it_was(store: ToolStore) -> None:
    reason = "wrong: \\ ' \" %s %% :name $1 🜁\u202e\t"
    version = await store.admit(variant(1), actor="ada — 工具")

    await store.revoke(version.digest, actor="ada — 工具", reason=reason)

    last = (await store.events())[-1]
    assert (last.actor, last.reason) == ("ada — 工具", reason)


# -- many ------------------------------------------------------------------------------------------


async def test_names_are_sorted_by_code_points_and_listed_by_pages(store: ToolStore) -> None:
    names = ["a_c", "ab", "a1", "b", "aa", "z", "a10", "a2", "c_1"]
    for name in names:
        await store.admit(variant(1, name), actor="ada")
    await store.admit(variant(2, "ab"), actor="ada")

    everything = [(each.name, each.sequence) for each in await store.summaries()]
    assert everything == sorted([*((name, 1) for name in names), ("ab", 2)])
    pages, after = list[list[tuple[str, int]]](), None
    while not pages or pages[-1]:
        page = await store.summaries(limit=3, after=after)
        pages.append([(each.name, each.sequence) for each in page])
        after = pages[-1][-1] if page else after
    assert [line for page in pages for line in page] == everything
    assert [len(page) for page in pages] == [3, 3, 3, 1, 0]
    approved = await store.summaries([Lifecycle.APPROVED], limit=2, after=("ab", 1))
    assert [str(each.name) for each in approved] == ["ab", "b"]


# -- several at once -------------------------------------------------------------------------------


async def test_stores_that_write_at_once_make_one_chain(place: Place) -> None:
    stores = [await ToolStore.open(place.location) for _ in range(4)]
    try:
        versions = await asyncio.gather(
            *(stores[n % 4].admit(variant(n), actor=f"writer {n}") for n in range(12))
        )
        reports = await asyncio.gather(*(store.verify() for store in stores))
    finally:
        for store in stores:
            await store.close()

    assert sorted(version.sequence for version in versions) == list(range(1, 13))
    assert {(report.events, report.damage) for report in reports} == {(12 * 3 + 11, ())}


async def test_two_people_decide_at_once_and_one_of_them_did(place: Place) -> None:
    async with (
        await ToolStore.open(place.location) as one,
        await ToolStore.open(place.location) as other,
    ):
        digest = (await one.admit(variant(1, decision=needs_review()), actor="ada")).digest

        outcomes = await asyncio.gather(
            one.approve(digest, yes_to(digest), allowed(), actor="bob"),
            other.reject(digest, actor="eve", reason="no"),
            other.approve(digest, yes_to(digest, "cy"), allowed(), actor="cy"),
            return_exceptions=True,
        )

        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert len(refused) == 2
        assert {type(each) for each in refused} == {TransitionError}
        kinds = [event.type for event in await other.events()]
        assert kinds[3:] == ["overruled"] * 2  # the log has all three
        assert (await one.verify()).damage == ()


async def test_a_revocation_is_seen_by_twenty_others(place: Place) -> None:
    others = [await ToolStore.open(place.location) for _ in range(20)]
    try:
        async with await ToolStore.open(place.location) as store:
            await store.admit(variant(1), actor="ada")
            heads = [other.head() for other in others]
            for other in others:
                await other.get(ToolRef(name="double"))
            await store.revoke(ToolRef(name="double"), actor="bob", reason="wrong")
            revoked_at = time.monotonic()

        assert [other.head() for other in others] == [head + 1 for head in heads]
        assert time.monotonic() - revoked_at < 2.0  # the dead-line that is promised
        for other in others:
            with pytest.raises(ToolNotCallableError):
                await other.get(ToolRef(name="double"))
    finally:
        for other in others:
            await other.close()


async def test_a_reader_keeps_its_picture_while_others_write(place: Place) -> None:
    async with await ToolStore.open(place.location) as store:
        await store.admit(variant(1), actor="ada")
        database = database_at(place.location)
        with database.connect(writes=False) as connection, connection.begin():
            count = connection.exec_driver_sql("SELECT count(*) FROM event")
            assert count.scalar() == 3
            await store.admit(variant(2), actor="ada")
            assert connection.exec_driver_sql("SELECT count(*) FROM event").scalar() == 3
        assert store.head() == 7


async def test_a_writer_who_waits_too_long_is_told_to_retry(place: Place) -> None:
    async with await ToolStore.open(place.location, busy_seconds=0.1) as store:
        database = database_at(place.location, BUSY_SECONDS)
        with database.connect(writes=True) as connection, connection.begin():
            with pytest.raises(StoreBusyError, match="retry"):
                await store.admit(variant(1), actor="ada")
            assert store.head() == 0
            assert await store.summaries() == ()
        assert (await store.admit(variant(1), actor="ada")).sequence == 1


# -- attacks ---------------------------------------------------------------------------------------


async def test_the_database_itself_refuses_to_change_history(
    store: ToolStore, place: Place
) -> None:
    await store.admit(variant(1), actor="ada")

    changes = (
        "UPDATE {0} SET {1} = {1}",
        "DELETE FROM {0}",
        "INSERT INTO {0} SELECT * FROM {0}",
    )
    for table in ("blob", "tool", "tool_version", "evidence", "event"):
        assert table in APPEND_ONLY
        column = next(iter(metadata.tables[table].columns)).name
        for change in changes:
            with pytest.raises(Exception, match=r"append-only|duplicate key"):
                place.query(change.format(table, column))

    assert (await store.verify()).damage == ()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE event SET reason = 'better' WHERE sequence = 2", "not what its hash says"),
        ("UPDATE tool_version SET image_digest = 'sha256:1'", "do not give its digest"),
        ("UPDATE version_state SET state = 'deprecated'", "its state is kept as"),
        ("DELETE FROM evidence", "missing"),
        ("UPDATE log_head SET sequence = 2", "the log ends at"),
    ],
)
async def test_what_was_changed_past_the_triggers_is_found(
    store: ToolStore, place: Place, statement: str, words: str
) -> None:
    await store.admit(variant(1), actor="ada")
    place.tamper(statement)

    report = await store.verify()

    assert not report.intact
    assert words in " ".join(damage.problem for damage in report.damage)
    with pytest.raises((StoreDamagedError, ToolNotCallableError)):
        await store.get(ToolRef(name="double"))


async def test_a_log_that_became_shorter_is_noticed(store: ToolStore, place: Place) -> None:
    await store.admit(variant(1), actor="ada")
    assert store.head() == 3
    place.tamper("DELETE FROM event WHERE sequence = 3")

    with pytest.raises(StoreDamagedError, match="had 3 before"):
        store.head()


# -- making and bringing up to date ----------------------------------------------------------------


async def test_many_may_make_a_store_at_once(empty_place: Place) -> None:
    stores = await asyncio.gather(*(ToolStore.open(empty_place.location) for _ in range(3)))
    for store in stores:
        await store.close()

    assert database_at(empty_place.location).pending() == ()
    assert empty_place.query("SELECT version_num FROM alembic_version") == [(REVISIONS[-1],)]


async def test_a_store_of_a_later_program_is_left_alone(place: Place) -> None:
    await (await ToolStore.open(place.location)).close()
    place.query("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(StoreUnusableError, match="later toolkiln"):
        await ToolStore.open(place.location)


async def test_the_migrations_make_the_tables_that_the_queries_use(empty_place: Place) -> None:
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415 - this test alone
    from alembic.migration import MigrationContext  # noqa: PLC0415 - same

    from toolstore.index import structure_problems  # noqa: PLC0415 - same

    await (await ToolStore.open(empty_place.location)).close()
    with database_at(empty_place.location).connect(writes=False) as connection, connection.begin():
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert structure_problems(connection) == []


async def test_a_closed_store_says_so(place: Place) -> None:
    store = await ToolStore.open(place.location)
    await store.close()
    await store.close()

    with pytest.raises(StoreUnusableError, match="closed"):
        store.head()
    with pytest.raises(StoreUnusableError, match="closed"):
        await store.summaries()

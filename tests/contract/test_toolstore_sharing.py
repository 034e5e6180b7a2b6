"""Stores that processes share, that die and come back, that move from one database to another."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import psycopg
import pytest
from factories import make_submission
from postgres_server import PASSWORD, PostgresServer
from programs import run_program
from store_places import FolderPlace, Place, ServerPlace
from storekit import fill

from toolstore.copying import copy_store
from toolstore.errors import StoreDamagedError, StoreUnusableError
from toolstore.index import database_at
from toolstore.layout import REVISIONS
from toolstore.store import ToolStore

BLUNT = (
    "CREATE OR REPLACE FUNCTION toolstore_append_only() RETURNS trigger "
    "LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
)


def silently(_what: str, _done: int, _count: int) -> None:
    """No progress is told."""


# -- processes -------------------------------------------------------------------------------------


async def test_processes_on_one_server_lose_nothing(postgres_url: str) -> None:
    answers = await asyncio.to_thread(run_program, "store_writing.py", postgres_url, 4, 2)

    assert [answer["errors"] for answer in answers] == [[]] * 4
    async with await ToolStore.open(postgres_url) as store:
        summaries = await store.summaries()
        assert (await store.verify()).damage == ()
    assert sorted(ref for answer in answers for ref in answer["refs"]) == sorted(
        f"{each.name}@{each.sequence}" for each in summaries
    )
    shared = [each.sequence for each in summaries if each.name == "shared"]
    assert shared == list(range(1, 9))


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_a_writer_on_a_server_killed_at_every_point_of_every_step(empty_url: str) -> None:
    found = run_program("store_killing.py", empty_url, 1, 100)

    print(found)
    assert found["problems"] == []
    assert found["killed"] >= 1500
    assert found["longest_wait_seconds"] < 2.0


async def test_a_server_that_comes_back_is_worked_with_again(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    async with await ToolStore.open(postgres_url) as store:
        await store.admit(make_submission(), actor="ada")
        assert store.head() == 3
        postgres_server.stop(signal.SIGQUIT)
        try:
            with pytest.raises(StoreUnusableError, match="Check that the server runs"):
                store.head()
            with pytest.raises(StoreUnusableError):
                await store.summaries()
            with pytest.raises(StoreUnusableError):
                await store.admit(make_submission("other"), actor="ada")
        finally:
            postgres_server.start()

        assert store.head() == 3
        await store.admit(make_submission("other"), actor="ada")
        assert [each.name for each in await store.summaries()] == ["double", "other"]
        assert (await store.verify()).damage == ()


async def test_a_connection_that_was_cut_is_made_again_without_a_word(postgres_url: str) -> None:
    async with await ToolStore.open(postgres_url) as store:
        await store.admit(make_submission(), actor="ada")
        await store.summaries()
        store.head()
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

        assert store.head() == 3
        await store.admit(make_submission("other"), actor="ada")
        assert len(await store.summaries()) == 2


# -- the server ------------------------------------------------------------------------------------


async def test_no_message_has_the_password(postgres_server: PostgresServer) -> None:
    urls = [
        postgres_server.url("nowhere"),
        postgres_server.url("postgres", user="nobody"),
        postgres_server.url("postgres", password="s3cret"),  # noqa: S106 - no password of anything
        f"postgresql://keeper:{PASSWORD}@[half",
        "postgresql://keeper:s3cret@127.0.0.1:1/x",
    ]
    for url in urls:
        with pytest.raises(StoreUnusableError) as caught:
            await ToolStore.open(url)
        chain: BaseException | None = caught.value
        while chain is not None:
            assert PASSWORD not in str(chain)
            assert "s3cret" not in str(chain)
            chain = chain.__cause__
        if "half" not in url:
            assert "postgresql://" in str(caught.value)
    assert "s3cret" not in repr(database_at(urls[-1]))


async def test_a_database_of_somebody_else_is_left_alone(empty_url: str) -> None:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE notes (text text)")

    with pytest.raises(StoreDamagedError, match="a schema of its own"):
        await ToolStore.open(empty_url)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DROP TRIGGER event_append_only ON event", "event_append_only is missing"),
        ("ALTER TABLE event DISABLE TRIGGER event_append_only", "or was changed"),
        ("ALTER TABLE event ENABLE TRIGGER event_append_only", "or was changed"),
        (BLUNT, "was changed"),
        ("CREATE RULE quiet AS ON INSERT TO event DO ALSO NOTHING", "not ours"),
        ("ALTER TABLE evidence DROP CONSTRAINT fk_evidence_version", "not held to refer"),
    ],
)
async def test_the_audit_finds_changed_protections(
    postgres_url: str, change: str, words: str
) -> None:
    async with await ToolStore.open(postgres_url) as store:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(change.encode())

        assert words in " ".join(each.problem for each in (await store.verify()).damage)


# -- bringing up to date ---------------------------------------------------------------------------


async def test_a_shared_store_is_migrated_by_name_alone(postgres_url: str) -> None:
    place = ServerPlace(postgres_url)
    async with await ToolStore.open(postgres_url) as store:
        await store.admit(make_submission("parse_date"), actor="ada")
    place.query("DROP TABLE proposal, search_posting, search_term, search_total, search_document")
    place.query("UPDATE alembic_version SET version_num = '0004'")

    with pytest.raises(StoreUnusableError, match="toolkiln store migrate"):
        await ToolStore.open(postgres_url)
    database = database_at(postgres_url)
    assert database.pending() == REVISIONS[4:]
    await asyncio.gather(*(asyncio.to_thread(database.migrate) for _ in range(3)))

    assert database.pending() == ()
    async with await ToolStore.open(postgres_url) as store:
        assert await store.search("dates", 5) == ("parse_date",)
        assert (await store.verify()).damage == ()


# -- copies ----------------------------------------------------------------------------------------


async def test_a_copy_there_and_back_is_the_same_store(tmp_path: Path, postgres_url: str) -> None:
    here, back = tmp_path / "here", tmp_path / "back"
    fill(here, 100)
    async with await ToolStore.open(here) as store:
        await store.admit(make_submission("parse_date"), actor="ada")
        await store.admit(
            make_submission("parse_date", "def parse_date(number):\n    return 1\n"), actor="ada"
        )
        events, found = await store.events(), await store.search("parse a date", 10)
        summaries = await store.summaries()

    there = copy_store(database_at(here), database_at(postgres_url), silently)
    home = copy_store(database_at(postgres_url), database_at(back), silently)

    assert there.tables == home.tables
    assert (there.versions, there.events) == (102, len(events))
    assert PASSWORD not in there.model_dump_json()
    for location in (postgres_url, back):
        async with await ToolStore.open(location) as store:
            assert await store.events() == events
            assert await store.summaries() == summaries
            assert await store.search("parse a date", 10) == found
            await store.admit(make_submission("and_on"), actor="ada")
            assert (await store.verify()).damage == ()


@pytest.mark.parametrize("whole", [True, False])
async def test_a_copy_of_what_is_damaged_or_into_what_is_not_empty_writes_nothing(
    tmp_path: Path, place: Place, *, whole: bool
) -> None:
    source = FolderPlace(tmp_path / "source")
    async with await ToolStore.open(source.location) as store:
        await store.admit(make_submission(), actor="ada")
    if whole:
        async with await ToolStore.open(place.location) as store:
            await store.admit(make_submission("other"), actor="ada")
    else:
        source.tamper("UPDATE event SET reason = 'better' WHERE sequence = 2")

    expected = StoreUnusableError if whole else StoreDamagedError
    with pytest.raises(expected, match=r"[Nn]othing was copied"):
        copy_store(database_at(source.location), database_at(place.location), silently)

    async with await ToolStore.open(place.location) as store:
        names = [each.name for each in await store.summaries()]
    assert names == (["other"] if whole else [])


async def test_a_target_that_gives_back_something_else_keeps_nothing(
    tmp_path: Path, postgres_url: str
) -> None:
    fill(tmp_path / "source", 3)
    await (await ToolStore.open(postgres_url)).close()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION blur() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN NEW.reason = upper(NEW.reason); RETURN NEW; END'"
        )
        connection.execute(
            "CREATE TRIGGER blur BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION blur()"
        )

    with pytest.raises(StoreDamagedError, match="copied into event"):
        copy_store(database_at(tmp_path / "source"), database_at(postgres_url), silently)

    async with await ToolStore.open(postgres_url) as store:
        assert store.head() == 0

"""The search index in the database: it ranks as `Bm25Index` does, and follows what is approved."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from factories import make_submission
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storekit import NOUNS, VERBS, WAYS, fill, tampering

from toolstore import postings, reading, sqlite
from toolstore.files import DATABASE_NAME
from toolstore.models import ToolRef
from toolstore.search import Bm25Index
from toolstore.store import ToolStore

TOOLS = 300


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled") / "tools"
    fill(folder, TOOLS)
    return folder


@pytest.fixture(scope="module")
def index(filled: Path) -> Bm25Index[str]:
    """The same texts in memory."""

    async def documents() -> tuple[tuple[str, str], ...]:
        async with await ToolStore.open(filled) as store:
            return await store.search_documents()

    return Bm25Index(asyncio.run(documents()))


words = st.sampled_from([*VERBS, *NOUNS, *WAYS, "7", "42", "number", "a", "in", "way", "zebra"])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(words, max_size=6).map(" ".join), st.integers(1, 20))
def test_it_ranks_as_the_index_in_memory(
    filled: Path, index: Bm25Index[str], query: str, limit: int
) -> None:
    found, expected = searched(filled, query, limit, postings.SMALL), index.search(query, limit)

    scores = dict(index.ranked(query, TOOLS))
    # The same terms summed in another order differ in the last place, so ties may change places.
    best = [scores[name] for name in expected]
    assert [scores[name] for name in found] == pytest.approx(best, abs=1e-6)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(words, max_size=6).map(" ".join), st.integers(1, 20))
def test_in_a_large_store_common_words_find_only_where_there_are_no_others(
    filled: Path, index: Bm25Index[str], query: str, limit: int
) -> None:
    found, expected = searched(filled, query, limit, small=100), index.search(query, limit)

    scores = dict(index.ranked(query, TOOLS))
    best = [scores[name] for name in expected[: len(found)]]
    assert [scores[name] for name in found] == pytest.approx(best, abs=1e-6)
    # What is left out has none but the words that every fourth tool has.
    common = {"number", "a", "in", "way"}
    if len(found) < len(expected):
        assert common & set(query.split())
        assert set(query.split()) - common


def searched(folder: Path, query: str, limit: int, small: int) -> list[str]:
    database = sqlite.SqliteDatabase(folder, 5.0)
    with database.connect(writes=False) as connection, connection.begin():
        return postings.find(connection, query, limit, small=small)


async def test_it_follows_what_is_approved(tmp_path: Path) -> None:
    async with await ToolStore.open(tmp_path) as store:
        await store.admit(make_submission("parse_date"), actor="ada")
        first = make_submission("count", description="Count zebras.")
        await store.admit(first, actor="ada")
        code = "def count(number: int) -> int:\n    return 7\n"
        await store.admit(make_submission("count", code, description="Count geese."), actor="ada")

        assert await store.search("zebra", 5) == ()
        assert await store.search("goose geese", 5) == ("count",)
        assert await store.search("parsing dates; number", 5) == ("parse_date", "count")
        await store.rollback("count", actor="bob", reason="zebras again")
        assert await store.search("zebra", 5) == ("count",)
        await store.revoke(ToolRef(name="count", sequence=1), actor="bob", reason="wrong")
        assert await store.search("zebra geese", 5) == ()
        assert await store.search("number", 5) == ("parse_date",)
        assert await store.search("", 5) == ()
        assert (await store.verify()).damage == ()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE search_posting SET count = 99 WHERE term = 'date'", "not indexed as it reads"),
        ("DELETE FROM search_document", "not indexed as it reads"),
        ("INSERT INTO search_posting VALUES ('zebra', 77, 1, 1)", "not stable"),
        ("UPDATE search_term SET documents = 99 WHERE term = 'date'", "in how many tools"),
        ("UPDATE search_total SET length = 1", "length of texts"),
    ],
)
async def test_the_audit_finds_a_changed_index_and_reindex_mends_it(
    tmp_path: Path, statement: str, words: str
) -> None:
    async with await ToolStore.open(tmp_path) as store:
        await store.admit(make_submission("parse_date"), actor="ada")
        with tampering(tmp_path) as connection:
            connection.execute(statement)

        damage, *_ = (await store.verify()).damage
        assert damage.where == "search index"
        assert words in damage.problem
        await store.reindex()
        assert (await store.verify()).damage == ()
        assert await store.search("dates", 5) == ("parse_date",)


async def test_what_is_damaged_can_be_taken_back_and_is_found_no_more(tmp_path: Path) -> None:
    async with await ToolStore.open(tmp_path) as store:
        version = await store.admit(make_submission("parse_date"), actor="ada")
        await store.admit(make_submission("count_lines"), actor="ada")
        with tampering(tmp_path) as connection:
            source = version.source.digest
            connection.execute("UPDATE blob SET bytes = 'x' WHERE digest = ?", [source])
        database = sqlite.SqliteDatabase(tmp_path, 5.0)
        row = ToolRef(name="parse_date")
        with database.connect(writes=True) as connection_, connection_.begin():
            gone = replace(reading.find_row(connection_, row), state="revoked", channel=None)
            postings.follow(connection_, [gone])

        assert await store.search("parse", 5) == ()
        assert await store.search("number", 5) == ("count_lines",)


async def test_an_older_store_is_indexed_when_it_is_migrated(tmp_path: Path) -> None:
    async with await ToolStore.open(tmp_path) as store:
        await store.admit(make_submission("parse_date"), actor="ada")
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)) as connection:
        for table in ("search_posting", "search_term", "search_total", "search_document"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("DROP TABLE proposal")
        connection.execute("UPDATE alembic_version SET version_num = '0004'")

    async with await ToolStore.open(tmp_path) as store:
        assert await store.search("date", 5) == ("parse_date",)
        assert (await store.verify()).damage == ()

"""The database: made safely, brought up to date, its errors in our words."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from factories import make_submission

from toolstore import index, sqlite
from toolstore.errors import StoreBusyError, StoreDamagedError, StoreUnusableError
from toolstore.files import DATABASE_NAME, exclusive
from toolstore.layout import HEAD_REVISION, REVISIONS
from toolstore.listing import summaries_sync
from toolstore.migrations import configuration
from toolstore.models import Lifecycle
from toolstore.store import ToolStore
from toolstore.tables import metadata

OPEN_AND_CLOSE = """
import asyncio, pathlib, sys
from toolstore.store import ToolStore
async def main():
    await (await ToolStore.open(pathlib.Path(sys.argv[1]))).close()
asyncio.run(main())
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
async def test_only_the_owner_may_look(tmp_path: Path, mask: int) -> None:
    folder = tmp_path / "deep" / "tools"
    before = os.umask(mask)
    try:
        async with await ToolStore.open(folder) as store:
            await store.admit(make_submission(), actor="ada")
            modes = {path.name: mode(path) for path in sorted(folder.iterdir())}
    finally:
        os.umask(before)

    assert mode(folder) == 0o700
    beside = ("", "-shm", "-wal")
    assert modes == {"toolstore.lock": 0o600, **{f"{DATABASE_NAME}{s}": 0o600 for s in beside}}


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)

    with pytest.raises(StoreUnusableError, match="chmod 700"):
        sqlite.prepare(tmp_path, 5.0)
    with pytest.raises(StoreUnusableError, match="chmod 700"):
        summaries_sync(tmp_path)


async def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tools").write_text("x")

    with pytest.raises(StoreUnusableError, match="may write to"):
        await ToolStore.open(tmp_path / "tools")


async def test_a_database_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    before = (tmp_path / DATABASE_NAME).read_bytes()

    with pytest.raises(StoreDamagedError, match="not one of a tool store"):
        await ToolStore.open(tmp_path)

    assert (tmp_path / DATABASE_NAME).read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "error", "words"),
    [
        ("PRAGMA application_id=7", StoreDamagedError, "mark"),
        ("UPDATE alembic_version SET version_num='9999'", StoreUnusableError, "later toolkiln"),
    ],
)
async def test_a_store_of_another_kind_is_refused(
    tmp_path: Path, statement: str, error: type[Exception], words: str
) -> None:
    sqlite.prepare(tmp_path, 5.0)
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)) as connection:
        connection.execute(statement)

    with pytest.raises(error, match=words):
        await ToolStore.open(tmp_path)


def test_the_migrations_make_the_tables_that_the_queries_use(tmp_path: Path) -> None:
    database = sqlite.prepare(tmp_path, 5.0)

    with sqlite.connect(database, 5.0, writes=False) as connection, connection.begin():
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert index.structure_problems(connection) == []


def test_the_head_that_needs_no_alembic_is_the_head_that_alembic_knows() -> None:
    scripts = ScriptDirectory.from_config(configuration())

    assert scripts.get_current_head() == HEAD_REVISION
    assert {script.revision for script in scripts.walk_revisions()} == set(REVISIONS)


def test_the_database_is_set_up_to_last(tmp_path: Path) -> None:
    database = sqlite.prepare(tmp_path, 5.0)

    def pragma(name: str) -> object:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    with closing(sqlite.raw_connection(database, 5.0, writes=True)) as connection:
        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 2
        assert pragma("foreign_keys") == 1
        assert pragma("busy_timeout") == 5000
        assert pragma("recursive_triggers") == 1
    with (
        closing(sqlite.raw_connection(database, 5.0, writes=False)) as reader,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        reader.execute("DELETE FROM log_head")


async def test_a_lock_that_is_kept_too_long_is_a_busy_store(tmp_path: Path) -> None:
    async with await ToolStore.open(tmp_path, busy_seconds=0.05) as store:
        with closing(sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreBusyError, match="retry"):
                await store.admit(make_submission(), actor="ada")
            assert store.head() == 0
            assert await store.summaries() == ()
            other.execute("ROLLBACK")
        assert (await store.admit(make_submission(), actor="ada")).sequence == 1


async def test_a_store_that_another_process_is_making_is_waited_for(tmp_path: Path) -> None:
    with exclusive(tmp_path, 1.0), pytest.raises(StoreBusyError):
        await ToolStore.open(tmp_path, busy_seconds=0.05)

    async with await ToolStore.open(tmp_path, busy_seconds=0.05) as store:
        assert store.head() == 0


async def test_opening_at_once_makes_one_store(tmp_path: Path) -> None:
    stores = await asyncio.gather(*(ToolStore.open(tmp_path / "tools") for _ in range(8)))
    try:
        await stores[0].admit(make_submission(), actor="ada")
        assert [store.head() for store in stores] == [3] * len(stores)
    finally:
        for store in stores:
            await store.close()


async def test_stores_that_are_made_at_once_in_one_process_do_not_mix(tmp_path: Path) -> None:
    stores = await asyncio.gather(
        *(ToolStore.open(tmp_path / f"store-{number}") for number in range(12))
    )
    for store in stores:
        await store.admit(make_submission(), actor="ada")
        assert (await store.verify()).intact
        await store.close()


async def test_a_cancelled_caller_leaves_the_store_usable(tmp_path: Path) -> None:
    async with await ToolStore.open(tmp_path) as store:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await store.admit(make_submission(), actor="ada")
        version = await store.admit(make_submission(), actor="ada")

        assert version.sequence == 1
        assert (await store.verify()).intact


async def test_an_open_folder_with_odd_characters(tmp_path: Path) -> None:
    folder = tmp_path / "a %20 ?b=c #d é"
    async with await ToolStore.open(folder) as store:
        await store.admit(make_submission(), actor="ada")

    assert (folder / DATABASE_NAME).exists()
    assert summaries_sync(folder) is not None


async def test_the_quick_list_is_the_list(tmp_path: Path) -> None:
    folder = tmp_path / "tools"
    assert summaries_sync(folder) is None
    assert not folder.exists()
    async with await ToolStore.open(folder) as store:
        assert summaries_sync(folder) == ()
        await store.admit(make_submission(), actor="ada")
        await store.admit(make_submission(code="def double(number):\n    pass\n"), actor="ada")

        assert summaries_sync(folder) == await store.summaries()
        only = [Lifecycle.APPROVED]
        assert summaries_sync(folder, only) == await store.summaries(only)
        assert summaries_sync(folder, []) == ()


@pytest.mark.parametrize("content", [b"", b"no database at all" * 50])
def test_the_quick_list_leaves_what_it_cannot_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DATABASE_NAME).write_bytes(content)

    if content:
        with pytest.raises(StoreDamagedError):
            summaries_sync(tmp_path)
    else:
        assert summaries_sync(tmp_path) is None


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import toolstore.listing", {"sqlalchemy", "alembic", "asyncio"}),
        (
            OPEN_AND_CLOSE,
            {"alembic", "openai", "docker"},
        ),
    ],
    ids=["list", "open at head"],
)
def test_no_more_is_imported_than_is_needed(
    tmp_path: Path, statement: str, absent: set[str]
) -> None:
    sqlite.prepare(tmp_path, 5.0)
    program = f"{statement}\nimport sys\nprint(*sys.modules)"

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert absent & set(done.stdout.split()) == set()

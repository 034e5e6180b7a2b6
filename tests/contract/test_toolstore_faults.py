"""Databases that fail in the middle: full disks, connections that are cut, servers that go."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count
from pathlib import Path

import psycopg
import pytest
from factories import make_submission
from postgres_server import PostgresServer
from sqlalchemy import Connection, Engine, event
from store_places import FolderPlace, Place

from toolstore.attest.keys import KeyRing
from toolstore.errors import StoreBusyError, StoreUnusableError
from toolstore.index import database_at
from toolstore.patience import PATIENCE_SECONDS
from toolstore.store import ToolStore

BIG = f"def big(number):\n    return '{'x' * 100_000}'\n"

FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE EXCEPTION 'could not extend file: No space left' USING ERRCODE = '53100'; END$$;
CREATE TRIGGER full_disk BEFORE INSERT ON event FOR EACH STATEMENT EXECUTE FUNCTION full_disk()
"""


@contextmanager
def heard(name: str, listener: Callable[..., None]) -> Iterator[None]:
    """`listener` hears of what all connections do."""
    event.listen(Engine, name, listener)
    try:
        yield
    finally:
        event.remove(Engine, name, listener)


def cut(connection: Connection) -> None:
    """End the server's side of a connection, as its administrator can."""
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, psycopg.Connection)
    with psycopg.connect(driver.info.dsn, password=driver.info.password, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [driver.info.backend_pid])


class CutAt:
    """Cuts the connection of the writer before its n-th statement or commit."""

    def __init__(self, point: int) -> None:
        self.left = point

    def statement(self, connection: Connection, *_: object) -> None:
        self.commit(connection)

    def commit(self, connection: Connection) -> None:
        if self.left == 0:
            cut(connection)
        self.left -= 1


async def cut_everywhere(url: str, home: Path, apart: int) -> int:
    """Cut a signed store's connection at every so manyth point of an admission; how often."""
    ring, seen = KeyRing(home / "keys"), home / "checkpoints"
    async with await ToolStore.open(url, keys=ring, seen=seen) as store:
        await store.admit(make_submission("first"), actor="ada")
        for number in count():
            cutter, submission = CutAt(number * apart), make_submission(f"tool_{number}")
            with (
                heard("before_cursor_execute", cutter.statement),
                heard("commit", cutter.commit),
            ):
                try:
                    await store.admit(submission, actor="ada")
                except StoreUnusableError as error:
                    told = str(error)
                else:
                    told = ""
            if cutter.left >= 0:
                break
            if told:
                assert "if a change was under way, look first whether it is there" in told
                assert store.head() == 3 * (number + 1)
            await store.admit(submission, actor="ada")
            assert store.head() == 3 * (number + 2)
        assert (await store.verify()).damage == ()
        return number


async def test_a_connection_that_is_cut_in_a_transaction_leaves_nothing_of_it(
    postgres_url: str, tmp_path: Path
) -> None:
    assert await cut_everywhere(postgres_url, tmp_path, 17) >= 2


@pytest.mark.heavy
async def test_a_connection_that_is_cut_before_any_statement(
    postgres_url: str, tmp_path: Path
) -> None:
    assert await cut_everywhere(postgres_url, tmp_path, 1) >= 30


async def test_a_disk_that_is_full_is_said_and_leaves_nothing(place: Place) -> None:
    async with await ToolStore.open(place.location) as store:
        await store.admit(make_submission(), actor="ada")
        filling: AbstractContextManager[None] = nullcontext()
        if isinstance(place, FolderPlace):
            ((pages,),) = place.query("PRAGMA page_count")

            def bound(connection: sqlite3.Connection, _: object) -> None:
                connection.execute(f"PRAGMA max_page_count={pages}")

            filling = heard("connect", bound)
        else:
            place.query(FULL)
        # A store of its own, for how much fits is a matter of the connection.
        with filling:
            async with await ToolStore.open(place.location) as full:
                with pytest.raises(StoreUnusableError, match=r"Nothing was written; m.* and retry"):
                    await full.admit(make_submission("big", BIG), actor="ada")
                assert full.head() == 3
        if not isinstance(place, FolderPlace):
            place.query("DROP TRIGGER full_disk ON event")
        await store.admit(make_submission("big", BIG), actor="ada")
        assert (await store.verify()).damage == ()


@pytest.mark.heavy
async def test_a_server_that_stands_still_is_not_waited_for(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    async with await ToolStore.open(postgres_url) as store:
        await store.admit(make_submission(), actor="ada")
        attempts: list[Callable[[], Awaitable[object]]] = [
            lambda: asyncio.to_thread(store.head),
            store.summaries,
            lambda: store.admit(make_submission("other"), actor="ada"),
        ]
        await store.summaries()
        store.head()
        with postgres_server.standing_still():
            for attempt in attempts:
                began = time.monotonic()
                with pytest.raises(StoreUnusableError, match="Check that the server runs"):
                    await attempt()
                assert time.monotonic() - began < 25.0

        assert store.head() == 3
        await store.admit(make_submission("other"), actor="ada")
        assert (await store.verify()).damage == ()


@pytest.mark.heavy
async def test_what_takes_long_is_not_cut(postgres_url: str) -> None:
    database = database_at(postgres_url)

    def sleep() -> None:
        with database.connect(writes=False) as connection, connection.begin():
            connection.exec_driver_sql(f"SELECT pg_sleep({3 * PATIENCE_SECONDS})")

    await asyncio.to_thread(sleep)


@pytest.mark.heavy
async def test_writers_go_on_when_a_server_comes_back_again_and_again(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    done: dict[str, int] = {}
    told: Counter[str] = Counter()
    until = time.monotonic() + 20.0

    async def write(writer: int) -> None:
        async with await ToolStore.open(postgres_url, busy_seconds=5.0) as store:
            for number in count():
                if time.monotonic() > until:
                    return
                submission = make_submission(f"tool_{writer}_{number}")
                while True:
                    try:
                        version = await store.admit(submission, actor=f"writer {writer}")
                    except (StoreUnusableError, StoreBusyError) as error:
                        told[type(error).__name__] += 1
                        await asyncio.sleep(0.05)
                    else:
                        done[version.name] = version.sequence
                        break

    async def disturb() -> None:
        while time.monotonic() < until - 3.0:
            await asyncio.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - any moment will do
            how = random.choice([signal.SIGQUIT, signal.SIGINT])  # noqa: S311 - same
            await asyncio.to_thread(postgres_server.stop, how)
            await asyncio.to_thread(postgres_server.start)

    async with asyncio.TaskGroup() as group:
        group.create_task(disturb())
        for writer in range(3):
            group.create_task(write(writer))

    async with await ToolStore.open(postgres_url) as store:
        summaries = await store.summaries()
        assert (await store.verify()).damage == ()
        assert store.head() == 3 * len(summaries)
    print(len(done), told)
    assert {each.name: each.sequence for each in summaries} == done
    assert told["StoreUnusableError"] > 5

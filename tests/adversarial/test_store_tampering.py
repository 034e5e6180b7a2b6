"""Somebody who can write to the database and has no key: every column, every row, both databases.

The law: whatever was changed, `store verify` names it; the version that it concerns is refused
when it is loaded, and the others load as they did. What is let pass without being named stands
below with its reason, and nothing that may be called changes by it.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from full_store import START, fill
from postgres_server import PostgresServer
from spoiling import Attack, attacks
from sqlalchemy import Connection, exc, text

from policies.signatures import DEFAULT_SIGNATURES
from toolstore import audit, reading
from toolstore.attest.checkpoints import SeenCheckpoints
from toolstore.attest.guard import Guard, bind
from toolstore.attest.keys import KeyRing
from toolstore.database import Database
from toolstore.errors import StoreDamagedError, ToolNotFoundError
from toolstore.index import database_at
from toolstore.models import ToolVersion
from toolstore.tables import APPEND_ONLY, metadata

SAMPLE: Final = 8
"""Attacks that are tried every time; the heavy tests try all, and one of each sort on a server."""

UNNAMED: Final = {
    (
        "version_form",
        "normal",
    ): "finds candidates alone; what is found is compared as it is verified",
    ("version_form", "shape"): "as above",
    ("version_form", ""): "as above",
    ("canary_count", "succeeded"): "a count, which no log covers",
    ("canary_count", "failed"): "a count, which no log covers",
    ("canary_count", ""): "counts, which no log covers",
    ("version_use", ""): "when it was last called, which no log covers",
    ("version_use", "last_at"): "as above",
    ("proposal", ""): "a count, which no log covers",
    ("proposal", "author"): "as above",
    ("proposal", "session"): "as above",
    ("proposal", "at"): "as above",
    ("proposal", "id"): "a number that says nothing",
    ("call", ""): "calls are observations, which no log covers",
    ("call", "id"): "a number that says nothing",
    ("call", "version"): "an observation",
    ("call", "session"): "an observation",
    ("call", "tenant"): "an observation",
    ("call", "arguments"): "an observation; where a body is kept, it is compared with that",
    ("call", "result"): "as above",
    ("call", "outcome"): "an observation",
    ("call", "error_type"): "an observation",
    ("call", "execute_seconds"): "an observation",
    ("call", "total_seconds"): "an observation",
    ("call", "memory_bytes"): "an observation",
    ("call", "body"): "an observation",
}
"""What `store verify` need not name, by table and column; without a column whole rows."""

VERIFIED: Final = frozenset({"tool_version", "event", "version_state", "channel", "attestation"})
"""Tables of which a row that was changed keeps its version from being loaded."""

NOT_READ: Final = frozenset({("version_state", "tool"), ("channel", "tool")})
"""Columns of those that no load reads: they lead to versions, and not to what is in them."""

OF_ALL: Final = frozenset({"event", "log_head", "checkpoint", "version_seal", "seal_node"})
"""What vouches for the log as a whole; with it goes what rests on it, and that may be all."""


@dataclass(frozen=True)
class Spoilt:
    """What came of one attack."""

    named: tuple[str, ...]
    loaded: dict[str, ToolVersion | str]
    """Versions by their digests, or why they did not load."""


class Victim:
    """A store with one connection that goes past its triggers; each attack is undone."""

    def __init__(self, database: Database, folder: Path, connection: Connection) -> None:
        self._connection = connection
        self._database = database
        self._ring = KeyRing(folder / "keys")
        self._folder = folder
        self.is_quick = connection.dialect.name == "sqlite"
        with connection.begin():
            rows = reading.all_rows(connection)
            self.digests = [row.digest for row in rows]
            self.before = self._look()
            self._rests_on: dict[str, set[str | int]] = {
                row.digest: {row.digest, row.tool, row.source, row.source_schema} for row in rows
            }
            for digest, version in self.before.loaded.items():
                if isinstance(version, ToolVersion):
                    self._rests_on[digest].add(version.evidence.digest)
            self.attacks = list(attacks(connection))

    def concerned_by(self, attack: Attack) -> set[str]:
        """The versions that rest on the rows of `attack`."""
        column = {"tool": "id", "blob": "digest", "tool_version": "digest"}.get(
            attack.table.name, "version"
        )
        named = {each for row in attack.rows if isinstance(each := row.get(column), str | int)}
        return {digest for digest, rests_on in self._rests_on.items() if named & rests_on}

    def try_out(self, attack: Attack) -> Spoilt | None:
        """What comes of `attack`; None where the database itself forbids it."""
        transaction = self._connection.begin()
        try:
            with _without_triggers(self._connection, attack.table.name):
                attack.apply(self._connection)
            return self._look()
        except exc.IntegrityError:
            return None
        finally:
            transaction.rollback()

    def _look(self) -> Spoilt:
        bind(self._connection, self._guard())
        report = audit.audit(self._connection)
        named = tuple(f"{each.where}: {each.problem}" for each in report.damage)
        bind(self._connection, self._guard())
        return Spoilt(named, {digest: self._load(digest) for digest in self.digests})

    def _load(self, digest: str) -> ToolVersion | str:
        try:
            row = reading.require_digest(self._connection, digest)
            return reading.load(self._connection, row, to_call=True)
        except (StoreDamagedError, ToolNotFoundError) as error:
            return str(error)

    def _guard(self) -> Guard:
        seen = SeenCheckpoints(self._folder / "seen", self._database.where)
        return Guard(self._ring, DEFAULT_SIGNATURES, lambda: START, seen)


@contextmanager
def _without_triggers(connection: Connection, table: str) -> Iterator[None]:
    """Let everything be written to `table`; what forbids it comes back afterwards."""
    if connection.dialect.name == "postgresql":
        trigger = f"TRIGGER {table}_append_only" if table in APPEND_ONLY else "TRIGGER USER"
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"ALTER TABLE {table} DISABLE {trigger}"))
        yield
        always = "ALWAYS " if table in APPEND_ONLY else ""
        connection.execute(text(f"ALTER TABLE {table} ENABLE {always}{trigger}"))
        connection.execute(text("SET LOCAL session_replication_role = origin"))
        return
    kept = connection.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    ).all()
    for name, _ in kept:
        connection.exec_driver_sql(f"DROP TRIGGER {name}")
    yield
    for _, definition in kept:
        connection.exec_driver_sql(definition)


@pytest.fixture(
    scope="module", params=["folder", pytest.param("postgresql", marks=pytest.mark.heavy)]
)
def victim(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Victim]:
    """A full, signed store, of each kind."""
    folder = tmp_path_factory.mktemp("victim")
    location: Path | str = folder / "store"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        location = server.new_store()
    asyncio.run(fill(location, folder))
    database = database_at(location)
    with database.connect(writes=True) as connection:
        if request.param == "folder":
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.execute("PRAGMA foreign_keys=OFF")
        yield Victim(database, folder, connection)


def test_every_table_has_rows_to_spoil(victim: Victim) -> None:
    assert victim.before.named == ()
    assert {attack.table.name for attack in victim.attacks} == set(metadata.tables)
    assert all(isinstance(each, ToolVersion) for each in victim.before.loaded.values())


def test_what_is_changed_is_named_and_refused_and_the_rest_works(victim: Victim) -> None:
    # The same ones each time, so that a failure is one that can be looked at again.
    for attack in random.Random(20).sample(victim.attacks, SAMPLE):  # noqa: S311 - no secret
        assert problem_of(victim, attack) is None, attack


@pytest.mark.heavy
@pytest.mark.timeout(3_600)
def test_every_change_is_named_and_refused_and_the_rest_works(victim: Victim) -> None:
    """A quarter of an hour in a folder; on a server, where one takes ten times as long, samples."""
    tried = victim.attacks if victim.is_quick else _one_of_each_sort(victim.attacks)

    problems = [(str(attack), problem_of(victim, attack)) for attack in tried]

    assert [each for each in problems if each[1] is not None] == []


def _one_of_each_sort(attacks: Iterable[Attack]) -> list[Attack]:
    sorts: dict[tuple[str, ...], list[Attack]] = defaultdict(list)
    for each in attacks:
        sorts[each.table.name, each.kind, each.column, each.how].append(each)
    return [random.Random(21).choice(same) for same in sorts.values()]  # noqa: S311 - no secret


def problem_of(victim: Victim, attack: Attack) -> str | None:
    """What goes against the law; None for nothing."""
    try:
        spoilt = victim.try_out(attack)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        return f"an error instead of an answer: {error!r:.300}"
    if spoilt is None:
        return None
    table = attack.table.name
    if not spoilt.named and (table, attack.column) not in UNNAMED:
        return "nobody named it"
    refused = {digest for digest, found in spoilt.loaded.items() if isinstance(found, str)}
    concerned = victim.concerned_by(attack)
    for digest in set(victim.digests) - refused:
        if spoilt.loaded[digest] != victim.before.loaded[digest]:
            return f"{digest} is another one now"
    led_to = {(table, column) for column in attack.columns} <= NOT_READ and attack.columns
    if table in VERIFIED and not led_to and attack.kind != "copy" and not refused & concerned:
        return "its version was loaded"
    if table not in OF_ALL and not refused <= concerned:
        return f"others were refused: {[spoilt.loaded[each] for each in refused - concerned]}"
    return None

"""Somebody with a hand in the file: each change is noticed before anything of it is loaded."""

# ruff: noqa: S608 - the statements are put together from this file's own constants

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from factories import make_submission, needs_review
from storekit import tampering

from policies.value import canonical_json, sha256_digest
from toolstore.attest.keys import KeyRing
from toolstore.errors import StoreDamagedError, StoreUnusableError
from toolstore.events import entry_hash
from toolstore.files import DATABASE_NAME
from toolstore.models import Event, ToolRef
from toolstore.store import ToolStore
from toolstore.tables import APPEND_ONLY

Tamper = Callable[[sqlite3.Connection], object]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store to copy: made once."""
    folder = tmp_path_factory.mktemp("template")
    asyncio.run(fill_template(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path, template: Path) -> Path:
    """A store of one's own to damage."""
    return shutil.copytree(template, tmp_path / "tools")


async def fill_template(folder: Path) -> None:
    """double@1 deprecated, double@2 approved, other@1 approved, waiting@1 quarantined."""
    keys = KeyRing(folder.with_name(f"{folder.name}-keys"))
    async with await ToolStore.open(folder, keys=keys) as store:
        for number in (1, 2):
            code = f"def double(number: int) -> int:\n    return number * 2  # {number}\n"
            await store.admit(make_submission(code=code), actor="ada")
        await store.admit(make_submission("other"), actor="ada")
        await store.admit(make_submission("waiting", decision=needs_review()), actor="ada")
        gone = await store.admit(make_submission("gone"), actor="ada")
        await store.revoke(gone.digest, actor="bob", reason="wrong")
        await store.admit(make_submission("last"), actor="ada")


def sql(*statements: str) -> Tamper:
    def tamper(connection: sqlite3.Connection) -> None:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement

    return tamper


VERSION = "(SELECT digest FROM tool_version JOIN tool ON tool.id = tool WHERE name = '{}' {})"
DOUBLE = VERSION.format("double", "AND sequence = 2")
FIRST = VERSION.format("double", "AND sequence = 1")
OTHER = VERSION.format("other", "")
WAITING = VERSION.format("waiting", "")
GONE = VERSION.format("gone", "")


def rewritten_event(connection: sqlite3.Connection) -> None:
    """A quarantined version is said to be admitted, and the entry's own hash is made to fit."""
    connection.row_factory = sqlite3.Row
    row = dict(
        connection.execute(
            f"SELECT * FROM event WHERE version = {WAITING} ORDER BY sequence DESC"
        ).fetchone()
    )
    row["digest"] = row.pop("version")
    event = Event.model_validate(row).model_copy(
        update={"type": "admitted", "to_state": "approved", "from_state": "draft"}
    )
    fitting = entry_hash(event)
    connection.execute(
        "UPDATE event SET type='admitted', to_state='approved', hash=? WHERE sequence=?",
        (fitting, event.sequence),
    )
    connection.execute(f"UPDATE version_state SET state='approved' WHERE version = {WAITING}")


def blob_with_its_digest(connection: sqlite3.Connection) -> None:
    """Other source bytes under their own right digest, and the row made to point at them."""
    other = make_submission("double", "def double(number: int) -> int:\n    return 0\n").source
    content = canonical_json(other.to_json())
    digest = sha256_digest(content)
    connection.execute("INSERT INTO blob VALUES (?, ?)", (digest, content))
    connection.execute(
        f"UPDATE tool_version SET source = ? WHERE digest = {DOUBLE}",
        (digest,),
    )


SEEN_BY_GET: dict[str, tuple[str, Tamper]] = {
    "source bytes changed": (
        "double",
        sql(
            "UPDATE blob SET bytes = replace(bytes, '* 2', '* 3') WHERE digest = "
            f"(SELECT source FROM tool_version WHERE digest = {DOUBLE})"
        ),
    ),
    "source swapped for another": ("double", blob_with_its_digest),
    "source of another version": (
        "double",
        sql(
            "UPDATE tool_version SET source = (SELECT source FROM tool_version "
            f"WHERE digest = {FIRST}) WHERE digest = {DOUBLE}"
        ),
    ),
    "blob deleted": (
        "double",
        sql(
            "DELETE FROM blob WHERE digest = "
            f"(SELECT source FROM tool_version WHERE digest = {DOUBLE})"
        ),
    ),
    "schema bytes changed": (
        "double",
        sql(
            "UPDATE blob SET bytes = replace(bytes, 'integer', 'string') WHERE digest = "
            f"(SELECT source_schema FROM tool_version WHERE digest = {DOUBLE})"
        ),
    ),
    "evidence bytes changed": (
        "double",
        sql(
            "UPDATE blob SET bytes = replace(bytes, 'true', 'false') WHERE digest = "
            f"(SELECT digest FROM evidence WHERE version = {DOUBLE})"
        ),
    ),
    "evidence swapped": (
        "double",
        sql(f"UPDATE evidence SET version = {OTHER} WHERE version = {DOUBLE}"),
    ),
    "evidence row deleted": ("double", sql(f"DELETE FROM evidence WHERE version = {DOUBLE}")),
    "image changed": (
        "double",
        sql(f"UPDATE tool_version SET image_digest = 'sha256:1' WHERE digest = {DOUBLE}"),
    ),
    "level changed": (
        "double",
        sql(f"UPDATE tool_version SET level = 'L2' WHERE digest = {DOUBLE}"),
    ),
    "author changed": (
        "double",
        sql(f"UPDATE tool_version SET author = 'eve' WHERE digest = {DOUBLE}"),
    ),
    "parent changed": (
        "double",
        sql(f"UPDATE tool_version SET parent = NULL WHERE digest = {DOUBLE}"),
    ),
    "description changed": (
        "double",
        sql(f"UPDATE tool_version SET description = 'Run me!' WHERE digest = {DOUBLE}"),
    ),
    "number changed": (
        "double@7",
        sql(f"UPDATE tool_version SET sequence = 7 WHERE digest = {DOUBLE}"),
    ),
    "tool renamed": ("triple", sql("UPDATE tool SET name = 'triple' WHERE name = 'double'")),
    "quarantined made approved": (
        "waiting",
        sql(f"UPDATE version_state SET state = 'approved' WHERE version = {WAITING}"),
    ),
    "revoked made approved": (
        "gone",
        sql(f"UPDATE version_state SET state = 'approved' WHERE version = {GONE}"),
    ),
    "revocation deleted, state made to fit": (
        "gone",
        sql(
            f"DELETE FROM event WHERE version = {GONE} AND type = 'revoked'",
            "UPDATE version_state SET state = 'approved', event = (SELECT max(sequence) FROM "
            f"event WHERE version = {GONE}) WHERE version = {GONE}",
        ),
    ),
    "state set back to an older version": (
        "double",
        sql(
            f"UPDATE version_state SET state = 'deprecated' WHERE version = {DOUBLE}",
            f"UPDATE version_state SET state = 'approved' WHERE version = {FIRST}",
        ),
    ),
    "derived state deleted": (
        "double@2",
        sql(f"DELETE FROM version_state WHERE version = {DOUBLE}"),
    ),
    "event changed": (
        "waiting@1",
        sql(f"UPDATE event SET to_state = 'approved' WHERE version = {WAITING}"),
    ),
    "event rewritten with a fitting hash": ("waiting", rewritten_event),
    "actor changed": ("double", sql(f"UPDATE event SET actor = 'eve' WHERE version = {DOUBLE}")),
    "decision changed": (
        "double",
        sql(
            "UPDATE event SET detail = replace(detail, 'complete', 'perfect') "
            f"WHERE version = {DOUBLE}"
        ),
    ),
    "middle event of the version deleted": (
        "double",
        sql(f"DELETE FROM event WHERE version = {DOUBLE} AND type = 'quarantined'"),
    ),
    "all its events deleted": ("double", sql(f"DELETE FROM event WHERE version = {DOUBLE}")),
    "end of the log deleted": (
        "double",
        sql("DELETE FROM event WHERE sequence = (SELECT max(sequence) FROM event)"),
    ),
    "head forgotten": ("double", sql("DELETE FROM log_head")),
    "unreadable time": ("double", sql("UPDATE event SET at = 'noon'")),
}


@pytest.mark.parametrize(("ref", "tamper"), SEEN_BY_GET.values(), ids=SEEN_BY_GET.keys())
async def test_get_and_verify_notice(folder: Path, ref: str, tamper: Tamper) -> None:
    with tampering(folder) as connection:
        tamper(connection)

    async with await ToolStore.open(folder) as store:
        with pytest.raises(StoreDamagedError):
            await store.get(ToolRef.parse(ref))
        report = await store.verify()

    assert not report.intact
    assert all(damage.where and damage.problem for damage in report.damage)


SEEN_BY_VERIFY: dict[str, Tamper] = {
    "event of another version deleted": sql("DELETE FROM event WHERE sequence = 5"),
    "first event deleted": sql("DELETE FROM event WHERE sequence = 1"),
    "event moved": sql("UPDATE event SET sequence = 1000 WHERE sequence = 6"),
    "unreferenced blob": sql("INSERT INTO blob VALUES ('sha256:1', x'00')"),
    "second name that reads like one": sql("UPDATE tool SET name = 'o_ther' WHERE name = 'gone'"),
    "trigger missing": sql(),
}


@pytest.mark.parametrize("tamper", SEEN_BY_VERIFY.values(), ids=SEEN_BY_VERIFY.keys())
async def test_verify_notices(folder: Path, tamper: Tamper, request: pytest.FixtureRequest) -> None:
    with tampering(folder) as connection:
        tamper(connection)
    if "trigger" in request.node.name:
        with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
            connection.execute("DROP TRIGGER event_no_update")

    async with await ToolStore.open(folder) as store:
        assert not (await store.verify()).intact


async def test_one_damaged_version_does_not_take_the_others_with_it(folder: Path) -> None:
    with tampering(folder) as connection:
        SEEN_BY_GET["source bytes changed"][1](connection)
    heard: list[tuple[str, StoreDamagedError]] = []

    def listen(ref: str, error: StoreDamagedError) -> None:
        heard.append((ref, error))

    async with await ToolStore.open(folder) as store:
        versions = await store.current_versions(on_damage=listen)
        documents = await store.search_documents(on_damage=listen)
        with pytest.raises(StoreDamagedError, match="double@2"):
            await store.current_versions()
        report = await store.verify()

    assert [version.name for version in versions] == ["last", "other"]
    assert [name for name, _ in documents] == ["last", "other"]
    assert [ref for ref, _ in heard] == ["double@2", "double@2"]
    assert [damage.where for damage in report.damage if "@" in damage.where] == ["double@2"]
    assert report.trusted == ("double@1", "gone@1", "last@1", "other@1", "waiting@1")


async def test_nothing_older_than_a_gap_in_the_log_is_trusted(folder: Path) -> None:
    with tampering(folder) as connection:
        revocation = sql(f"DELETE FROM event WHERE version = {GONE} AND type = 'revoked'")
        revocation(connection)

    async with await ToolStore.open(folder) as store:
        report = await store.verify()

    assert report.trusted == ()
    assert any("gap" in damage.problem for damage in report.damage)


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("action", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "REPLACE"])
async def test_the_database_itself_forbids_changes(folder: Path, table: str, action: str) -> None:
    replace = "INSERT OR REPLACE INTO {0} SELECT * FROM {0}"

    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        column = connection.execute(f"PRAGMA table_info({table})").fetchone()[1]
        statement = (replace if action == "REPLACE" else action).format(table, column)
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)


@pytest.mark.parametrize("channel", ["stable", "canary"])
async def test_two_versions_of_a_name_cannot_share_a_channel(folder: Path, channel: str) -> None:

    everything = "INSERT INTO channel (version, tool, channel) SELECT digest, tool, ? FROM "
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        connection.execute("DELETE FROM channel")
        with pytest.raises(sqlite3.IntegrityError, match=r"failed: channel\.tool"):
            connection.execute(everything + "tool_version", (channel,))


async def test_a_log_that_got_shorter_stops_a_running_session(folder: Path) -> None:
    async with await ToolStore.open(folder) as store:
        before = store.head()
        with tampering(folder) as connection:
            connection.execute("DELETE FROM event WHERE sequence = ?", (before,))

        with pytest.raises(StoreDamagedError, match=f"had {before} before"):
            store.head()
        with pytest.raises(StoreDamagedError):
            await store.changes_since(before)


async def test_nothing_is_written_on_top_of_a_broken_log(folder: Path) -> None:
    with tampering(folder) as connection:
        connection.execute("DELETE FROM event WHERE sequence = (SELECT max(sequence) FROM event)")

    async with await ToolStore.open(folder) as store:
        with pytest.raises(StoreDamagedError, match="the log ends"):
            await store.admit(make_submission("new_tool"), actor="ada")


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
async def test_a_linked_file_is_refused(tmp_path: Path, folder: Path, suffix: str) -> None:
    linked = tmp_path / "linked"
    linked.mkdir(mode=0o700)
    (linked / f"{DATABASE_NAME}{suffix}").symlink_to(folder / DATABASE_NAME)

    with pytest.raises(StoreDamagedError, match="is a link"):
        await ToolStore.open(linked)


@pytest.mark.parametrize("left", [0.05, 0.5, 0.95])
async def test_a_truncated_file_is_noticed(folder: Path, left: float) -> None:
    path = folder / DATABASE_NAME
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * left)])

    try:
        async with await ToolStore.open(folder) as store:
            assert not (await store.verify()).intact
    except (StoreDamagedError, StoreUnusableError):
        pass


async def test_noise_in_the_file_is_noticed_or_does_no_harm(folder: Path) -> None:
    path = folder / DATABASE_NAME
    content = path.read_bytes()
    async with await ToolStore.open(folder) as store:
        good = {version.digest: version for version in await store.current_versions()}
    for position in range(200, len(content), len(content) // 60):
        spoilt = bytearray(content)
        spoilt[position : position + 16] = bytes(byte ^ 0x5A for byte in spoilt[position:][:16])
        path.write_bytes(bytes(spoilt))
        try:
            async with await ToolStore.open(folder) as store:
                for version in await store.current_versions(on_damage=lambda *_: None):
                    assert good[version.digest] == version
        except (StoreDamagedError, StoreUnusableError):
            continue


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\1" * 500])
async def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DATABASE_NAME).write_bytes(content)

    with pytest.raises(StoreDamagedError):
        await ToolStore.open(tmp_path)

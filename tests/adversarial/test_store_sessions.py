"""Somebody with a hand in the database, while sessions run: what was taken back stays so."""

# ruff: noqa: S608 - the statements are put together from names of our own tables

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from factories import NOON, allowed, make_submission, needs_review
from store_places import FolderPlace
from storekit import tampering

from policies.config import PolicyProfile
from policies.decision import Approval
from runtime.artefacts import ArtefactStore
from runtime.catalog import SessionTools
from runtime.equipment import Equipment
from runtime.loader import ToolLoader
from runtime.profiles import read_profile
from sandbox.base import Sandbox
from toolstore.attest.errors import NotInForceError, RolledBackError
from toolstore.attest.keys import KeyRing
from toolstore.errors import StoreDamagedError, StoreUnusableError
from toolstore.files import DATABASE_NAME
from toolstore.models import ToolRef, ToolVersion
from toolstore.store import ToolStore
from toolstore.tables import metadata

POLICY: PolicyProfile = read_profile("local")


class SandboxAskedForError(Exception):
    """A call came as far as the sandbox: the version would have run."""


@dataclass
class Host:
    """A store, and a session on it that would run what it lets through."""

    place: FolderPlace
    store: ToolStore
    loader: ToolLoader

    async def admit(self, name: str) -> ToolVersion:
        decision = allowed().model_copy(update={"policy_digest": POLICY.digest})
        return await self.store.admit(make_submission(name, decision=decision), actor="ada")


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """A signed store with a loader that is in use."""

    async def sandbox() -> Sandbox:
        raise SandboxAskedForError

    place = FolderPlace(tmp_path / "store")
    opened = ToolStore.open(place.location, keys=KeyRing(tmp_path / "keys"), seen=tmp_path / "seen")
    async with await opened as store:
        equipment = Equipment(profile=POLICY, secrets=lambda _: None, tenant="tests")
        loader = ToolLoader(store, sandbox, equipment, ArtefactStore(tmp_path / "artefacts"))
        yield Host(place, store, loader)
        await loader.close()


async def test_a_row_that_undoes_a_revocation_lets_no_loaded_tool_run(host: Host) -> None:
    version = await host.admit("double")
    await host.loader.offers.refresh()
    loaded = await host.loader.load(ToolRef(name="double", digest=version.digest))
    with pytest.raises(SandboxAskedForError):
        await host.loader.runner.call(loaded.version, {"number": 2})

    await host.store.revoke(version.digest, actor="bob", reason="wrong")
    host.place.tamper("UPDATE version_state SET state = 'approved'")
    host.place.tamper(
        "INSERT INTO channel (version, tool, channel) SELECT digest, tool, 'stable' "
        "FROM tool_version"
    )

    with pytest.raises(StoreDamagedError, match="its state is kept as approved"):
        await host.loader.runner.call(loaded.version, {"number": 2})
    with pytest.raises(StoreDamagedError, match="its state is kept as approved"):
        await host.loader.load(ToolRef(name="double", digest=version.digest))


async def test_a_pin_that_the_log_denies_takes_no_other_tool_with_it(host: Host) -> None:
    pinned, other = await host.admit("double"), await host.admit("other")
    await host.store.lifecycle.pin(pinned.ref, session="s", actor="ada", reason="known")
    host.place.tamper("UPDATE pin SET event = 1")
    tools = SessionTools(host.loader, "s")
    await tools.refresh()

    with pytest.raises(StoreDamagedError, match="the log does not say"):
        await tools.get("double")
    assert (loaded := await tools.get("other")) is not None
    assert loaded.version == other


async def test_a_file_put_in_the_place_of_the_open_one_is_noticed(host: Host) -> None:
    version = await host.admit("double")
    before = host.store.head()
    database = host.place.location / DATABASE_NAME
    copy = database.with_name("copy")
    shutil.copy(database, copy)
    copy.replace(database)
    assert before > 0

    with pytest.raises(StoreDamagedError, match="replaced by another file while it was open"):
        host.store.head()
    with pytest.raises(StoreDamagedError, match="replaced by another file while it was open"):
        await host.store.get(version.ref)
    # Said to be done, it would have been written where nobody reads.
    with pytest.raises(StoreDamagedError, match="replaced by another file while it was open"):
        await host.store.revoke(version.digest, actor="bob", reason="wrong")


async def test_an_older_state_in_the_open_file_is_neither_read_nor_written_on(host: Host) -> None:
    version = await host.admit("double")
    older = _rows_of(host.place)
    await host.store.revoke(version.digest, actor="bob", reason="wrong")
    await host.store.verify()
    _put_back(host.place, older)

    with pytest.raises(StoreDamagedError, match="older state was put back"):
        await host.store.get(version.ref)
    with pytest.raises(RolledBackError, match="an older state was put back"):
        await host.admit("other")


async def test_what_this_host_saw_in_another_process_keeps_it_from_writing_on_less(
    host: Host, tmp_path: Path
) -> None:
    version = await host.admit("double")
    older = _rows_of(host.place)
    keys, seen = KeyRing(tmp_path / "keys"), tmp_path / "seen"
    async with await ToolStore.open(host.place.location, keys=keys, seen=seen) as neighbour:
        await neighbour.revoke(version.digest, actor="bob", reason="wrong")
    _put_back(host.place, older)

    with pytest.raises(RolledBackError, match="an older state was put back"):
        await host.admit("other")


async def test_what_cannot_be_remembered_is_not_done(host: Host, tmp_path: Path) -> None:
    version = await host.admit("double")
    before = host.store.head()
    shutil.rmtree(tmp_path / "seen")
    (tmp_path / "seen").write_text("no folder")

    with pytest.raises(StoreUnusableError, match="make it writable"):
        await host.store.revoke(version.digest, actor="bob", reason="wrong")

    (tmp_path / "seen").unlink()
    assert host.store.head() == before
    assert (await host.store.get(version.ref)).digest == version.digest


async def test_a_clock_that_is_set_back_brings_nothing_back(tmp_path: Path) -> None:
    moment = [NOON]
    opened = ToolStore.open(
        tmp_path / "store", keys=KeyRing(tmp_path / "keys"), clock=lambda: moment[0]
    )
    async with await opened as store:
        waiting = await store.admit(make_submission(decision=needs_review()), actor="ada")
        until = NOON + timedelta(hours=1)
        yes = Approval(principal="bob", digest=waiting.digest, at=NOON, expires_at=until)
        await store.approve(waiting.digest, yes, allowed(), actor="bob")
        assert (await store.get(waiting.ref)).digest == waiting.digest
        moment[0] = until
        await store.admit(make_submission("other"), actor="ada")
        moment[0] = NOON

        with pytest.raises(NotInForceError, match="the approval of bob ended"):
            await store.get(waiting.ref)


def _rows_of(place: FolderPlace) -> dict[str, list[tuple[object, ...]]]:
    return {name: place.query(f"SELECT * FROM {name}") for name in metadata.tables}


def _put_back(place: FolderPlace, rows: dict[str, list[tuple[object, ...]]]) -> None:
    """Make the store what it was, in the very file that is open."""
    with tampering(place.location) as connection:
        for name, kept in rows.items():
            connection.execute(f"DELETE FROM {name}")
            for row in kept:
                holes = ", ".join("?" for _ in row)
                connection.execute(f"INSERT INTO {name} VALUES ({holes})", row)

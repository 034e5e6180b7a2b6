"""Somebody with a hand in the files of a store and its keys, and no key."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from factories import make_submission
from full_store import fill
from storekit import tampering

from toolstore.attest.errors import AttestationError, Flaw, RolledBackError
from toolstore.attest.keys import KeyRing
from toolstore.errors import StoreDamagedError, StoreUnusableError, ToolNotFoundError
from toolstore.files import DATABASE_NAME
from toolstore.listing import summaries_sync
from toolstore.models import ToolRef, ToolVersion
from toolstore.store import ToolStore

SPOTS: Final = 1_000
"""So many places of the file are spoilt, one after the other."""


class Home:
    """A folder with a store, its keys and what the host saw of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.database = self.store / DATABASE_NAME

    async def open(self, where: Path | None = None) -> ToolStore:
        keys = KeyRing(self.folder / "keys")
        return await ToolStore.open(where or self.store, keys=keys, seen=self.folder / "seen")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A store with every kind of row, not to be changed."""
    folder = tmp_path_factory.mktemp("full")
    asyncio.run(fill(folder / "store", folder))
    return Home(folder)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home of one's own, empty."""
    return Home(tmp_path)


async def _loaded(home: Home, where: Path, refs: list[str]) -> tuple[bool, dict[str, object]]:
    """Whether the audit found nothing, and each version or that it was refused."""
    found: dict[str, object] = {}
    try:
        async with await home.open(where) as store:
            for ref in refs:
                try:
                    found[ref] = await store.find(ToolRef.parse(ref))
                except (StoreDamagedError, ToolNotFoundError):
                    found[ref] = None
            return (await store.verify()).intact, found
    except (StoreDamagedError, StoreUnusableError):
        return False, found


async def _spoil(full: Home, tmp_path: Path, spots: int) -> list[tuple[int, str]]:
    """What goes against the law when bytes of the file are changed, at so many places."""
    where = shutil.copytree(full.store, tmp_path / "spoilt")
    async with await full.open() as store:
        summaries = await store.summaries()
        refs = [f"{each.name}@{each.sequence}" for each in summaries]
        good: dict[str, ToolVersion] = {ref: await store.find(ToolRef.parse(ref)) for ref in refs}
    content = full.database.read_bytes()
    rng, problems = random.Random(22), list[tuple[int, str]]()  # noqa: S311 - no secret
    for _ in range(spots):
        place = rng.randrange(len(content))
        spoilt = bytearray(content)
        spoilt[place] ^= 1 << rng.randrange(8)
        (where / DATABASE_NAME).write_bytes(spoilt)
        intact, found = await _loaded(full, where, refs)
        other = [ref for ref, version in found.items() if version not in (None, good[ref])]
        if other:
            problems.append((place, f"{other} are others now"))
        if intact and (len(found) < len(refs) or None in found.values()):
            problems.append((place, "something is refused, and nothing is named"))
    return problems


@pytest.mark.heavy
@pytest.mark.timeout(1_800)
async def test_spoilt_pages_are_named_or_change_nothing(full: Home, tmp_path: Path) -> None:
    assert await _spoil(full, tmp_path, SPOTS) == []


async def test_a_definition_that_is_no_text_is_damage_and_no_error_of_ours(home: Home) -> None:
    async with await home.open():
        pass
    content = home.database.read_bytes()
    assert b"CREATE TABLE blob" in content
    home.database.write_bytes(content.replace(b"CREATE TABLE blob", b"CREATE TABLE \x8alob"))

    with pytest.raises(StoreDamagedError, match="does not answer as a store must"):
        await home.open()
    with pytest.raises(StoreDamagedError, match="does not answer as a store must"):
        summaries_sync(home.store)


async def test_a_store_without_its_latest_pages_is_an_older_one(home: Home) -> None:
    async with await home.open() as store:
        await store.admit(make_submission("kept"), actor="ada")
    with closing(sqlite3.connect(home.database)) as holding:
        holding.execute("BEGIN").execute("SELECT count(*) FROM event").fetchall()
        async with await home.open() as store:
            gone = await store.admit(make_submission("gone"), actor="ada")
            await store.revoke(gone.digest, actor="bob", reason="wrong")
        # The reader kept the log of pages from being taken over into the file.
        shutil.copy(home.database, home.folder / "without")
    shutil.copy(home.folder / "without", home.database)
    for suffix in ("-wal", "-shm"):
        home.database.with_name(DATABASE_NAME + suffix).unlink(missing_ok=True)

    with pytest.raises(RolledBackError, match="an older state was put back"):
        await home.open()


async def test_nobody_signs_what_lost_the_signatures_that_this_host_saw(home: Home) -> None:
    async with await home.open() as store:
        version = await store.admit(make_submission(), actor="ada")
        with tampering(home.store) as connection:
            connection.execute("DELETE FROM attestation")
            connection.execute("DELETE FROM checkpoint")

        with pytest.raises(StoreDamagedError):
            await store.get(version.ref)
    async with await home.open() as store:
        with pytest.raises(AttestationError, match="this host saw the log signed"):
            await store.signatures.sign(actor="ada")


async def test_a_link_that_leads_to_an_older_copy_is_noticed(home: Home) -> None:
    link = home.folder / "link"
    home.store.mkdir(mode=0o700)
    link.symlink_to(home.store)
    async with await home.open(link) as store:
        version = await store.admit(make_submission(), actor="ada")
    older = shutil.copytree(home.store, home.folder / "older")
    async with await home.open(link) as store:
        await store.revoke(version.digest, actor="bob", reason="wrong")
    link.unlink()
    link.symlink_to(older)

    with pytest.raises(RolledBackError, match="an older state was put back"):
        await home.open(link)


async def test_keys_that_are_changed_while_the_store_is_open_count_for_nothing(home: Home) -> None:
    async with await home.open() as store:
        version = await store.admit(make_submission(), actor="ada")
        assert (await store.get(version.ref)).digest == version.digest
        stranger = KeyRing(home.folder / "others")
        stranger.ring()
        shutil.rmtree(home.folder / "keys")
        shutil.copytree(home.folder / "others", home.folder / "keys")

        with pytest.raises(AttestationError) as refused:
            await store.get(version.ref)
        report = await store.verify()

    assert refused.value.flaw is Flaw.UNKNOWN_KEY
    assert not report.intact
    assert report.trusted == ()


async def test_a_key_that_somebody_put_beside_the_others_is_not_trusted(home: Home) -> None:
    async with await home.open() as store:
        version = await store.admit(make_submission(), actor="ada")
        stranger = KeyRing(home.folder / "others")
        stranger.ring()
        for path in (home.folder / "others").glob("*.pem"):
            shutil.copy(path, home.folder / "keys")

        assert (await store.get(version.ref)).digest == version.digest
        assert not {key.keyid for key in stranger.ring().keys} & {
            key.keyid for key in KeyRing(home.folder / "keys").ring().keys
        }

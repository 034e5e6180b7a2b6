"""Somebody with a hand in the database, while sessions run: what was taken back stays so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from factories import allowed, make_submission
from store_places import FolderPlace

from policies.config import PolicyProfile
from runtime.artefacts import ArtefactStore
from runtime.equipment import Equipment
from runtime.loader import ToolLoader
from runtime.profiles import read_profile
from sandbox.base import Sandbox
from toolstore.attest.keys import KeyRing
from toolstore.errors import StoreDamagedError
from toolstore.models import ToolRef, ToolVersion
from toolstore.store import ToolStore

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

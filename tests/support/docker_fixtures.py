"""Fixtures of tests that need a Docker engine: the real one, never a stand-in.

Without an engine these tests are skipped for a person and fail where `--require-docker` is
given or CI=true. All containers carry the session's owner, because the engine may be shared.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sandbox.docker_sandbox import DockerSandbox
from sandbox.engine import Engine, EngineError
from sandbox.errors import UnknownRuntimeError
from sandbox.identity import OWNER_LABEL, new_owner
from sandbox.images import ensure_image
from sandbox.reaper import remove_owned
from sandbox.runtimes import Runtime, find_runtime

RUNTIMES = ("runc", "runsc")
"""What the contract and every attack is tried on."""


def docker_host() -> str | None:
    return os.environ.get("DOCKER_HOST")


def must_have_engine(config: pytest.Config) -> bool:
    return bool(config.getoption("--require-docker")) or os.environ.get("CI") == "true"


async def listed_runtime(engine: Engine, config: pytest.Config, name: str) -> Runtime:
    """The runtime of that name; without it tests fail where an engine is required."""
    try:
        return await find_runtime(engine, name)
    except UnknownRuntimeError as error:
        if must_have_engine(config):
            pytest.fail(f"{name} is required here, but: {error}", pytrace=False)
        pytest.skip(f"no {name}: {error}")


@pytest.fixture(scope="session")
def image_state(pytestconfig: pytest.Config) -> Path:
    """Where the guest image is remembered from one session of tests to the next."""
    return Path(pytestconfig.cache.mkdir("guest-image"))


@pytest.fixture(scope="session")
def image_digest(pytestconfig: pytest.Config, image_state: Path) -> str:
    """The guest image, on an engine that answers."""

    async def ensure() -> str:
        engine = await Engine.connect(docker_host())
        try:
            return await ensure_image(engine, image_state, progress=print)
        finally:
            await engine.close()

    try:
        return asyncio.run(ensure())
    except EngineError as error:
        if must_have_engine(pytestconfig):
            pytest.fail(f"an engine is required here, but: {error}", pytrace=False)
        pytest.skip(f"no Docker engine: {error}")


@pytest.fixture(scope="session")
def owner(image_digest: str) -> Iterator[str]:
    """Marks this session's containers; none may be left at its end."""
    owner = new_owner()
    yield owner

    async def sweep() -> int:
        engine = await Engine.connect(docker_host())
        try:
            return await remove_owned(engine, owner)
        finally:
            await engine.close()

    assert asyncio.run(sweep()) == 0, "tests left containers behind"


@pytest.fixture
async def engine(owner: str) -> AsyncIterator[Engine]:
    engine = await Engine.connect(docker_host())
    yield engine
    left = await engine.list_by_label(f"{OWNER_LABEL}={owner}")
    await engine.close()
    assert not left, f"the test left {len(left)} container(s) behind"


@pytest.fixture
async def sandbox(engine: Engine, owner: str, image_digest: str) -> AsyncIterator[DockerSandbox]:
    sandbox = DockerSandbox(engine, image_digest=image_digest, owner=owner)
    yield sandbox
    await sandbox.settle()  # warm containers of the process tier as well
    await sandbox.pool.close()
    left = await engine.list_by_label(f"{OWNER_LABEL}={owner}")
    await sandbox.close()
    assert not left, f"the test left {len(left)} container(s) behind"

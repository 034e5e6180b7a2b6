"""Fixtures of the end-to-end tests: runtimes on a real engine, each with a store of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.settings import Settings
from runtime.wiring import Runtime, open_runtime
from sandbox.docker_sandbox import DockerSandbox, open_docker_sandbox
from sandbox.errors import SandboxUnavailableError


def _silent(_line: str) -> None:
    """Show no progress."""


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest image's state, shared by the session: built once."""
    return tmp_path_factory.mktemp("guest-image")


@pytest.fixture
async def sandbox(
    image_folder: Path, request: pytest.FixtureRequest
) -> AsyncIterator[DockerSandbox]:
    """The real sandbox; a missing engine skips for a person and fails in CI."""
    try:
        opened = await open_docker_sandbox(
            state_dir=image_folder, docker_host=os.environ.get("DOCKER_HOST"), progress=_silent
        )
    except SandboxUnavailableError as error:
        if os.environ.get("CI") or request.config.getoption("--require-docker"):
            pytest.fail(f"an engine is required here: {error}", pytrace=False)
        pytest.skip(str(error))
    async with opened:
        yield opened


@pytest.fixture
async def runtime(tmp_path: Path, sandbox: DockerSandbox) -> AsyncIterator[Runtime]:
    """A runtime under the `local` policy."""
    async with open_runtime(settings=Settings(home=tmp_path / "home"), sandbox=sandbox) as opened:
        yield opened


@pytest.fixture
async def other(tmp_path: Path, sandbox: DockerSandbox) -> AsyncIterator[Runtime]:
    """Another runtime with another store."""
    async with open_runtime(settings=Settings(home=tmp_path / "other"), sandbox=sandbox) as opened:
        yield opened


@pytest.fixture
async def neighbour(tmp_path: Path, sandbox: DockerSandbox) -> AsyncIterator[Runtime]:
    """Another runtime on the same store as `runtime`, as in another terminal."""
    async with open_runtime(settings=Settings(home=tmp_path / "home"), sandbox=sandbox) as opened:
        yield opened

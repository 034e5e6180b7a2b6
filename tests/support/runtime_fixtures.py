"""Fixtures of tests of the whole path: runtimes on a real engine, each with its own store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.settings import Settings
from runtime.wiring import Runtime, open_runtime
from sandbox.docker_sandbox import DockerSandbox


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of all state of `runtime` and `neighbour`."""
    return tmp_path / "home"


@pytest.fixture
async def runtime(home: Path, sandbox: DockerSandbox) -> AsyncIterator[Runtime]:
    """A runtime under the `local` policy."""
    async with open_runtime(settings=Settings(home=home), sandbox=sandbox) as opened:
        yield opened


@pytest.fixture
async def neighbour(home: Path, sandbox: DockerSandbox) -> AsyncIterator[Runtime]:
    """Another runtime on the same store as `runtime`, as in another terminal."""
    async with open_runtime(settings=Settings(home=home), sandbox=sandbox) as opened:
        yield opened


@pytest.fixture
async def other(tmp_path: Path, sandbox: DockerSandbox) -> AsyncIterator[Runtime]:
    """A runtime with another store."""
    async with open_runtime(settings=Settings(home=tmp_path / "other"), sandbox=sandbox) as opened:
        yield opened

"""The engine alone, for commands that run no tool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sandbox.engine import Engine, EngineError, default_docker_host
from sandbox.errors import SandboxUnavailableError


@asynccontextmanager
async def open_engine(docker_host: str | None) -> AsyncIterator[Engine]:
    """The engine at that address, or at the default one; let go when the block ends.

    Raises:
        SandboxUnavailableError: None answers, or it failed.
    """
    url = docker_host or default_docker_host()
    try:
        engine = await Engine.connect(url)
        try:
            yield engine
        finally:
            await engine.close()
    except EngineError as error:
        raise SandboxUnavailableError(str(error), engine=url) from error

"""What the engine and the kernel cost by themselves: nothing that stands on them can cost less."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from policies.value import JsonObject
from sandbox.base import Program
from sandbox.engine import Engine, EngineError
from sandbox.hardening import container_options
from sandbox.identity import owner_labels
from sandbox.runtimes import Runtime

__all__ = ["EngineFloor", "KernelTimes", "floor_options", "kernel_times"]

_KERNEL: Final = Path(__file__).parent / "bare.py"


def floor_options(program: Program, *, image: str, owner: str, runtime: Runtime) -> JsonObject:
    """A container as the sandbox would make it for one call of `program`, on `runtime`."""
    return container_options(
        level=program.level,
        limits=program.limits,
        image=image,
        labels=owner_labels(owner),
        runtime=runtime,
    )


class EngineFloor:
    """The bare engine, through the same client as the sandbox, with the same container."""

    def __init__(self, engine: Engine, options: JsonObject) -> None:
        self._engine = engine
        self._options = options

    async def create_start_attach(self) -> float:
        """Seconds until a container runs and its streams are connected; removed after."""
        start = time.perf_counter()
        container = await self._create()
        try:
            attachment = await self._engine.attach(container)
            try:
                await self._engine.start(container)
                return time.perf_counter() - start
            finally:
                attachment.close()
        finally:
            await self._engine.finish(self._engine.remove(container))

    async def create_start_remove(self) -> float:
        """Seconds of a container from nothing to nothing."""
        start = time.perf_counter()
        container = await self._create()
        try:
            await self._engine.start(container)
        finally:
            await self._engine.finish(self._engine.remove(container))
        return time.perf_counter() - start

    async def _create(self) -> str:
        return await self._engine.create(self._options, name=f"toolkiln-{uuid.uuid4().hex[:20]}")


@dataclass(frozen=True)
class KernelTimes:
    """Seconds of what the kernel does by itself."""

    fork: tuple[float, ...]
    pipe: tuple[float, ...]
    python: tuple[float, ...]
    python_at_once: tuple[float, ...]
    """Eight at a time."""

    python_at_once_wall: float


async def kernel_times(count: int) -> KernelTimes:
    """Measure them in a process of their own.

    Raises:
        EngineError: The process failed.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", str(_KERNEL), str(count), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await child.communicate()
    if child.returncode != 0:
        raise EngineError(f"the program that measures the kernel ended with {child.returncode}")
    found = json.loads(printed)
    return KernelTimes(
        fork=tuple(found["fork"]),
        pipe=tuple(found["pipe"]),
        python=tuple(found["python"]),
        python_at_once=tuple(found["python_at_once"]),
        python_at_once_wall=found["python_at_once_wall"],
    )

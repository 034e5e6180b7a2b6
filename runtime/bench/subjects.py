"""The sandboxes that are measured: one that is always cold, one with a pool, one per process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from policies.limits import ResourceLimits
from policies.value import sha256_digest
from runtime.bench.errors import BenchError
from sandbox.base import (
    ApprovedVersion,
    CallOptions,
    ExecutionResult,
    Outcome,
    Program,
    Tier,
)
from sandbox.docker_sandbox import DockerSandbox, SandboxCapacity
from sandbox.engine import Engine
from sandbox.errors import SandboxError
from sandbox.identity import OWNER_LABEL
from sandbox.launcher import Walls
from sandbox.pool import PoolSettings
from sandbox.runtimes import Runtime

__all__ = ["ADD", "Subject", "open_subject"]

ADD: Final = Program(code='def run(a, b):\n    return {"sum": a + b}\n', function="run")
"""The same work for everybody."""

_SPIN: Final = Program(
    code="def run():\n    while True:\n        pass\n",
    function="run",
    limits=ResourceLimits(wall_seconds=0.5),
)
_OPTIONS: Final = CallOptions()
_APPROVED: Final = CallOptions(
    approved=ApprovedVersion(
        version_digest=sha256_digest(ADD.code.encode()),
        policy_digest=sha256_digest(b"benchmark"),
        tenant="benchmark",
    )
)
_SETTLE_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.005
_REST_SECONDS: Final = 0.03


@dataclass
class Subject:
    """Our sandbox on one runtime."""

    runtime: str
    engine: Engine
    cold: DockerSandbox
    pooled: DockerSandbox
    process: DockerSandbox
    last: ExecutionResult | None = None
    hits: int = field(default=0)

    async def cold_call(self) -> float:
        """Seconds of a call for which nothing stood ready."""
        return await self._timed(self.cold, _OPTIONS, 3)

    async def pooled_call(self) -> float:
        """Seconds of a call that takes what stands ready, if anything does."""
        return await self._timed(self.pooled, _OPTIONS, 4)

    async def process_call(self) -> float:
        """Seconds of a call in a fresh process."""
        return await self._timed(self.process, _APPROVED, 5)

    async def has_process_tier(self) -> bool:
        """Whether an approved version gets a process; also warms its container up."""
        await self.process_call()
        return self.last is not None and self.last.tier is Tier.PROCESS

    async def timed_out_call(self) -> float:
        """Seconds over its limit after which a call that never ends came back."""
        start = time.perf_counter()
        result = await self.pooled.run(_SPIN, {})
        spent = time.perf_counter() - start
        if result.outcome is not Outcome.TIMED_OUT:
            raise BenchError(f"a call that never ends ended as {result.outcome}")
        return spent - _SPIN.limits.wall_seconds

    async def _timed(self, sandbox: DockerSandbox, options: CallOptions, a: int) -> float:
        start = time.perf_counter()
        result = await sandbox.run(ADD, {"a": a, "b": 3}, options)
        spent = time.perf_counter() - start
        if result.value != {"sum": a + 3}:
            raise BenchError(f"{a} + 3: {result.outcome}, {result.value!r} {result.error_message}")
        self.last = result
        self.hits += result.pool_hit
        return spent

    def take_hits(self) -> int:
        """Pool hits since the last time."""
        hits, self.hits = self.hits, 0
        return hits

    async def cold_settled(self) -> None:
        """Wait until nothing is left of the cold calls."""
        await self.cold.settle()

    async def fill(self, count: int, program: Program = ADD) -> None:
        """Wait until `count` containers stand ready and nothing else goes on.

        Raises:
            BenchError: That took too long.
        """
        self.pooled.prepare(program, count)
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                await self.pooled.settle()
                while not self._stands_full(program, count):  # noqa: ASYNC110  no event tells
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise BenchError(
                f"{self.runtime}: {self._ready(program)} of {count} containers stood "
                f"ready after {_SETTLE_SECONDS:g} s"
            ) from None
        await asyncio.sleep(_REST_SECONDS)

    def _stands_full(self, program: Program, count: int) -> bool:
        all_ready = self._ready(ADD) + self._ready(_SPIN)
        return self._ready(program) >= count and self.pooled.pool.total == all_ready

    def _ready(self, program: Program) -> int:
        walls = Walls.of(program, image=self.pooled.image_digest, calls=1)
        return self.pooled.pool.ready(walls)

    async def fill_for_time_out(self) -> None:
        """Have a container ready for a call that never ends."""
        await self.fill(1, _SPIN)

    async def warm_containers(self) -> tuple[str, ...]:
        """Ids of the containers that stand ready."""
        listed = await self.engine.list_by_label(f"{OWNER_LABEL}={self.pooled.owner}")
        return tuple(container.id for container in listed)


@asynccontextmanager
async def open_subject(
    engine: Engine, image_digest: str, runtime: Runtime, *, idle: int
) -> AsyncIterator[Subject]:
    """Our sandbox on `runtime`, with at most `idle` containers ready.

    Raises:
        SandboxError: The runtime is not ready.
    """
    async with AsyncExitStack() as stack:

        async def make(idle: int) -> DockerSandbox:
            sandbox = DockerSandbox(
                engine,
                image_digest=image_digest,
                capacity=SandboxCapacity(pool=PoolSettings(idle=idle)),
                runtime=runtime,
            )
            return await stack.enter_async_context(sandbox)

        subject = Subject(
            runtime=runtime.name,
            engine=engine,
            cold=await make(0),
            pooled=await make(idle),
            process=await make(idle),
        )
        try:
            await subject.cold_call()
        except BenchError as error:
            raise SandboxError(str(error)) from error
        yield subject

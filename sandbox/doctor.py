"""What an engine really holds, tried in containers: nothing is believed from its settings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from policies.permissions import LintLevel
from policies.value import JsonObject
from sandbox.base import CallOptions, Program
from sandbox.container import GuestContainer, attached
from sandbox.conversation import Conversation, greet
from sandbox.deadlines import Deadlines
from sandbox.engine import Engine, EngineError
from sandbox.errors import ImageError, SandboxError, SandboxUnavailableError
from sandbox.hardening import container_options
from sandbox.identity import new_owner, owner_labels
from sandbox.images import engine_reference
from sandbox.observation import Observation, observe
from sandbox.probe_results import (
    PROBE_LIMITS,
    ProbeResult,
    flood_result,
    forking_result,
    group_result,
    in_the_light_of,
    memory_result,
    posture_result,
    unread_result,
    wall_results,
)
from sandbox.reaper import Janitor, remove_owned
from sandbox.runtimes import RUNC, Runtime

__all__ = ["probe", "probe_source"]

_PROBE: Final = Path(__file__).parent / "guest" / "probe.py"
_FLOOD_SECONDS: Final = 0.3
_DEATH_SECONDS: Final = 3.0


def probe_source() -> str:
    """The guest program that tries the walls; its functions are the attempts."""
    return _PROBE.read_text(encoding="utf-8")


async def probe(
    engine: Engine, image_digest: str, runtime: Runtime = RUNC
) -> tuple[ProbeResult, ...]:
    """Try every wall of a container on this engine, with that runtime of its.

    Raises:
        SandboxUnavailableError: No container can be run at all.
    """
    try:
        async with _bench(engine, image_digest, runtime) as bench, asyncio.TaskGroup() as tasks:
            walls = tasks.create_task(bench.run("probe", LintLevel.L2))
            forking = tasks.create_task(bench.run("make_process", LintLevel.L0))
            memory = tasks.create_task(
                bench.run("use_memory", LintLevel.L2, {"size": 2 * PROBE_LIMITS.memory_bytes})
            )
            flood = tasks.create_task(bench.run("flood", LintLevel.L2))
            unread = tasks.create_task(bench.kill_unread_flood())
    except* EngineError as errors:
        reason = str(errors.exceptions[0])
        raise SandboxUnavailableError(reason, engine=engine.url) from errors
    except* SandboxError as errors:
        raise errors.exceptions[0] from None
    results = (
        posture_result(walls.result(), runtime),
        *([group_result(walls.result(), runtime)] if engine.is_here else []),
        *wall_results(walls.result()),
        forking_result(forking.result()),
        memory_result(memory.result()),
        flood_result(flood.result()),
        unread_result(dead=unread.result()),
    )
    return tuple(in_the_light_of(runtime, result) for result in results)


@dataclass(frozen=True)
class _Bench:
    """Makes containers as the sandbox would, and lets them speak whatever their posture."""

    engine: Engine
    image: str
    owner: str
    runtime: Runtime

    async def run(
        self, function: str, level: LintLevel, arguments: JsonObject | None = None
    ) -> Observation:
        program = _program(function, level)
        return await observe(self.engine, self._options(level), program, (arguments or {},))

    def _options(self, level: LintLevel) -> JsonObject:
        return container_options(
            level=level,
            limits=PROBE_LIMITS,
            image=self.image,
            labels=owner_labels(self.owner),
            runtime=self.runtime,
        )

    async def kill_unread_flood(self) -> bool:
        """Whether a container can be killed whose output nobody reads."""
        channel = attached(PROBE_LIMITS)
        options = self._options(LintLevel.L2)
        guest = await GuestContainer.create(self.engine, lambda _: options, channel)
        try:
            await guest.start()
            await greet(self.engine, guest)
            program = _program("flood", LintLevel.L2)
            with contextlib.closing(Deadlines()) as deadlines:
                talk = Conversation(self.engine, guest, program, CallOptions(), deadlines=deadlines)
                channel.stop_listening()
                async with asyncio.TaskGroup() as tasks:
                    flood = tasks.create_task(talk.hold([b"{}"]))
                    await asyncio.sleep(_FLOOD_SECONDS)
                    await guest.kill()
                    flood.cancel()
            channel.close()  # the engine tells nothing of a container whose output nobody takes
            return await self._has_ended(guest)
        finally:
            with contextlib.suppress(EngineError):
                await self.engine.finish(guest.dispose())

    async def _has_ended(self, guest: GuestContainer) -> bool:
        """Whether the engine sees it too, which takes it a moment."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _DEATH_SECONDS
        return await guest.exit_state(deadline) is not None


def _program(function: str, level: LintLevel) -> Program:
    return Program(code=probe_source(), function=function, level=level, limits=PROBE_LIMITS)


@contextlib.asynccontextmanager
async def _bench(engine: Engine, image_digest: str, runtime: Runtime) -> AsyncIterator[_Bench]:
    image = await engine_reference(engine, image_digest)
    if image is None:
        raise ImageError(f"the engine has no image {image_digest}", engine=engine.url)
    owner = new_owner()
    janitor = Janitor(engine.url, owner)
    await janitor.ensure()
    try:
        yield _Bench(engine, image, owner, runtime)
    finally:
        with contextlib.suppress(EngineError):
            await remove_owned(engine, owner)
        await janitor.close()

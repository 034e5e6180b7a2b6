"""The sandbox on Docker: a fresh hardened container for each run, and nothing left of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from policies.config import PackageSettings
from policies.value import JsonObject, canonical_json
from sandbox.base import ApprovedVersion, CallOptions, ExecutionResult, Program, Tier, Timings
from sandbox.channel import AttachChannel
from sandbox.container import GuestContainer
from sandbox.conversation import Call, Conversation
from sandbox.deadlines import Deadlines
from sandbox.engine import Engine, EngineError, default_docker_host
from sandbox.errors import PackagesRefusedError, SandboxUnavailableError
from sandbox.folders import remove_orphaned_folders
from sandbox.forkserver import ForkServer
from sandbox.identity import new_owner
from sandbox.images import ensure_image
from sandbox.launcher import Launcher, Walls
from sandbox.packages import PackageImages
from sandbox.places import Places
from sandbox.pool import Pool, PoolClosedError, PoolSettings
from sandbox.process_tier import ProcessSettings, ProcessTier, TierRefusedError
from sandbox.reaper import reap_orphans
from sandbox.runtimes import RUNC, Runtime, check_limits, find_runtime

__all__ = ["DockerSandbox", "SandboxCapacity", "open_docker_sandbox"]

_FINISH_SECONDS: Final = 0.5
"""How long a guest that has answered may take to close its channel; on a busy host it waits for
its turn, and what it had to say meanwhile would be lost."""

_NO_CALL_OPTIONS: Final = CallOptions()


@dataclass(frozen=True)
class SandboxCapacity:
    """Bounds of one sandbox."""

    concurrency: int = max(32, 4 * (os.cpu_count() or 1))
    """Calls that run at once."""

    waiting: int = 1024
    """Calls that may wait for a place; one more is refused."""

    wait_seconds: float = 120.0
    """A call that has waited for so long is refused."""

    pool: PoolSettings = field(default_factory=PoolSettings)
    processes: ProcessSettings = field(default_factory=ProcessSettings)


class DockerSandbox:
    """Runs each program in a container of its own; the contract is `sandbox.base.Sandbox`."""

    def __init__(  # noqa: PLR0913  each is one fact, and all but two have a default
        self,
        engine: Engine,
        *,
        image_digest: str,
        owner: str | None = None,
        capacity: SandboxCapacity = SandboxCapacity(),
        runtime: Runtime = RUNC,
        packages: PackageImages | None = None,
        owns_engine: bool = False,
    ) -> None:
        self.owner = owner or new_owner()
        """Value of the label that all its containers carry."""

        self._engine = engine
        self._image_digest = image_digest
        self._packages = packages
        self._places = Places(
            capacity.concurrency, waiting=capacity.waiting, wait_seconds=capacity.wait_seconds
        )
        self._owns_engine = owns_engine
        self._launcher = Launcher(engine, self.owner, runtime)
        self._pool: Pool[Walls, GuestContainer] = Pool(
            self._launcher.launch, self._launcher.discard, capacity.pool
        )
        self._processes = ProcessTier(self._launcher, image_digest, capacity.processes)
        self._deadlines = Deadlines()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def image_digest(self) -> str:
        """Identity of the environment that programs run in."""
        return self._image_digest

    @property
    def engine(self) -> Engine:
        """The engine that it runs on."""
        return self._engine

    @property
    def pool(self) -> Pool[Walls, GuestContainer]:
        """The containers that are there."""
        return self._pool

    async def image_for(self, packages: Sequence[str], *, wanted: str | None = None) -> str:
        """Identity of the image that has these packages, made where it is not there yet."""
        if not packages:
            return self._image_digest
        if self._packages is None:
            raise PackagesRefusedError(packages, "this sandbox was opened without packages")
        return await self._packages.image_for(packages, wanted=wanted)

    def prepare(self, program: Program, count: int = 1) -> None:
        """Have containers for `count` calls of programs with the same walls ready soon."""
        if not self._closed:
            self._pool.prepare(self._walls(program, 1), count)

    async def run(
        self, program: Program, arguments: JsonObject, options: CallOptions = _NO_CALL_OPTIONS
    ) -> ExecutionResult:
        """Call `program` once in a fresh container, which is destroyed after."""
        if options.approved is not None and self._processes.serves(program, options):
            try:
                return await self._run_in_process(program, arguments, options.approved, options)
            except TierRefusedError:
                pass  # a fresh container does as well; the result says which it was
        (result,) = await self.run_batch(program, (arguments,), options)
        return result

    async def _run_in_process(
        self,
        program: Program,
        arguments: JsonObject,
        approved: ApprovedVersion,
        options: CallOptions,
    ) -> ExecutionResult:
        """Call `program` once in a fresh process of a warm container.

        Raises:
            TierRefusedError: There is no such container, and none can be made.
        """
        encoded = canonical_json(arguments)
        clock = _Stopwatch()
        async with self._places.one(nested=options.nested):
            queue = clock.lap()
            guest, hit = await self._processes.claim(approved, program)
            clean = False
            try:
                claim = clock.lap()
                talk = Conversation(
                    self._engine,
                    guest,
                    program,
                    options,
                    deadlines=self._deadlines,
                    can_kill_itself=True,
                    has_program=True,
                )
                (call,) = await talk.hold((encoded,))
                clock.lap()
                call = talk.last_words(call)
                clean = guest.is_over(answered=call.answered)
            finally:
                self._processes.release(guest, clean=clean)
            teardown = clock.lap()
        timings = Timings(queue=queue, claim=claim, execute=call.execute_seconds, teardown=teardown)
        image = program.image or self._image_digest
        return self._result(call, guest, timings, image=image, hit=hit, tier=Tier.PROCESS)

    async def run_batch(
        self,
        program: Program,
        batch: Sequence[JsonObject],
        options: CallOptions = _NO_CALL_OPTIONS,
    ) -> tuple[ExecutionResult, ...]:
        """Call `program` with each of `batch` in turn inside one fresh container."""
        encoded = [canonical_json(arguments) for arguments in batch]
        if not encoded:
            return ()
        clock = _Stopwatch()
        walls = self._walls(program, len(encoded))
        async with self._places.one(nested=options.nested):
            queue = clock.lap()
            guest, hit = await self._claim(walls, nested=options.nested)
            try:
                claim = clock.lap()
                talk = Conversation(
                    self._engine,
                    guest,
                    program,
                    options,
                    deadlines=self._deadlines,
                    can_kill_itself=self._launcher.runtime.can_kill_itself,
                )
                calls = await talk.hold(encoded)
                clock.lap()
                await self._finish(guest, answered=calls[-1].answered)
                calls[-1] = talk.last_words(calls[-1])
            except BaseException:
                guest.kill_now()
                raise
            finally:
                self._pool.release(guest)
            teardown = clock.lap()
        timings = [Timings(execute=call.execute_seconds) for call in calls]
        timings[0] = timings[0].model_copy(update={"queue": queue, "claim": claim})
        timings[-1] = timings[-1].model_copy(update={"teardown": teardown})
        return tuple(
            self._result(call, guest, timing, image=walls.image, hit=hit)
            for call, timing in zip(calls, timings, strict=True)
        )

    def _walls(self, program: Program, calls: int) -> Walls:
        return Walls.of(program, image=self._image_digest, calls=calls)

    async def _claim(self, walls: Walls, *, nested: bool) -> tuple[GuestContainer, bool]:
        try:
            return await self._pool.claim(walls, beyond_capacity=nested)
        except PoolClosedError:
            raise SandboxUnavailableError(
                "this sandbox has been closed", engine=self._engine.url
            ) from None

    async def _finish(self, guest: GuestContainer, *, answered: bool) -> None:
        """See to it that all has come that the guest had to say."""
        if isinstance(guest.channel, AttachChannel):
            # The engine delivers output behind the answer, at its own pace; only the end is sure.
            await self._engine.finish(self._launcher.discard(guest))
        elif answered:
            await guest.channel.wait_for_end(_FINISH_SECONDS)
        guest.channel.catch_up()

    async def settle(self) -> None:
        """Wait until every container that has been used is gone."""
        await self._processes.settle()
        await self._pool.settle()

    async def close(self) -> None:
        """Destroy whatever is still there and give back connections."""
        if self._closed:
            return
        self._closed = True
        try:
            for guest in self._pool.shut():
                guest.kill_now()
            for server in self._processes.shut():
                server.kill_now()
            await self._launcher.remove_all()
            await self._processes.close()
            await self._pool.close()
        finally:
            self._deadlines.close()
            await self._launcher.close()
            if self._owns_engine:
                await self._engine.close()

    def _result(  # noqa: PLR0913  each is one fact about the call
        self,
        call: Call,
        guest: GuestContainer | ForkServer,
        timings: Timings,
        *,
        image: str,
        hit: bool,
        tier: Tier = Tier.CONTAINER,
    ) -> ExecutionResult:
        verdict = call.verdict
        assert guest.posture is not None  # noqa: S101  it has been greeted
        return ExecutionResult(
            outcome=verdict.outcome,
            value=verdict.value,
            error_type=verdict.error_type,
            error_message=verdict.error_message,
            traceback=verdict.traceback,
            limit=verdict.limit,
            exit_code=verdict.exit_code,
            output=call.output,
            output_bytes=call.output_bytes,
            tier=tier,
            runtime=self._launcher.runtime.name,
            image_digest=image,
            container=guest.id,
            pool_hit=hit,
            timings=timings,
            usage=call.usage,
            posture=guest.posture,
        )


async def open_docker_sandbox(  # noqa: PLR0913  each is one fact, and half have a default
    *,
    state_dir: Path,
    docker_host: str | None,
    progress: Callable[[str], None],
    capacity: SandboxCapacity = SandboxCapacity(),
    runtime: str = "",
    require_limits: bool = True,
    package_settings: PackageSettings | None = None,
) -> DockerSandbox:
    """A sandbox that is ready: engine reached, orphans removed, image there.

    Its `close` cleans up all of that but the image. `runtime` is one that the engine lists, or
    empty for its default; `require_limits` refuses one whose control groups do not hold.

    Raises:
        SandboxUnavailableError: No engine, or none that can be used.
        UnknownRuntimeError: The engine does not list the runtime.
        LimitsNotHeldError: Limits that are required do not hold on it.
        ImageError: No guest image.
    """
    url = docker_host or default_docker_host()
    try:
        engine = await Engine.connect(url)
    except EngineError as error:
        raise SandboxUnavailableError(str(error), engine=url) from error
    try:
        await reap_orphans(engine)
        await asyncio.to_thread(remove_orphaned_folders)
        found = await find_runtime(engine, runtime)
        if require_limits:
            check_limits(found)
        digest = await ensure_image(engine, state_dir, progress=progress)
    except BaseException as error:
        await engine.close()
        if isinstance(error, EngineError):
            raise SandboxUnavailableError(str(error), engine=url) from error
        raise
    return DockerSandbox(
        engine,
        image_digest=digest,
        capacity=capacity,
        runtime=found,
        packages=PackageImages(
            engine,
            state_dir,
            package_settings or PackageSettings(),
            base=digest,
            progress=progress,
        ),
        owns_engine=True,
    )


class _Stopwatch:
    """Seconds from one lap to the next."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        """Since the last one."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        return seconds

"""The sandbox on Docker: a fresh hardened container for each run, and nothing left of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, Self

from policies.value import JsonObject, canonical_json
from sandbox.base import ExecutionResult, Posture, Program, Timings
from sandbox.container import GuestContainer
from sandbox.conversation import Call, Conversation
from sandbox.engine import Engine, EngineError, NoSuchObjectError, default_docker_host
from sandbox.errors import ImageError, SandboxUnavailableError
from sandbox.hardening import container_options
from sandbox.identity import new_owner, owner_labels
from sandbox.images import engine_reference, ensure_image
from sandbox.reaper import Janitor, reap_orphans, remove_owned

__all__ = ["DockerSandbox", "open_docker_sandbox"]

_LEAST_CONCURRENCY: Final = 4


class DockerSandbox:
    """Runs each program in a container of its own; the contract is `sandbox.base.Sandbox`."""

    def __init__(  # noqa: PLR0913  each is one fact, and all but two have a default
        self,
        engine: Engine,
        *,
        image_digest: str,
        owner: str | None = None,
        concurrency: int | None = None,
        runtime: str = "runc",
        owns_engine: bool = False,
    ) -> None:
        self.owner = owner or new_owner()
        """Value of the label that all its containers carry."""

        self._engine = engine
        self._image_digest = image_digest
        self._image_reference: str | None = None
        self._places = asyncio.Semaphore(concurrency or _default_concurrency())
        self._runtime = runtime
        self._owns_engine = owns_engine
        self._janitor = Janitor(engine.url, self.owner)
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

    async def run(self, program: Program, arguments: JsonObject) -> ExecutionResult:
        """Call `program` once in a fresh container, then destroy the container."""
        (result,) = await self.run_batch(program, (arguments,))
        return result

    async def run_batch(
        self, program: Program, batch: Sequence[JsonObject]
    ) -> tuple[ExecutionResult, ...]:
        """Call `program` with each of `batch` in turn inside one fresh container."""
        encoded = [canonical_json(arguments) for arguments in batch]
        if not encoded:
            return ()
        clock = _Stopwatch()
        async with self._places:
            queue = clock.lap()
            async with self._container(program, len(encoded)) as guest:
                talk = Conversation(self._engine, guest, program)
                posture = await talk.admit(len(encoded))
                claim = clock.lap()
                calls = await talk.hold(encoded)
                clock.lap()
            teardown = clock.lap()
        calls[-1] = talk.last_words(calls[-1])
        timings = [Timings(execute=call.execute_seconds) for call in calls]
        timings[0] = timings[0].model_copy(update={"queue": queue, "claim": claim})
        timings[-1] = timings[-1].model_copy(update={"teardown": teardown})
        return tuple(
            self._result(call, guest, posture, timing)
            for call, timing in zip(calls, timings, strict=True)
        )

    async def close(self) -> None:
        """Destroy whatever is still there and give back connections."""
        if self._closed:
            return
        self._closed = True
        try:
            with contextlib.suppress(EngineError):  # a later process of this host reaps the rest
                await remove_owned(self._engine, self.owner)
        finally:
            await self._janitor.close()
            if self._owns_engine:
                await self._engine.close()

    @contextlib.asynccontextmanager
    async def _container(self, program: Program, calls: int) -> AsyncIterator[GuestContainer]:
        """A running container, gone when this is left, however it is left."""
        guest = await self._create(program, calls)
        try:
            try:
                await guest.start()
            except EngineError as error:
                raise self._unavailable(error) from error
            yield guest
        finally:
            await self._engine.finish(_dispose(guest))

    async def _create(self, program: Program, calls: int) -> GuestContainer:
        if self._closed:
            raise self._unavailable("this sandbox has been closed")
        try:
            await self._janitor.ensure()
            options = container_options(
                level=program.level,
                limits=program.limits,
                image=await self._image(),
                labels=owner_labels(self.owner),
                calls=calls,
            )
            return await GuestContainer.create(self._engine, options, program.limits)
        except NoSuchObjectError as error:
            raise ImageError(str(error), engine=self._engine.url) from error
        except (EngineError, OSError) as error:
            raise self._unavailable(error) from error

    async def _image(self) -> str:
        if self._image_reference is None:
            reference = await engine_reference(self._engine, self._image_digest)
            if reference is None:
                raise NoSuchObjectError(f"the engine has no image {self._image_digest}")
            self._image_reference = reference
        return self._image_reference

    def _unavailable(self, reason: object) -> SandboxUnavailableError:
        return SandboxUnavailableError(str(reason), engine=self._engine.url)

    def _result(
        self, call: Call, guest: GuestContainer, posture: Posture, timings: Timings
    ) -> ExecutionResult:
        verdict = call.verdict
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
            runtime=self._runtime,
            image_digest=self._image_digest,
            container=guest.id,
            timings=timings,
            usage=call.usage,
            posture=posture,
        )


async def open_docker_sandbox(
    *,
    state_dir: Path,
    docker_host: str | None,
    progress: Callable[[str], None],
    concurrency: int | None = None,
) -> DockerSandbox:
    """A sandbox that is ready: engine reached, orphans removed, image there.

    Its `close` cleans up all of that but the image.

    Raises:
        SandboxUnavailableError: No engine, or none that can be used.
        ImageError: No guest image.
    """
    url = docker_host or default_docker_host()
    try:
        engine = await Engine.connect(url)
    except EngineError as error:
        raise SandboxUnavailableError(str(error), engine=url) from error
    try:
        await reap_orphans(engine)
        runtime = (await engine.info()).get("DefaultRuntime")
        digest = await ensure_image(engine, state_dir, progress=progress)
    except BaseException as error:
        await engine.close()
        if isinstance(error, EngineError):
            raise SandboxUnavailableError(str(error), engine=url) from error
        raise
    return DockerSandbox(
        engine,
        image_digest=digest,
        concurrency=concurrency,
        runtime=str(runtime or "unknown"),
        owns_engine=True,
    )


async def _dispose(guest: GuestContainer) -> None:
    # What cannot be removed now is removed when the sandbox closes, or after it has died.
    with contextlib.suppress(EngineError):
        await guest.dispose()


def _default_concurrency() -> int:
    return max(_LEAST_CONCURRENCY, 2 * (os.cpu_count() or 1))


class _Stopwatch:
    """Seconds from one lap to the next."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        """Since the last one."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        return seconds

"""One container from its making to its removal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

from policies.limits import ResourceLimits
from policies.value import JsonObject
from sandbox.base import Posture
from sandbox.channel import AttachChannel, Channel, PipeChannel
from sandbox.engine import ContainerState, Engine, EngineError, EngineTimeoutError
from sandbox.usage import CgroupFiles, GroupReading

__all__ = ["GuestContainer", "attached", "piped"]

_KILL_SECONDS: Final = 3.0
_DEATH_SECONDS: Final = 1.0
_DRAIN_SECONDS: Final = 5.0
_REMOVE_SECONDS: Final = 5.0
_EXIT_POLL_SECONDS: Final = 0.02
_EXIT_NEWS_SECONDS: Final = 10.0

MakeOptions = Callable[[Path | None], JsonObject]
"""From the folder to bind, if any, to the engine's description of a container."""


def piped(root: Path, limits: ResourceLimits) -> PipeChannel:
    """A channel of pipes in a new folder under `root`.

    Raises:
        OSError: It cannot be made.
    """
    return PipeChannel(root / uuid.uuid4().hex[:16], limits)


def attached(limits: ResourceLimits) -> AttachChannel:
    """A channel over the engine's attach stream, connected when the container is started."""
    return AttachChannel(limits)


class GuestContainer:
    """A container with a harness in it."""

    def __init__(self, engine: Engine, container: str, channel: Channel) -> None:
        self._engine = engine
        self._process: int | None = None
        self._group: CgroupFiles | None = None
        self._started = False
        self._killed = False
        self.id = container
        self.channel = channel
        self.posture: Posture | None = None
        """What it said of its walls, once it has been admitted."""

    @classmethod
    async def create(
        cls, engine: Engine, make_options: MakeOptions, channel: Channel
    ) -> GuestContainer:
        """Make a container; whoever gets it must `dispose` of it. The channel is its own.

        Raises:
            EngineError: It was not made.
        """
        name = f"toolkiln-{uuid.uuid4().hex[:20]}"
        try:
            return cls(
                engine, await engine.create(make_options(channel.folder), name=name), channel
            )
        except BaseException:
            channel.close()
            raise

    async def start(self) -> None:
        """Listen to it and let it run.

        Raises:
            EngineError: It did not start.
        """
        if isinstance(self.channel, AttachChannel):
            self.channel.connect(await self._engine.attach(self.id))
        await self._engine.start(self.id)
        self._started = True

    async def greeted(self, posture: Posture) -> None:
        """It is ready: get hold of everything that a call will want at once."""
        self.posture = posture
        self.channel.greeted()
        if not self._engine.is_here:
            return
        self._group = CgroupFiles.open(self.id)
        pid = self._group.first_pid() if self._group else None
        if pid is None:  # a runtime that keeps no such group; the engine knows the process
            with contextlib.suppress(EngineError):
                pid = (await self._engine.inspect(self.id)).pid
        if pid:
            with contextlib.suppress(OSError):  # not ours to signal, or gone
                self._process = os.pidfd_open(pid)

    @property
    def alive(self) -> bool:
        """Whether it can still take a call, as far as it can be told without asking anybody."""
        if self._killed or self.channel.ended or self.channel.intake.notice:
            return False
        # Somebody else may have killed it since the event loop last looked at its channel.
        return self._process is None or not _has_ended(self._process)

    def reading(self) -> GroupReading | None:
        """What the host's kernel counted for it until now; None where that cannot be read."""
        return None if self._group is None else self._group.read()

    @property
    def paused(self) -> bool:
        """Whether somebody has frozen it, as far as this host can tell."""
        return self._group is not None and self._group.frozen

    async def exit_state(self, deadline: float) -> ContainerState | None:
        """How it ended, once its streams have; None if it still runs at `deadline`.

        Raises:
            EngineError: The engine does not know.
        """
        loop = asyncio.get_running_loop()
        if self._process is not None:  # the kernel tells at once, the engine when it has time
            if not await self._is_dead(deadline):
                return None
            deadline = loop.time() + _EXIT_NEWS_SECONDS
        while (state := await self._engine.inspect(self.id)).running:
            if loop.time() >= deadline:
                if self._process is None:
                    return None
                raise EngineError("the engine has not noticed that the container has ended")
            await asyncio.sleep(_EXIT_POLL_SECONDS)
        return state

    def kill_now(self) -> bool:
        """Kill its first process, whose end ends all others; whether that was possible.

        The kernel does it at once, however busy the engine and the guest are.
        """
        sent = self._send_kill()
        if self._group is not None:
            self._group.hasten_end()
        return sent

    def _send_kill(self) -> bool:
        self._killed = True
        if self._process is None:
            return False
        try:
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return True

    async def kill(self) -> None:
        """End it at once. What cannot be killed here is removed, by `dispose` or the reaper."""
        deadline = asyncio.get_running_loop().time() + _DEATH_SECONDS
        if self.kill_now() and await self._is_dead(deadline):
            return
        try:
            await self._engine.kill(self.id, seconds=_KILL_SECONDS)
        except EngineTimeoutError:
            self.channel.close()  # the engine may hang on a connection that nobody reads
            with contextlib.suppress(EngineError):
                await self._engine.kill(self.id, seconds=_KILL_SECONDS)
        except EngineError:
            return

    async def _is_dead(self, deadline: float) -> bool:
        """Whether the first process has ended, waiting for it until then."""
        if self._process is None:
            return False
        loop = asyncio.get_running_loop()
        dead = asyncio.Event()
        loop.add_reader(self._process, dead.set)
        try:
            async with asyncio.timeout_at(deadline):
                await dead.wait()
        except TimeoutError:
            return _has_ended(self._process)
        finally:
            loop.remove_reader(self._process)
        return True

    async def dispose(self) -> None:
        """Kill it, remove it, and read what it still had to say.

        Raises:
            EngineError: It could not be removed.
        """
        self._send_kill()  # it has had its say, so nothing hurries
        try:
            await self._remove()
            if self._started and isinstance(self.channel, AttachChannel):
                await self.channel.wait_for_end(_DRAIN_SECONDS)
        finally:
            self._let_go()

    async def _remove(self) -> None:
        try:
            await self._engine.remove(self.id, seconds=_REMOVE_SECONDS)
        except EngineError:
            self.channel.close()  # the engine may hang on a connection that nobody reads
            await self._engine.remove(self.id)

    def _let_go(self) -> None:
        self.channel.close()
        if self._group is not None:
            self._group.close()
        process, self._process = self._process, None
        if process is not None:
            os.close(process)


def _has_ended(process: int) -> bool:
    look = select.poll()
    look.register(process, select.POLLIN)
    return bool(look.poll(0))

"""Containers made, started and admitted; everything between a program's needs and a ready guest."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

from policies.limits import ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject
from sandbox.attestation import host_limit_differences, posture_differences
from sandbox.base import Posture, Program
from sandbox.channel import Channel
from sandbox.container import GuestContainer, attached, piped
from sandbox.conversation import greet
from sandbox.engine import Engine, EngineError, NoSuchObjectError
from sandbox.errors import ImageError, SandboxPostureError, SandboxUnavailableError
from sandbox.folders import ChannelFolders
from sandbox.hardening import container_options
from sandbox.hostlimits import read_host_limits
from sandbox.identity import owner_labels
from sandbox.images import engine_reference
from sandbox.reaper import Janitor, remove_owned
from sandbox.runtimes import Runtime

__all__ = ["Launcher", "Walls"]

_NOT_SEEN_BY_ENGINE: Final = "bind source path does not exist"

_C = TypeVar("_C", bound=Channel)


@dataclass(frozen=True)
class Walls:
    """What makes containers alike: those with the same walls share a shelf of the pool."""

    image: str
    level: LintLevel
    limits: ResourceLimits
    sockets: bool
    calls: int

    @classmethod
    def of(cls, program: Program, *, image: str, calls: int) -> Self:
        """What `program` needs for that many calls."""
        return cls(
            image=program.image or image,
            level=program.level,
            limits=program.limits,
            sockets=program.sockets,
            calls=calls,
        )


class Launcher:
    """Makes one owner's containers, and sees to it that none outlives it."""

    def __init__(self, engine: Engine, owner: str, runtime: Runtime) -> None:
        self.engine = engine
        self.owner = owner
        """Value of the label that all its containers carry."""

        self.runtime = runtime
        self._references: dict[str, str] = {}
        self._left: set[str] = set()
        self._folders = ChannelFolders(owner) if engine.is_here and runtime.fifo else None
        self._pipes_work = False
        """Whether the engine has found a folder of theirs; one that it misses later is gone."""

        self._janitor = Janitor(engine.url, owner)
        self._closed = False

    async def launch(self, walls: Walls) -> GuestContainer:
        """A container that is ready and stands as demanded; `discard` it in the end.

        Raises:
            SandboxUnavailableError: It could not be started.
            SandboxPostureError: Its walls are not those demanded.
        """
        guest = await self._create(walls)
        try:
            await self._admit(guest, walls)
        except BaseException:
            guest.kill_now()
            await self.engine.finish(self.discard(guest))
            raise
        return guest

    async def _admit(self, guest: GuestContainer, walls: Walls) -> None:
        await self.start(guest)
        posture = await greet(self.engine, guest)
        _demand(self._differences(guest.id, posture, walls))

    def _differences(self, container: str, posture: Posture, walls: Walls) -> tuple[str, ...]:
        """What of this container's walls is not as demanded, as seen from inside and outside."""
        runtime, limits = self.runtime, walls.limits
        differences = posture_differences(
            posture, limits=limits, calls=walls.calls, runtime=runtime
        )
        if runtime.limits_hold and not runtime.limits_seen_inside and self.engine.is_here:
            seen = read_host_limits(container)
            differences += host_limit_differences(seen, limits=limits, runtime=runtime)
        return differences

    async def _create(self, walls: Walls) -> GuestContainer:
        async with self._making():
            return await self._create_on_channel(walls, await self._reference(walls.image))

    @property
    def has_pipes(self) -> bool:
        """Whether host and guest can share named pipes, as far as is known."""
        return self._folders is not None

    async def create_piped(
        self,
        image: str,
        options: Callable[[str, Path | None], JsonObject],
        channel: Callable[[Path], _C],
    ) -> tuple[GuestContainer, _C]:
        """A container on a channel of its own kind, not started yet; `discard` it in the end.

        `channel` makes it under a folder; `options` gets the engine's name of the image, and
        the folder to bind.

        Raises:
            SandboxUnavailableError: It could not be made.
        """
        async with self._making():
            reference = await self._reference(image)
            if self._folders is None:  # asked last: another container may have shown it meanwhile
                raise self._unavailable("no pipes lead from here into a container")
            made = channel(self._folders.root)
            return await GuestContainer.create(
                self.engine, lambda folder: options(reference, folder), made
            ), made

    async def start(self, guest: GuestContainer) -> None:
        """Let it run.

        Raises:
            SandboxUnavailableError: It did not start.
        """
        try:
            await guest.start()
        except EngineError as error:
            raise self._unavailable(error) from error

    @contextlib.asynccontextmanager
    async def _making(self) -> AsyncIterator[None]:
        """Around the making of a container: what may go wrong, and who watches."""
        if self._closed:
            raise self._unavailable("this sandbox has been closed")
        try:
            await self._janitor.ensure(self._folders.root if self._folders else None)
            yield
        except NoSuchObjectError as error:
            raise ImageError(str(error), engine=self.engine.url) from error
        except (EngineError, OSError) as error:
            raise self._unavailable(error) from error

    async def _create_on_channel(self, walls: Walls, image: str) -> GuestContainer:
        def options(folder: Path | None) -> JsonObject:
            return container_options(
                level=walls.level,
                limits=walls.limits,
                image=image,
                labels=owner_labels(self.owner),
                calls=walls.calls,
                channel_folder=None if folder is None else str(folder),
                sockets=walls.sockets,
                runtime=self.runtime,
            )

        if self._folders is not None:
            channel = piped(self._folders.root, walls.limits)
            try:
                guest = await GuestContainer.create(self.engine, options, channel)
            except EngineError as error:
                if self._pipes_work or _NOT_SEEN_BY_ENGINE not in str(error):
                    raise
            else:
                self._pipes_work = True
                return guest
            self._give_up_pipes()
        return await GuestContainer.create(self.engine, options, attached(walls.limits))

    def _give_up_pipes(self) -> None:
        """The engine looks at other folders than this process: one of them is in a container."""
        folders, self._folders = self._folders, None
        if folders is not None:
            folders.close()

    async def _reference(self, digest: str) -> str:
        if digest not in self._references:
            reference = await engine_reference(self.engine, digest)
            if reference is None:
                raise NoSuchObjectError(f"the engine has no image {digest}")
            self._references[digest] = reference
        return self._references[digest]

    async def discard(self, guest: GuestContainer) -> None:
        """Kill it and remove it; what cannot be removed now goes with a later one."""
        try:
            await guest.dispose()
            while self._left:
                container = self._left.pop()
                try:
                    await self.engine.remove(container)
                except EngineError:
                    self._left.add(container)
                    raise
        except EngineError:
            self._left.add(guest.id)

    def _unavailable(self, reason: object) -> SandboxUnavailableError:
        return SandboxUnavailableError(str(reason), engine=self.engine.url)

    async def remove_all(self) -> None:
        """Remove every container of this owner, and make no more."""
        self._closed = True
        with contextlib.suppress(EngineError):  # a later process of this host reaps the rest
            await remove_owned(self.engine, self.owner)

    async def close(self) -> None:
        """Give up what watches over the containers, and the folder of their channels."""
        self._closed = True
        await self._janitor.close()
        if self._folders is not None:
            self._folders.close()


def _demand(differences: tuple[str, ...]) -> None:
    if differences:
        raise SandboxPostureError(differences)

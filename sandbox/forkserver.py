"""One warm container with a fork server in it, from its making to its end."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import uuid
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from policies.value import JsonObject
from sandbox.base import Posture, Program
from sandbox.container import GuestContainer
from sandbox.conversation import greet, program_frame
from sandbox.engine import ContainerState, EngineError
from sandbox.errors import SandboxPostureError, SandboxUnavailableError
from sandbox.identity import owner_labels
from sandbox.launcher import Launcher
from sandbox.serverchannel import Oddity, ServerChannel
from sandbox.serverwalls import (
    USERS_FOR_ONE,
    ServerWalls,
    child_differences,
    server_differences,
)
from sandbox.usage import GroupReading

__all__ = ["ForkServer", "launch_fork_server"]

_READY_SECONDS: Final = 60.0
_SLOTS: Final = 500
"""Ranges of users, so that the kernel's count of one user's processes is of one container."""

_numbers = itertools.count(secrets.randbelow(_SLOTS))


class ForkServer:
    """What a conversation sees of it: a guest whose end is the end of one call's process."""

    def __init__(self, container: GuestContainer, channel: ServerChannel, posture: Posture) -> None:
        self.container = container
        self.channel = channel
        self.posture = posture
        """Of a child, as the first of them attested it."""

        self.born = self.idle_since = asyncio.get_running_loop().time()
        self.calls = 0

    @property
    def id(self) -> str:
        """The container's."""
        return self.container.id

    @property
    def alive(self) -> bool:
        """Whether it can take a call, as far as it can be told without asking anybody."""
        return self.container.alive and self.channel.is_clean

    @property
    def paused(self) -> bool:
        """Whether somebody has frozen it."""
        return self.container.paused

    def reading(self) -> GroupReading | None:
        """What the process of this call used, once it has ended."""
        report = self.channel.report
        if report is None:
            return self.container.reading() if self.channel.ended else None
        return GroupReading(
            memory_peak_bytes=report.memory_peak_bytes,
            cpu_seconds=report.cpu_seconds,
            oom_kills=int(report.killed_for_memory),
        )

    async def exit_state(self, deadline: float) -> ContainerState | None:
        """How the process of this call ended; None if it still runs at `deadline`.

        Raises:
            EngineError: It is the server that ended, for no reason of the tool's.
        """
        report = self.channel.report
        if report is not None:
            return ContainerState(
                running=False,
                exit_code=report.exit_code,
                oom_killed=report.killed_for_memory,
                error="",
                pid=0,
            )
        state = await self.container.exit_state(deadline)
        if state is None or state.oom_killed:
            return state
        group = self.container.reading()
        if group is not None and group.oom_kills:
            return state
        raise EngineError(f"the fork server has ended, with code {state.exit_code}")

    def kill_now(self) -> bool:
        """End the container, and all calls in it; whether that was possible."""
        return self.container.kill_now()

    async def kill(self) -> None:
        """End the container, and all calls in it."""
        await self.container.kill()

    def is_over(self, *, answered: bool) -> bool:
        """Whether this call ended as it should, and nothing of it is left to be seen."""
        report = self.channel.report
        return (
            answered
            and report is not None
            and report.wait_status == 0
            and report.oddities == Oddity(0)
            and self.channel.is_clean
        )

    def renew(self) -> None:
        """Make ready for another call; the process for it starts at once."""
        self.calls += 1
        self.idle_since = asyncio.get_running_loop().time()
        self.channel.renew()
        self.channel.go_on()


async def launch_fork_server(
    launcher: Launcher, walls: ServerWalls, program: Program
) -> ForkServer:
    """A server that has proven its walls and those of its children, ready to be called.

    Raises:
        SandboxUnavailableError: It could not be started.
        SandboxPostureError: The walls are not those demanded.
    """

    def options(image: str, folder: Path | None) -> JsonObject:
        labels = owner_labels(launcher.owner)
        return walls.options(image=image, labels=labels, folder=folder, runtime=launcher.runtime)

    def channel(root: Path) -> ServerChannel:
        return ServerChannel(root / uuid.uuid4().hex[:16], walls.limits)

    container, pipes = await launcher.create_piped(walls.image, options, channel)
    try:
        await launcher.start(container)
        return await _admit(launcher, container, pipes, walls, program)
    except BaseException:
        container.kill_now()
        await launcher.engine.finish(launcher.discard(container))
        raise


async def _admit(
    launcher: Launcher,
    container: GuestContainer,
    channel: ServerChannel,
    walls: ServerWalls,
    program: Program,
) -> ForkServer:
    child = await greet(launcher.engine, container)
    await channel.wait_for_end(_READY_SECONDS)
    if channel.report is None or not channel.said:
        raise SandboxUnavailableError(
            "the fork server did not tell its walls", engine=launcher.engine.url
        )
    try:
        server = Posture.model_validate_json(channel.said.popleft().payload)
    except ValidationError as error:
        raise SandboxPostureError((f"the server's posture cannot be read: {error}",)) from error
    differences = (
        *server_differences(server, walls, launcher.runtime),
        *child_differences(child, walls, launcher.runtime),
    )
    if differences:
        raise SandboxPostureError(differences)
    channel.renew()
    channel.order(program_frame(program, walls.calls))
    return ForkServer(container, channel, child)


def next_users() -> int:
    """The first of a range of users that no other server of this process has just now."""
    return (1 + next(_numbers) % _SLOTS) * USERS_FOR_ONE

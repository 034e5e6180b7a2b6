"""The container of a fork server: what differs from one in which a tool itself is first.

The server may start processes, change their users and end them, and wall them in further. None
of it reaches a tool: a child gives all of that up before it takes a call, and shows so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from policies.limits import ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject
from sandbox import seccomp
from sandbox.attestation import posture_differences
from sandbox.base import Posture
from sandbox.ceilings import (
    OOM_SCORE_ADJUSTMENT,
    address_space_bytes,
    cpu_seconds,
    process_limits,
)
from sandbox.hardening import (
    GUEST_UID,
    HARNESS_PACKAGE,
    HARNESS_PATH,
    container_options,
    may_create_processes,
)
from sandbox.runtimes import Runtime

__all__ = ["USERS_FOR_ONE", "ServerWalls", "child_differences", "server_differences"]

USERS_FOR_ONE: Final = 1 << 22
"""So many users belong to one server: as many as there can be process numbers."""

_NEEDED: Final = ("KILL", "SETGID", "SETUID")
_GIVEN_UP_AT_ONCE: Final = "SETPCAP"
"""Without it the server could not make the others unreachable for its children."""

_SERVER_CAPABILITIES: Final = f"{1 << 5 | 1 << 6 | 1 << 7:016x}"
_SERVER_FILES: Final = 96
"""What the server keeps open besides, most of it the folders that children may see."""

_EAGER: Final = "LD_BIND_NOW"
"""Has the loader look up all functions at once: else each child would, and write them down."""

_CHILD_OOM_SCORE: Final = 1000
_FILTERS: Final = 2
_MAY_START_PROCESSES, _MAY_OPEN_SOCKETS = 1, 2


@dataclass(frozen=True)
class ServerWalls:
    """What one server's container is made of."""

    image: str
    level: LintLevel
    limits: ResourceLimits
    sockets: bool
    calls: int
    """At most so many."""

    first_user: int

    def options(
        self, *, image: str, labels: dict[str, str], folder: Path | None, runtime: Runtime
    ) -> JsonObject:
        """The engine's description of the container; `image` is what it calls the image."""
        options = container_options(
            level=LintLevel.L2,
            limits=self.limits,
            image=image,
            labels=labels,
            calls=self.calls,
            channel_folder=None if folder is None else str(folder),
            sockets=self.sockets,
            runtime=runtime,
        )
        entry, host = options["Entrypoint"], options["HostConfig"]
        assert isinstance(entry, list)  # noqa: S101  we have just made it
        assert isinstance(host, dict)  # noqa: S101  we have just made it
        filter_text = seccomp.profile_text(processes=True, sockets=self.sockets, fork_server=True)
        return {
            **options,
            "Entrypoint": [*entry[:-1], f"{HARNESS_PATH}/{HARNESS_PACKAGE}/forkserver.pyc"],
            "Cmd": [str(number) for number in self._arguments(runtime)],
            "Env": [f"{_EAGER}=1"],
            "User": "0:0",
            "HostConfig": {
                **host,
                "CapAdd": [*_NEEDED, _GIVEN_UP_AT_ONCE],
                "SecurityOpt": ["no-new-privileges", f"seccomp={filter_text}"],
                "Ulimits": [
                    {"Name": name, "Soft": soft, "Hard": hard}
                    for name, (soft, hard) in self._process_limits(runtime).items()
                ],
            },
        }

    def _arguments(self, runtime: Runtime) -> tuple[int, ...]:
        flags = _MAY_START_PROCESSES * may_create_processes(self.level)
        flags |= _MAY_OPEN_SOCKETS * self.sockets
        return (
            address_space_bytes(self.limits, runtime),
            self.first_user,
            cpu_seconds(self.limits, 1),
            self.limits.pids,
            self.limits.open_files,
            flags,
        )

    def _process_limits(self, runtime: Runtime) -> dict[str, tuple[int, int]]:
        files = self.limits.open_files + _SERVER_FILES
        return {**process_limits(self.limits, self.calls, runtime), "nofile": (files, files)}


def server_differences(posture: Posture, walls: ServerWalls, runtime: Runtime) -> tuple[str, ...]:
    """What a fork server sees of its own walls that is not what was demanded."""
    own = (
        ("uid of the server", posture.uid, 0),
        ("capabilities of the server", posture.capabilities_effective, _SERVER_CAPABILITIES),
    )
    # What is not the same by intention has been looked at; everything else is as always.
    files = {"nofile": walls.limits.open_files}
    same = posture.model_copy(
        update={
            "environment": tuple(name for name in posture.environment if name != _EAGER),
            "uid": GUEST_UID,
            "gid": GUEST_UID,
            "groups": (),
            "capabilities_effective": "0" * 16,
            "rlimits": {**posture.rlimits, **files},
        }
    )
    return _unlike(*own) + posture_differences(
        same, limits=walls.limits, calls=walls.calls, runtime=runtime
    )


def child_differences(posture: Posture, walls: ServerWalls, runtime: Runtime) -> tuple[str, ...]:
    """What a child of the fork server sees of its walls that is not what was demanded."""
    users = range(walls.first_user + 1, walls.first_user + USERS_FOR_ONE)
    own: tuple[tuple[str, object, object], ...] = (
        ("a user of its own", posture.uid in users and posture.gid == posture.uid, True),
        ("groups", sorted({*posture.groups} - {posture.gid}), []),
        ("Landlock keeps it from what it must not read", posture.landlock, True),
        ("filters of system calls", posture.seccomp_filters, _FILTERS),
        ("rlimit nproc", posture.rlimits.get("nproc"), walls.limits.pids),
        ("oom_score_adjustment of a child", posture.oom_score_adjustment, _CHILD_OOM_SCORE),
    )
    same = posture.model_copy(
        update={
            "environment": tuple(name for name in posture.environment if name != _EAGER),
            "uid": GUEST_UID,
            "gid": GUEST_UID,
            "groups": (),
            "oom_score_adjustment": OOM_SCORE_ADJUSTMENT,
        }
    )
    return _unlike(*own) + posture_differences(same, limits=walls.limits, runtime=runtime)


def _unlike(*checks: tuple[str, object, object]) -> tuple[str, ...]:
    return tuple(
        f"{name} is {seen!r}, demanded {demanded!r}"
        for name, seen, demanded in checks
        if seen != demanded
    )

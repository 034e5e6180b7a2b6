"""Nothing is left behind: not by this process however it ends, not by one before it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sandbox.engine import Engine, EngineError
from sandbox.identity import OWNER_LABEL, PROCESS_LABEL, ProcessIdentity

__all__ = ["Janitor", "reap_orphans", "remove_owned"]

_PROGRAM: Final = Path(__file__).with_name("janitor.py")
_END_SECONDS: Final = 5.0


async def reap_orphans(engine: Engine) -> int:
    """Remove the containers of processes of this host that are gone; how many there were.

    Raises:
        EngineError: The engine failed.
    """
    here = ProcessIdentity.own()
    if here is None:
        return 0
    orphans = [
        container.id
        for container in await engine.list_by_label(PROCESS_LABEL)
        if (process := ProcessIdentity.parse(container.labels.get(PROCESS_LABEL, "")))
        and process.is_gone(here)
    ]
    await _remove(engine, orphans)
    return len(orphans)


async def remove_owned(engine: Engine, owner: str) -> int:
    """Remove every container of `owner`; how many there were.

    Raises:
        EngineError: The engine failed.
    """
    left = [c.id for c in await engine.list_by_label(f"{OWNER_LABEL}={owner}")]
    await _remove(engine, left)
    return len(left)


async def _remove(engine: Engine, containers: list[str]) -> None:
    removals = (engine.remove(container) for container in containers)
    failures = await asyncio.gather(*removals, return_exceptions=True)
    for failure in failures:
        if isinstance(failure, BaseException) and not isinstance(failure, EngineError):
            raise failure


class Janitor:
    """A small process that removes an owner's containers when this process dies.

    It learns of the death by the end of a pipe, so no way of dying escapes it.
    """

    def __init__(self, engine_url: str, owner: str) -> None:
        self._arguments: tuple[str, ...] = (engine_url, f"{OWNER_LABEL}={owner}")
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None
        self._starting: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, once there is one."""
        return None if self._process is None else self._process.pid

    async def ensure(self, folder: Path | None = None) -> None:
        """See to it that the process is there: before each container.

        It will remove `folder` as well.

        Raises:
            OSError: It cannot be started.
        """
        if folder is not None:
            self._arguments = (*self._arguments[:2], str(folder))
        if self._starting is None and (self._process is None or self._process.poll() is not None):
            self._starting = asyncio.create_task(asyncio.to_thread(self._start))
            self._starting.add_done_callback(self._started)
        if self._starting is not None:
            # Shared by all who wait, and not cancelled with any of them: a second start would
            # close the pipe of the first, which means the death of the host.
            await asyncio.shield(self._starting)

    def _started(self, _task: asyncio.Task[None]) -> None:
        self._starting = None

    def _start(self) -> None:
        self._let_go()
        reading, writing = os.pipe()  # neither end is inherited by anything that is executed
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-I", "-S", "-B", str(_PROGRAM), *self._arguments],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,  # a signal to our terminal's group must not reach it
            )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        self._pipe = writing
        _close_in_children(self)

    def _let_go(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            with contextlib.suppress(OSError):
                os.close(pipe)

    async def close(self) -> None:
        """Tell it that all is clean, and wait for its end."""
        if self._starting is not None:
            await asyncio.wait([self._starting])
        if self._process is None:
            return
        if self._pipe is not None:
            with contextlib.suppress(OSError):  # it has died before
                os.write(self._pipe, b".")
        self._let_go()
        process, self._process = self._process, None
        await asyncio.to_thread(_wait, process)


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


_open_janitors: weakref.WeakSet[Janitor] = weakref.WeakSet()
_hooks: list[Callable[[], None]] = []


def _close_in_children(janitor: Janitor) -> None:
    """A child that is forked and never executes would hold the pipe open past our death."""
    _open_janitors.add(janitor)
    if not _hooks:
        _hooks.append(_after_fork)
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    for janitor in list(_open_janitors):
        janitor._let_go()  # noqa: SLF001  the hook belongs to the class

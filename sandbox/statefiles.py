"""Files in the sandbox's state folder: written whole or not at all, by one process at a time."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

__all__ = ["only_holder", "write_atomically"]

_LOCK_SECONDS: Final = 0.1


@contextlib.asynccontextmanager
async def only_holder(lock: Path) -> AsyncIterator[None]:
    """Hold the lock file `lock`; others who want it wait, also in other processes."""
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        while not _try_lock(descriptor):  # noqa: ASYNC110  another process holds it, no event tells
            await asyncio.sleep(_LOCK_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path`; a reader sees the old file or the new one."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)

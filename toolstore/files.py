"""The folder and the files of a store: where they are, who may touch them, and one lock."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from toolstore.errors import StoreBusyError, StoreDamagedError, StoreUnusableError

DATABASE_NAME: Final = "toolstore.db"
LOCK_NAME: Final = "toolstore.lock"
_POLL_SECONDS: Final = 0.02
_BESIDE: Final = ("", "-wal", "-shm", "-journal")


def make_store_folder(folder: Path) -> Path:
    """Make the folder (0700) and an empty database file (0600) where they are missing.

    Returns:
        The path of the database file.

    Raises:
        StoreUnusableError: the folder cannot be made, or others may write to it.
        StoreDamagedError: a file of the store is a link or no ordinary file.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(folder)
        database = check_files(folder)
        _make_file(database)
    except OSError as error:
        raise StoreUnusableError(
            str(folder),
            error.strerror or str(error),
            advice="Choose a folder that this user may write to.",
        ) from error
    return database


def check_folder(folder: Path) -> None:
    """Refuse a folder in which somebody else could swap the files.

    Raises:
        StoreUnusableError: users other than the owner may write to it.
    """
    if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StoreUnusableError(
            str(folder),
            "other users may write to the folder, so they could replace what is kept in it",
            advice=f"Run `chmod 700 {folder}`, or choose a folder of your own.",
        )


def check_files(folder: Path) -> Path:
    """Refuse files that are links: what they point at was never this store's.

    Returns:
        The path of the database file, which need not exist.

    Raises:
        StoreDamagedError: a file is a link or no ordinary file.
    """
    database = folder / DATABASE_NAME
    for suffix in _BESIDE:
        path = Path(f"{database}{suffix}")
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode):
            raise StoreDamagedError(f"{path} is a link or no ordinary file, so it was not opened")
    return database


class OpenFile:
    """Which file a path led to when it was opened.

    Where another one was put in its place, whoever has the old one open reads what no longer
    changes, and writes what nobody will read: a revocation would be acknowledged and lost.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found = self._look()

    def check(self) -> None:
        """Refuse to go on with a file that is not there any more.

        Raises:
            StoreDamagedError: the path leads to another one, or to none.
        """
        if self._look() != self._found:
            raise StoreDamagedError(
                f"{self._path} was removed or replaced by another file while it was open; if that "
                "was on purpose, start this program again"
            )

    def _look(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)  # noqa: PTH116 - a microsecond instead of three, each call
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino


@contextmanager
def exclusive(folder: Path, seconds: float) -> Iterator[None]:
    """Hold the folder's lock; the kernel lets go of it when the process dies.

    Raises:
        StoreBusyError: another process kept it for `seconds`.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(folder / LOCK_NAME, flags, 0o600)
    try:
        deadline = time.monotonic() + seconds
        while not _locked(descriptor):
            if time.monotonic() >= deadline:
                raise StoreBusyError(seconds)
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make_file(path: Path) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        if os.fstat(descriptor).st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)

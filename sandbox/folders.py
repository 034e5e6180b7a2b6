"""The host's folder of channels: a sandbox has one of its own, which goes when it does."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sandbox.identity import ProcessIdentity

__all__ = ["ChannelFolders", "remove_orphaned_folders"]

_PREFIX: Final = "toolkiln-channels-"
_OWNER_FILE: Final = "process"


class ChannelFolders:
    """Made when it is first asked for."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._root: Path | None = None

    @property
    def root(self) -> Path:
        """The folder; nobody but this user and the engine may look into it.

        Raises:
            OSError: It cannot be made.
        """
        if self._root is None:
            prefix = f"{_PREFIX}{self._owner[:12]}-"
            self._root = Path(tempfile.mkdtemp(prefix=prefix, dir=tempfile.gettempdir()))
            self._sign(self._root)
        elif not self._root.is_dir():  # somebody removed it; the janitor knows this name alone
            self._root.mkdir(mode=0o700)
            self._sign(self._root)
        return self._root

    def _sign(self, root: Path) -> None:
        (root / _OWNER_FILE).write_text(str(ProcessIdentity.own() or ""), encoding="utf-8")

    def close(self) -> None:
        """Remove it with all that is in it."""
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            self._root = None


def remove_orphaned_folders() -> int:
    """Remove what processes of this host left that are gone; how many there were."""
    here = ProcessIdentity.own()
    if here is None:
        return 0
    orphans = [folder for folder in _folders() if _is_orphaned(folder, here)]
    for folder in orphans:
        shutil.rmtree(folder, ignore_errors=True)
    return len(orphans)


def _folders() -> Iterator[Path]:
    try:
        yield from Path(tempfile.gettempdir()).glob(f"{_PREFIX}*")
    except OSError:
        return


def _is_orphaned(folder: Path, here: ProcessIdentity) -> bool:
    try:
        if folder.stat().st_uid != os.getuid():
            return False
        text = (folder / _OWNER_FILE).read_text(encoding="utf-8")
    except OSError:
        return False
    process = ProcessIdentity.parse(text)
    return process is not None and process.is_gone(here)

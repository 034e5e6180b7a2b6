"""Folders with exported files: written whole, beside nothing that was there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from policies.display import escape_text
from runtime.errors import UsageError


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files`, by their path below it, as a new `folder`: all of them or none.

    Raises:
        UsageError: the folder is there already, or cannot be written, or a path leads out of it.
    """
    for name in files:
        if not _stays_inside(name):
            shown = escape_text(name, keep_newlines=False)
            raise UsageError(f"{shown!r} is no path below a folder; nothing was written")
    if os.path.lexists(folder):
        raise UsageError(
            f"{folder} is there already; nothing was written. Remove it, or name another with -o"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror or error}") from None
    try:
        for name, content in files.items():
            path = made / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        made.chmod(0o755)
        made.rename(folder)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _stays_inside(name: str) -> bool:
    """Whether it is a path of plain names, from the folder downwards."""
    parts = name.split("/")
    return "\0" not in name and "\\" not in name and not {"", ".", ".."} & set(parts)

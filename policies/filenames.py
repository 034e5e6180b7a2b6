"""Names of files that go into a call and come out of it: plain, bounded, the same everywhere."""

from __future__ import annotations

import re
from typing import Final

from policies.display import escape_text, excerpt

__all__ = ["FILE_NAME_PATTERN", "MAX_FILE_NAME_CHARACTERS", "file_name_problem"]

MAX_FILE_NAME_CHARACTERS: Final = 100

FILE_NAME_PATTERN: Final = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}"
"""No folders, nothing hidden, nothing that a shell takes for an option."""

_FILE_NAME: Final = re.compile(FILE_NAME_PATTERN)


def file_name_problem(name: str) -> str:
    """What is wrong with `name` as the name of a file, in words; empty when nothing is."""
    if _FILE_NAME.fullmatch(name):
        return ""
    shown = excerpt(escape_text(name, keep_newlines=False), characters=60)
    return (
        f"{shown!r} is no plain file name: write at most {MAX_FILE_NAME_CHARACTERS} of the letters "
        "A-Z and a-z, digits, '.', '_' and '-', beginning with a letter, a digit or '_', and no "
        "folder"
    )

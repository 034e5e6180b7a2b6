"""What a command reads: a file that is named, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from runtime.errors import UsageError


def read_input(name: str, *, most_bytes: int) -> bytes:
    """The bytes of the file `name`, or of standard input for `-`.

    Raises:
        UsageError: There is no such file, or it cannot be read, or is larger.
    """
    try:
        if name == "-":
            data = sys.stdin.buffer.read(most_bytes + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(most_bytes + 1)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror or error}") from None
    except ValueError:  # a zero byte, or half of a character
        raise UsageError(f"{name!r} cannot be the name of a file; give a path") from None
    if len(data) > most_bytes:
        raise UsageError(f"{name} is larger than {most_bytes:,} bytes, so it was not read")
    return data

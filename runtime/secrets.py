"""The values of secrets, by name: from the environment, or from a file that nobody else can read.

A value goes from here to the broker, which puts it into requests. It is in no policy file, no
store, no transcript and no container.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import SecretStr

__all__ = ["LEAST_CHARACTERS", "SecretProblem", "SecretSource"]

LEAST_CHARACTERS: Final = 8
"""A shorter value could not be told from ordinary text when it is blanked in answers."""

_MOST_BYTES: Final = 16_384
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_FORBIDDEN_BITS: Final = stat.S_IRWXG | stat.S_IRWXO


class SecretProblem(Exception):  # noqa: N818  what is wrong with a value, for whoever set it
    """A value is there and cannot be used; the text never shows any of it."""


class SecretSource:
    """Finds values: the variable `TOOLKILN_SECRET_<NAME>`, else the file `secrets/<name>`."""

    def __init__(self, variables: Mapping[str, SecretStr], folder: Path) -> None:
        """Remember where to look; nothing is read before a secret is wanted.

        Args:
            variables: Values by name in capitals, as the environment has them.
            folder: Has one file for each secret, mode 0600, of this user.
        """
        self._variables = variables
        self._folder = folder

    def __call__(self, name: str) -> str | None:
        """The value of a secret; None where there is none that can be used."""
        try:
            return self.read(name)
        except SecretProblem:
            return None

    def read(self, name: str) -> str | None:
        """The value of a secret; None where there is none.

        Raises:
            SecretProblem: There is one, and it cannot be used.
        """
        if not _NAME.fullmatch(name):
            raise SecretProblem(f"{name!r:.80} cannot be the name of a secret")
        variable = self._variables.get(name.upper())
        if variable is not None:
            return _checked(variable.get_secret_value(), f"TOOLKILN_SECRET_{name.upper()}")
        path = self._folder / name
        try:
            return _checked(_read_private(path), str(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SecretProblem(f"{path} cannot be read: {error.strerror}") from None


def _read_private(path: Path) -> str:
    """The text of a file that only this user can read or change.

    Raises:
        SecretProblem: Somebody else could, or it is no ordinary file.
        OSError: It cannot be opened; a symbolic link cannot be followed.
    """
    # Without waiting, or a pipe in its place would hold up the call.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags)
    with open(descriptor, "rb") as file:  # noqa: PTH123  what was opened is what is checked
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SecretProblem(f"{path} is no ordinary file")
        if status.st_uid != os.geteuid():
            raise SecretProblem(f"{path} belongs to another user; `chown` it, or write it anew")
        if status.st_mode & _FORBIDDEN_BITS:
            raise SecretProblem(
                f"{path} has mode {stat.S_IMODE(status.st_mode):04o}, so that others can get at "
                "it; change the secret if it matters, and `chmod 600` the file"
            )
        data = file.read(_MOST_BYTES + 1)
    try:
        return data.decode("ascii").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SecretProblem(f"{path} is not plain ASCII text") from None


def _checked(value: str, origin: str) -> str:
    """A value that can stand in a header and be found again in an answer.

    Raises:
        SecretProblem: It cannot.
    """
    if not LEAST_CHARACTERS <= len(value) <= _MOST_BYTES:
        raise SecretProblem(
            f"{origin} has {len(value)} characters; a secret has {LEAST_CHARACTERS} to "
            f"{_MOST_BYTES}"
        )
    if not _VALUE.fullmatch(value):
        raise SecretProblem(
            f"{origin} has a line end, a blank at an end, or a character that no header can have"
        )
    return value

"""The folder of a key ring: files that nobody else may look into, and that are whole or not there.

`ring.json` says which public keys are trusted for what, and where the private ones are; private
keys of its own lie beside it, one file each.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from policies.value import Value, canonical_json, sha256_digest
from toolstore.attest.errors import KeysError
from toolstore.attest.trust import Ring

RING_NAME: Final = "ring.json"
OWN: Final = "key:"
"""Beginning of the address of a private key in the folder; its name follows."""

RENEW: Final = "Put the file back from a copy, or give the role a new key: store keys rotate."

_LOCK_NAME: Final = "ring.lock"
_OTHERS: Final = 0o077
_MAX_FILE_BYTES: Final = 1 << 20

Stamp = tuple[int, int, int]
"""What changes with the file of a ring."""


class KeyFolder:
    """Reads and writes the files of one ring."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stamp(self) -> Stamp | None:
        """What a look at the ring's file gives; None where there is none.

        Raises:
            KeysError: the folder cannot be looked into.
        """
        try:
            status = os.lstat(self.path / RING_NAME)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.unusable(error) from error
        return status.st_ino, status.st_mtime_ns, status.st_size

    def read_ring(self) -> Ring:
        """The ring as it was written.

        Raises:
            KeysError: the folder or the file is not the user's alone, or it was changed.
        """
        self._check_folder()
        content = self.read(RING_NAME)
        try:
            file = _RingFile.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise self._not_as_written(first["msg"]) from error
        if content != _rendered(file.ring):
            raise self._not_as_written("its digest does not fit")
        return file.ring

    def write_ring(self, ring: Ring) -> None:
        """Put `ring` in the place of the one before, whole or not at all.

        Raises:
            OSError: it cannot be written; the one before is still there.
        """
        content = _rendered(ring)
        if len(content) > _MAX_FILE_BYTES:  # it could not be read again
            raise OSError(errno.EFBIG, f"a ring of {len(content)} bytes is too large")
        # Its private keys are on the disk before a ring is that speaks of them.
        self._sync(self.path)
        beside = self.path / f"{RING_NAME}.new"
        beside.unlink(missing_ok=True)
        _write_private(beside, content)
        beside.replace(self.path / RING_NAME)
        self._sync(self.path)

    def read(self, name: str) -> bytes:
        """The bytes of a file that is the user's alone.

        Raises:
            KeysError: it is not, or it cannot be read.
        """
        path = self.path / Path(name).name
        try:
            # Without waiting: a pipe in its place is refused and not read.
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(path, flags)
        except OSError as error:
            raise self.error(f"{path}: {error.strerror}", RENEW) from error
        with open(descriptor, "rb") as file:  # noqa: PTH123 - what was opened is what is checked
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE_BYTES:
                raise self.error(f"{path} is no ordinary small file", RENEW)
            self._check_private(status, path)
            return file.read(_MAX_FILE_BYTES)

    def write(self, name: str, content: bytes) -> None:
        """Write a private key under a new name.

        Raises:
            OSError: it cannot be written; nothing is there then.
        """
        _write_private(self.path / name, content)

    def forget_all_but(self, used: Collection[str]) -> None:
        """Remove the private keys that nothing signs with: retired ones, or left by a kill."""
        for path in self.path.glob("*-*.pem"):
            if path.name not in used:
                path.unlink(missing_ok=True)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the folder's lock, the folder made where it is missing.

        Raises:
            KeysError: it cannot be made or written to, or is not the user's alone.
        """
        try:
            self._make()
            self._check_folder()
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self.path / _LOCK_NAME, flags, 0o600)
        except OSError as error:
            raise self.unusable(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def error(self, problem: str, advice: str) -> KeysError:
        """What is wrong with the folder, and what to do."""
        return KeysError(str(self.path), problem, advice=advice)

    def unusable(self, error: OSError) -> KeysError:
        """What the system says of the folder, in words."""
        named = "" if error.filename is None else f"{error.filename}: "
        return self.error(
            f"{named}{error.strerror or error}",
            "Nothing was changed. It must be a folder that this user may write to, with room on "
            "the disk; to read keys alone, put a whole folder of keys there.",
        )

    def _make(self) -> None:
        if self.path.is_dir():
            return
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sync(self.path.parent)

    def _check_folder(self) -> None:
        try:
            status = os.lstat(self.path)
        except OSError as error:
            raise self.unusable(error) from error
        if not stat.S_ISDIR(status.st_mode):
            raise self.error("it is a link or no folder", "Put the folder itself there.")
        self._check_private(status, self.path)

    def _check_private(self, status: os.stat_result, path: Path) -> None:
        if status.st_uid != os.geteuid():
            raise self.error(f"{path} belongs to another user", "Keys must be of the user alone.")
        if status.st_mode & _OTHERS:
            raise self.error(
                f"{path} may be read or written by others (mode {stat.S_IMODE(status.st_mode):o})",
                f"Run `chmod go= {path}`; if others had a look, rotate the keys as well.",
            )

    def _not_as_written(self, problem: str) -> KeysError:
        return self.error(
            f"{RING_NAME} is not what was written: {problem}",
            "Put it back from a copy. Without it nothing that was signed can be trusted.",
        )

    @staticmethod
    def _sync(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class _RingFile(Value):
    """A ring as it is kept: with a digest, so that no byte of it changes unseen."""

    ring_digest: str
    ring: Ring


def _rendered(ring: Ring) -> bytes:
    digest = sha256_digest(canonical_json(ring.model_dump(mode="json")))
    return _RingFile(ring_digest=digest, ring=ring).model_dump_json(indent=1).encode()


def _write_private(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - it was opened to be new and private
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)  # no half of it stays
        raise

"""Files that calls left behind, kept by the digest of their bytes, and the record of who made them.

`<folder>/<two digits>/<digest>` holds bytes, written once and verified on every read;
`<folder>/records.jsonl` has one line for each file that a call left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import AwareDatetime, ValidationError

from policies.value import Value, sha256_digest
from runtime.errors import ArtefactError
from sandbox.artefacts import Artefact, ArtefactInfo

__all__ = ["ArtefactRecord", "ArtefactStore"]

_DIGEST: Final = re.compile(r"(?:sha256:)?([0-9a-f]{6,64})")
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class ArtefactRecord(Value):
    """One file that a call left behind, or that a person attached."""

    artefact: ArtefactInfo
    tool: str
    """`name@sequence` of the tool that was called."""

    at: AwareDatetime


class ArtefactStore:
    """The files under one folder, which is made when the first is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records_path = folder / "records.jsonl"

    def keep(self, artefacts: Iterable[Artefact], *, tool: str) -> None:
        """Keep files that a call of `tool` left; what is there already is not written again.

        Raises:
            ArtefactError: They cannot be written.
        """
        artefacts = tuple(artefacts)
        if not artefacts:
            return
        now = datetime.now(UTC)
        records = (ArtefactRecord(artefact=a.info, tool=tool, at=now) for a in artefacts)
        try:
            # Under the lock from the first byte: else pruning could take what is not named yet.
            with self._records(os.O_WRONLY | os.O_APPEND | os.O_CREAT) as descriptor:
                for artefact in artefacts:
                    self._write(artefact.digest, artefact.data)
                os.write(descriptor, _lines(records))
        except OSError as error:
            raise ArtefactError(
                f"the files that {tool} made cannot be kept in {self._folder}: "
                f"{error.strerror or error}"
            ) from error

    def records(self) -> tuple[ArtefactRecord, ...]:
        """What was kept, oldest first; a line that was torn when a process died is passed over."""
        try:
            with self._records(os.O_RDONLY) as descriptor:
                return _read_records(descriptor)
        except FileNotFoundError:
            return ()

    def find(self, which: str) -> ArtefactRecord:
        """The latest file of that name, or the one of that digest (six digits are enough).

        Raises:
            ArtefactError: There is none, or the digits mean several.
        """
        records = self.records()
        named = [record for record in records if record.artefact.name == which]
        if named:
            return named[-1]
        digits = _DIGEST.fullmatch(which)
        begin = f"sha256:{digits[1]}" if digits else None
        meant = [r for r in records if begin is not None and r.artefact.digest.startswith(begin)]
        if len({record.artefact.digest for record in meant}) > 1:
            raise ArtefactError(f"{which!r} means more than one file; write more of the digest")
        if not meant:
            raise ArtefactError(
                f"no file {which!r} was left by any call; `toolkiln artefacts list` shows what was"
            )
        return meant[-1]

    def read(self, digest: str) -> bytes:
        """The bytes under `digest`, verified.

        Raises:
            ArtefactError: They are not there, or are not what they were.
        """
        path = self._path(digest)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                data = file.read()
        except OSError as error:
            raise ArtefactError(
                f"the bytes of {digest} cannot be read from {path}: {error.strerror or error}"
            ) from error
        if sha256_digest(data) != digest:
            raise ArtefactError(f"{path} does not hold what was kept there; it was not used")
        return data

    def prune(self, before: datetime) -> int:
        """Forget what was kept before that time, and remove bytes that nothing else names.

        Returns:
            How many records were dropped.

        Raises:
            ArtefactError: The folder cannot be changed.
        """
        try:
            with self._records(os.O_RDWR) as descriptor:
                kept, dropped = _parted(_read_records(descriptor), before)
                for digest in {r.artefact.digest for r in dropped}:
                    if digest not in {r.artefact.digest for r in kept}:
                        self._path(digest).unlink(missing_ok=True)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, _lines(kept), 0)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise ArtefactError(f"{self._folder}: {error.strerror or error}") from error
        return len(dropped)

    @contextlib.contextmanager
    def _records(self, flags: int) -> Iterator[int]:
        """The file of records, locked against other processes; made with its folder to write."""
        if flags & os.O_CREAT:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._records_path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            writes = flags & (os.O_WRONLY | os.O_RDWR)
            fcntl.flock(descriptor, fcntl.LOCK_EX if writes else fcntl.LOCK_SH)
            yield descriptor
        finally:
            os.close(descriptor)

    def _path(self, digest: str) -> Path:
        match = re.fullmatch(r"sha256:([0-9a-f]{64})", digest)
        if match is None:
            raise ArtefactError(f"{digest!r} is no whole digest")
        return self._folder / match[1][:2] / match[1]

    def _write(self, digest: str, data: bytes) -> None:
        path = self._path(digest)
        if path.exists():
            return
        path.parent.mkdir(mode=0o700, exist_ok=True)
        beside = path.with_name(f".{path.name[:16]}-{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(beside, _NEW_FILE, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.rename(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def _lines(records: Iterable[ArtefactRecord]) -> bytes:
    return b"".join(record.model_dump_json().encode() + b"\n" for record in records)


def _read_records(descriptor: int) -> tuple[ArtefactRecord, ...]:
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        lines = file.read().splitlines()
    found = []
    for line in lines:
        with contextlib.suppress(ValidationError):
            found.append(ArtefactRecord.model_validate_json(line))
    return tuple(found)


def _parted(
    records: Iterable[ArtefactRecord], before: datetime
) -> tuple[list[ArtefactRecord], list[ArtefactRecord]]:
    kept: list[ArtefactRecord] = []
    dropped: list[ArtefactRecord] = []
    for record in records:
        (dropped if record.at < before else kept).append(record)
    return kept, dropped

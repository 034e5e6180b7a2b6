"""The record of a session: append-only JSON lines that survive the process's sudden end.

The first line is the header; each further line is one event with its time. One event is one
`write`, made before what it announces and after what it reports, so that a killed process
leaves at most the last line torn. Nothing is ever run again from a record: a call that began
and has no result gets one that says so.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeAlias

import pydantic_core
from pydantic import Field, TypeAdapter, ValidationError

from policies.value import Value
from runtime.errors import TranscriptError, UsageError
from runtime.events import (
    CallFinished,
    CallStarted,
    RequestFinished,
    RequestRetried,
    RequestStarted,
    ReviewNoted,
    SessionStopped,
)

FORMAT: Final = 1
SUFFIX: Final = ".jsonl"
_SESSION_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")


class Header(Value):
    """The first line of a transcript."""

    kind: Literal["session"] = "session"
    format: int = FORMAT
    session_id: str
    model: str
    created: datetime
    parent: str | None = None
    """The session that this one continues from, if it is a branch."""


class PromptGiven(Value):
    """The person asked."""

    kind: Literal["prompt"] = "prompt"
    text: str


Record: TypeAlias = (
    PromptGiven
    | RequestStarted
    | RequestRetried
    | RequestFinished
    | CallStarted
    | CallFinished
    | ReviewNoted
    | SessionStopped
)
"""What is kept. Streamed text and progress are live only."""


class _Line(Value):
    at: datetime
    event: Annotated[Record, Field(discriminator="kind")]


_LINE: Final = TypeAdapter(_Line)


class Entry(Value):
    """One record and when it was written."""

    at: datetime
    record: Record


class Transcript:
    """A transcript that is open for appending, by this process alone."""

    def __init__(self, path: Path, header: Header, *, fd: int | None = None) -> None:
        """Use `create` or `resume`."""
        self.path = path
        self.header = header
        self._fd = fd
        self._close = None if fd is None else weakref.finalize(self, os.close, fd)
        self._closed = False

    @classmethod
    def create(cls, folder: Path, *, model: str, parent: str | None = None) -> Self:
        """A new session's transcript; the file is made by the first record."""
        now = datetime.now(UTC)
        header = Header(session_id=new_session_id(now), model=model, created=now, parent=parent)
        return cls(folder / f"{header.session_id}{SUFFIX}", header)

    @classmethod
    def resume(cls, folder: Path, session_id: str) -> tuple[Self, tuple[Entry, ...]]:
        """Take up a transcript again, with all that it holds; a torn last line is removed.

        Raises:
            UsageError: That is not a session's id, or another process has the session open.
            TranscriptError: There is no such session, or its record is damaged.
        """
        path = session_path(folder, session_id)
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            raise TranscriptError(_missing(path, session_id, error)) from None
        try:
            _lock(fd, session_id)
            header, entries, whole_bytes = _parse(path, path.read_bytes())
            os.ftruncate(fd, whole_bytes)
        except BaseException:
            os.close(fd)
            raise
        return cls(path, header, fd=fd), entries

    @property
    def session_id(self) -> str:
        """The session's id, which is also the file's name."""
        return self.header.session_id

    def append(self, record: Record) -> None:
        """Keep `record`, in one write.

        Raises:
            TranscriptError: It could not be written, say because the disk is full.
        """
        if self._closed:
            raise TranscriptError(f"session {self.session_id} was closed; resume it to go on")
        try:
            fd = self._open() if self._fd is None else self._fd
            _write(fd, _to_line(record))
        except OSError as error:
            raise TranscriptError(
                f"{self.path}: cannot be written: {error.strerror or error}. The session cannot "
                "go on without its record; free space or give another --home, then resume it."
            ) from error

    def close(self) -> None:
        """Let other processes resume the session."""
        if self._close is not None:
            self._close()
        self._fd, self._close, self._closed = None, None, True

    def _open(self) -> int:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(self.path, flags, 0o600)
        self._fd, self._close = fd, weakref.finalize(self, os.close, fd)
        _lock(fd, self.session_id)
        _write(fd, self.header.model_dump_json().encode() + b"\n")
        return fd


def new_session_id(now: datetime) -> str:
    """Such as `20261123T061500-ab12cd`: sorts by time, and two at once differ."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def session_path(folder: Path, session_id: str) -> Path:
    """Where the transcript of `session_id` is.

    Raises:
        UsageError: That is not a session's id (and so must not become a path).
    """
    if not _SESSION_ID.fullmatch(session_id):
        raise UsageError(
            f"{session_id!r} is not a session's id; they look like 20261123T061500-ab12cd, "
            "and `toolkiln sessions list` shows them"
        )
    return folder / f"{session_id}{SUFFIX}"


def read(folder: Path, session_id: str) -> tuple[Header, tuple[Entry, ...]]:
    """Everything in a transcript, without taking it up; a torn last line is passed over.

    Raises:
        UsageError: That is not a session's id.
        TranscriptError: There is no such session, or its record is damaged.
    """
    path = session_path(folder, session_id)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TranscriptError(_missing(path, session_id, error)) from None
    header, entries, _ = _parse(path, data)
    return header, entries


def is_open(path: Path) -> bool:
    """Whether some process has the session of this transcript open now."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _write(fd: int, line: bytes) -> None:
    written = os.write(fd, line)
    if written != len(line):
        raise OSError(f"only {written} of {len(line)} bytes could be written")


def _lock(fd: int, session_id: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"session {session_id} is open in another process (or twice in this one): "
            "end it there before resuming it here"
        ) from None


def _to_line(record: Record) -> bytes:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        text = record.model_dump_json(exclude_defaults=False).encode()
    except pydantic_core.PydanticSerializationError:
        # Half of a surrogate pair, which JSON in UTF-8 cannot hold; models do send them.
        text = json.dumps(record.model_dump(), ensure_ascii=False).encode(errors="replace")
    return b'{"at":"%s","event":%s}\n' % (at.encode(), text)


def _parse(path: Path, data: bytes) -> tuple[Header, tuple[Entry, ...], int]:
    """Header, entries, and how many bytes are whole lines."""
    whole_bytes = data.rfind(b"\n") + 1
    lines = data[:whole_bytes].splitlines()
    if not lines:
        raise TranscriptError(f"{path}: has no whole line, so there is nothing to resume")
    number = 1
    try:
        header = Header.model_validate_json(lines[0])
        if header.format != FORMAT:
            raise TranscriptError(
                f"{path}: has format {header.format}, and this version reads format {FORMAT}"
            )
        entries = []
        for number, line in enumerate(lines[1:], start=2):  # noqa: B007 - named in the error
            parsed = _LINE.validate_json(line)
            entries.append(Entry.model_construct(at=parsed.at, record=parsed.event))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise TranscriptError(
            f"{path}, line {number}: is not what a session writes ({problem}). "
            "The file was changed or damaged; nothing of it was used."
        ) from None
    return header, tuple(entries), whole_bytes


def _missing(path: Path, session_id: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no session {session_id}; `toolkiln sessions list` shows what is"
    return f"{path}: cannot be read: {error.strerror or error}"

"""Reviewers' tokens: who may sign in to the review page, and what they prove it with.

A token is 256 random bits, shown once and kept as a scrypt hash in a file of mode 0600. The hash
is slow although such a token cannot be guessed: whoever gets to read a backup of the file gets
nothing out of it, also if a later version lets people choose words of their own.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from policies.value import Value
from runtime.errors import RuntimeFailure, UsageError
from runtime.review.web.roles import Role

MAX_TOKENS: Final = 1_000
_MAX_FILE_BYTES: Final = 1_000_000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")

COST: Final = 2**15
"""N of scrypt (RFC 7914): 32 MiB and about a tenth of a second for each try."""

_SCRYPT_BLOCK: Final = 8
_SCRYPT_BYTES: Final = 64 * 2**20
_HASH_BYTES: Final = 32


class ReviewerToken(Value):
    """One token as it is kept: nothing in it opens a door."""

    id: str
    """Stands in lists and in the log; no secret."""

    name: str
    """The principal whose votes are given with it."""

    role: Role
    salt: str
    hash: str
    cost: int = Field(ge=2, le=COST)
    """Of the hash: kept with it, so that a later one may be dearer."""

    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Who proved to be whom."""

    name: str
    role: Role
    token_id: str


_TOKENS: Final = TypeAdapter(tuple[ReviewerToken, ...])


class TokenFileError(RuntimeFailure):
    """The file of tokens is damaged, a link, or open to other users."""


class TokenBook:
    """The tokens of one home, in one file that several processes may use."""

    def __init__(self, path: Path, *, cost: int = COST) -> None:
        """`cost` is of tokens that it adds, a power of two."""
        self._path = path
        self._cost = cost

    def entries(self) -> tuple[ReviewerToken, ...]:
        """All tokens, oldest first; none where there is no file yet.

        Raises:
            TokenFileError: the file cannot be trusted.
        """
        try:
            # Without waiting: a pipe in its place would else hold up everybody.
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self._path, flags)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise TokenFileError(f"{self._path}: {error.strerror}; nobody can sign in") from None
        with open(descriptor, "rb") as file:  # noqa: PTH123 - of a descriptor, not of a path
            self._check(os.fstat(descriptor))
            text = file.read(_MAX_FILE_BYTES + 1)
        try:
            return _TOKENS.validate_json(text, strict=False)
        except ValidationError as error:
            raise TokenFileError(
                f"{self._path}: damaged ({error.error_count()} errors); nobody can sign in. "
                "Restore it, or remove it and add the tokens anew with "
                "`toolkiln review token add NAME`."
            ) from None

    def add(
        self,
        name: str,
        *,
        role: Role,
        at: datetime,
        expires_at: datetime | None = None,
    ) -> tuple[ReviewerToken, str]:
        """Make a token for `name`; the second value is the token itself, which is kept nowhere.

        Raises:
            UsageError: the name is not written as one, or there are too many tokens.
            TokenFileError: the file cannot be trusted.
        """
        _check_name(name)
        secret, salt = secrets.token_urlsafe(32), secrets.token_bytes(16)
        with self._exclusively():
            before = self.entries()
            if len(before) >= MAX_TOKENS:
                raise UsageError(
                    f"there are {len(before)} tokens already; remove some with "
                    "`toolkiln review token remove ID`"
                )
            entry = ReviewerToken(
                id=secrets.token_hex(4),
                name=name,
                role=role,
                salt=salt.hex(),
                hash=_slow_hash(secret, salt, self._cost).hex(),
                cost=self._cost,
                created_at=at,
                expires_at=expires_at,
            )
            self._write((*before, entry))
        return entry, secret

    def remove(self, token_id: str) -> ReviewerToken:
        """Take a token back; whoever is signed in with it is signed out.

        Raises:
            UsageError: there is no such token.
            TokenFileError: the file cannot be trusted.
        """
        with self._exclusively():
            entries = self.entries()
            gone = next((entry for entry in entries if entry.id == token_id), None)
            if gone is None:
                raise UsageError(
                    f"there is no token {token_id!r}; `toolkiln review token list` shows them"
                )
            self._write(tuple(entry for entry in entries if entry.id != token_id))
        return gone

    def check(self, name: str, secret: str, *, at: datetime) -> Reviewer | None:
        """Who `name` is if `secret` is a token of theirs; slow by design, so call it in a thread.

        Raises:
            TokenFileError: the file cannot be trusted.
        """
        mine = [each for each in self.entries() if each.name == name and _is_current(each, at)]
        if not mine:
            _slow_hash(
                secret, b"nobody's salt...", self._cost
            )  # an unknown name takes as long as a known one
            return None
        for entry in mine:
            if hmac.compare_digest(
                _slow_hash(secret, bytes.fromhex(entry.salt), entry.cost), bytes.fromhex(entry.hash)
            ):
                return Reviewer(name=entry.name, role=entry.role, token_id=entry.id)
        return None

    def stands(self, reviewer: Reviewer, *, at: datetime) -> bool:
        """Whether the token that somebody signed in with is still there, as it was."""
        return any(
            each.id == reviewer.token_id
            and (each.name, each.role) == (reviewer.name, reviewer.role)
            and _is_current(each, at)
            for each in self.entries()
        )

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE_BYTES:
            raise TokenFileError(f"{self._path}: no ordinary file of tokens; nobody can sign in")
        if status.st_uid != os.getuid():
            raise TokenFileError(f"{self._path}: belongs to another user; nobody can sign in")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise TokenFileError(
                f"{self._path}: other users can read or write it, so nobody can sign in; "
                f"run `chmod 600 {self._path}`, and make new tokens if they may have been seen"
            )

    def _write(self, entries: tuple[ReviewerToken, ...]) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False) as file:
            json.dump(_TOKENS.dump_python(entries, mode="json"), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(self._path)

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        """One process adds or removes at a time."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path.with_suffix(".lock"), flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a reviewer: it has 1 to 100 letters, digits and . _ @ + - "
            "and begins with a letter or digit, so that no two look alike"
        )


def _is_current(entry: ReviewerToken, at: datetime) -> bool:
    return entry.expires_at is None or at < entry.expires_at


def _slow_hash(secret: str, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(
        secret.encode(errors="surrogatepass"),
        salt=salt,
        n=cost,
        r=_SCRYPT_BLOCK,
        p=1,
        maxmem=_SCRYPT_BYTES,
        dklen=_HASH_BYTES,
    )

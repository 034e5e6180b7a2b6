"""Who gets which version of a name: a session's pin, its own version, the canary, the stable one.

Pure: the loader asks it of what it keeps in memory, the store of what it has just read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from policies.decision import Channel

Pins: TypeAlias = "dict[tuple[str, str], str]"
"""Digests by session and name."""

_SPAN: Final = 2**64


@dataclass(slots=True)
class Offer:
    """The approved versions of one name, by their digests."""

    stable: str | None = None
    canary: str | None = None
    weight: float = 0.0
    sessions: dict[str, str] = field(default_factory=dict)

    def add(
        self, digest: str, channel: str | None, weight: float | None, session: str | None
    ) -> None:
        """Take in one more version of the name, as the tables place it.

        One that is placed nowhere, or where there is no such place, is offered to nobody.
        """
        if channel == Channel.STABLE:
            self.stable = digest
        elif channel == Channel.CANARY:
            self.canary, self.weight = digest, weight or 0.0
        elif channel == Channel.SESSION and session is not None:
            self.sessions[session] = digest

    @property
    def digests(self) -> frozenset[str | None]:
        """Of all of them."""
        return frozenset({self.stable, self.canary, *self.sessions.values()})

    def holds(self, digest: str, session: str | None) -> bool:
        """Whether a version is offered to `session`, or to everybody."""
        if digest in {self.stable, self.canary}:
            return True
        return session is not None and self.sessions.get(session) == digest

    def choose(self, name: str, session: str | None, pin: str | None = None) -> str | None:
        """Digest of the version that a call of `name` in `session` runs; None where there is none.

        Outside of sessions a name means the stable version.
        """
        if session is None:
            return self.stable
        if pin is not None:
            return pin
        if session in self.sessions:
            return self.sessions[session]
        if self.canary is not None and share(session, name) < self.weight:
            return self.canary
        return self.stable


def share(session: str, name: str) -> float:
    """Where a session falls between 0 and 1 for a name: always the same, so it stays with one."""
    digest = hashlib.sha256(f"{session}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / _SPAN

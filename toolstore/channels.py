"""Who gets which version of a name: a session's pin, its own version, the canary, the stable one.

Pure: the loader asks it of what it keeps in memory, the store of what it has just read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol, Self, TypeAlias

from policies.decision import Channel
from toolstore.models import Place

Pins: TypeAlias = "dict[tuple[str, str], str]"
"""Digests by session and name."""

_SPAN: Final = 2**64


class Placed(Protocol):
    """A version with its place."""

    @property
    def digest(self) -> str:
        """Of the version."""
        ...

    @property
    def place(self) -> Place | None:
        """For whom it is callable."""
        ...


@dataclass(slots=True)
class Offer:
    """The approved versions of one name."""

    stable: str | None = None
    canary: str | None = None
    weight: float = 0.0
    sessions: dict[str, str] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)
    """Of all of them."""

    @classmethod
    def of(cls, versions: Iterable[Placed]) -> Self:
        """The offer that these versions of one name make."""
        offer = cls()
        for version in versions:
            offer.add(version)
        return offer

    def add(self, version: Placed) -> None:
        """Take in one more version of the name."""
        self.digests.add(version.digest)
        place = version.place
        if place is None:
            return
        if place.channel is Channel.STABLE:
            self.stable = version.digest
        elif place.channel is Channel.CANARY:
            self.canary, self.weight = version.digest, place.weight or 0.0
        elif place.session is not None:
            self.sessions[place.session] = version.digest

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

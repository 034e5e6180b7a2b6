"""Who is signed in, kept on the server: the cookie is a random number and says nothing."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from runtime.review.web.tokens import Reviewer

IDLE_SECONDS: Final = 30 * 60.0
"""Without a request of the reviewer's own; live updates of the queue do not count."""

ABSOLUTE_SECONDS: Final = 8 * 3_600.0
"""Then a reviewer signs in anew, however busy."""

MAX_SESSIONS: Final = 500


@dataclass(frozen=True, slots=True)
class SignedIn:
    """One reviewer in one browser."""

    reviewer: Reviewer
    started: float
    seen: float
    csrf_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """Stands in every form, and nowhere that another site could read it."""

    seal_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    """Binds a decision to what this session was shown."""

    notice: str | None = None
    """Said once, on the next page."""


class SignIns:
    """The sessions of one server; they end with it. `clock` counts seconds, from anywhere."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sessions: dict[str, SignedIn] = {}

    def begin(self, reviewer: Reviewer) -> str:
        """Sign `reviewer` in; the answer is the cookie's value. It is new at every sign-in."""
        self._forget_ended()
        while len(self._sessions) >= MAX_SESSIONS:
            oldest = min(self._sessions, key=lambda key: self._sessions[key].seen)
            del self._sessions[oldest]
        cookie, now = secrets.token_urlsafe(32), self._clock()
        self._sessions[_key(cookie)] = SignedIn(reviewer=reviewer, started=now, seen=now)
        return cookie

    def find(self, cookie: str, *, touch: bool) -> SignedIn | None:
        """The session of a cookie, if it has not ended; `touch` says that the reviewer is there."""
        key = _key(cookie)
        session = self._sessions.get(key)
        if session is None:
            return None
        now = self._clock()
        if _has_ended(session, now):
            del self._sessions[key]
            return None
        if touch:
            session = self._sessions[key] = replace(session, seen=now)
        return session

    def end(self, cookie: str) -> None:
        """Sign out; safe to do twice."""
        self._sessions.pop(_key(cookie), None)

    def leave_notice(self, cookie: str, notice: str) -> None:
        """Something to say on the next page."""
        session = self._sessions.get(_key(cookie))
        if session is not None:
            self._sessions[_key(cookie)] = replace(session, notice=notice)

    def take_notice(self, cookie: str) -> str | None:
        """What there is to say; only once."""
        session = self._sessions.get(_key(cookie))
        if session is None or session.notice is None:
            return None
        self._sessions[_key(cookie)] = replace(session, notice=None)
        return session.notice

    def _forget_ended(self) -> None:
        now = self._clock()
        for key in [key for key, each in self._sessions.items() if _has_ended(each, now)]:
            del self._sessions[key]


def _has_ended(session: SignedIn, now: float) -> bool:
    return now - session.seen > IDLE_SECONDS or now - session.started > ABSOLUTE_SECONDS


def _key(cookie: str) -> str:
    # Looked up by its hash: how long the look-up takes tells nothing about a cookie.
    return hashlib.sha256(cookie.encode(errors="surrogatepass")).hexdigest()

"""A vote while it is being written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from policies.decision import Channel
from runtime.review.item import Vote

_EXPIRIES: Final = (None, 7, 30, 90, 365)
"""Days that a yes may count; None is for good."""

_SCOPES: Final = (Channel.STABLE, Channel.CANARY, Channel.SESSION)
_QUESTIONS: Final = {
    Vote.APPROVE: "approve {ref}; a comment if you like:",
    Vote.REJECT: "reject {ref} for good; why:",
    Vote.ASK: "ask the author of {ref} to change:",
}


@dataclass(slots=True)
class Draft:
    """What the person has chosen so far; the words stand in the line that they type into."""

    vote: Vote
    _scope: int = 0
    _expiry: int = 0

    @property
    def scope(self) -> Channel:
        """How far a yes goes."""
        return _SCOPES[self._scope]

    @property
    def expires_at(self) -> datetime | None:
        """When a yes stops to count."""
        days = _EXPIRIES[self._expiry]
        return None if days is None else datetime.now(UTC) + timedelta(days=days)

    def question(self, ref: str) -> str:
        """What the person is asked for."""
        return _QUESTIONS[self.vote].format(ref=ref)

    @property
    def hints(self) -> tuple[str, ...]:
        """How far and how long, with the keys that change it."""
        if self.vote is not Vote.APPROVE:
            return ("Enter send", "Esc leave it")
        days = _EXPIRIES[self._expiry]
        until = "for good" if days is None else f"for {days} days"
        return (
            "Enter approve",
            "Esc leave it",
            f"Ctrl-S scope: {self.scope.value}",
            f"Ctrl-E counts {until}",
        )

    def change_scope(self) -> None:
        """The next scope; only a yes has one."""
        if self.vote is Vote.APPROVE:
            self._scope = (self._scope + 1) % len(_SCOPES)

    def change_expiry(self) -> None:
        """The next expiry; only a yes has one."""
        if self.vote is Vote.APPROVE:
            self._expiry = (self._expiry + 1) % len(_EXPIRIES)

"""Waivers: a person takes one finding of one version on themselves, for a time.

A waiver names a rule, a digest and a person, and ends. It never travels: another version of the
same tool, however small the change, has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from pydantic import AwareDatetime, Field, model_validator

from policies.people import is_same_person
from policies.value import Value


class Waiver(Value):
    """One person's word that one rule may stay broken in one version until a time."""

    rule: str = Field(pattern=r"^[A-Z]{2}\d{3}$")
    digest: str
    """Of the version."""

    principal: str = Field(min_length=1)
    reason: str = Field(min_length=1, max_length=2_000)
    at: AwareDatetime
    expires_at: AwareDatetime
    """From when on it no longer counts; a later one of the same person replaces it."""

    @model_validator(mode="after")
    def _ends_after_it_began(self) -> Self:
        if self.expires_at < self.at:
            raise ValueError("it expires before it was given")
        return self


def in_force(waivers: Iterable[Waiver], *, digest: str, at: datetime) -> tuple[Waiver, ...]:
    """Those about `digest` that count at that time: of each person the latest for each rule."""
    latest = {(waiver.rule, waiver.principal): waiver for waiver in waivers}
    return tuple(
        waiver
        for waiver in latest.values()
        if waiver.digest == digest and waiver.at <= at < waiver.expires_at
    )


@dataclass(frozen=True, slots=True)
class Waiving:
    """What a policy lets people take on themselves."""

    rules: frozenset[str] = frozenset()
    author_may: bool = False

    def lifted(self, waivers: Iterable[Waiver], *, digest: str, author: str) -> frozenset[str]:
        """The rules that these waivers, all of them in force, lift from one version."""
        return self.rules & {
            waiver.rule
            for waiver in waivers
            if waiver.digest == digest
            and (self.author_may or not is_same_person(waiver.principal, author))
        }


NOTHING_WAIVED: Final = Waiving()
"""Where people may take nothing on themselves."""

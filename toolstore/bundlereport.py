"""What is found of a bundle: values for whoever shows it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import AwareDatetime

from policies.statements import Role
from policies.value import Value


class Standing(StrEnum):
    """What is to be said of one line."""

    HOLDS = "holds"
    UNTRUSTED = "untrusted"
    """It holds, and is signed with a key that the reader has not said to trust."""

    ASIDE = "aside"
    """It holds, and nothing rests on it: earlier evidence, a no that was followed by a yes."""

    REFUSED = "refused"
    """It holds, and it is a no."""

    MISSING = "missing"
    BROKEN = "broken"
    """It was altered, or does not belong to the rest."""


class Line(Value):
    """One link of the chain."""

    part: str
    standing: Standing
    detail: str
    role: Role | None = None
    keyid: str | None = None
    person: str | None = None
    trusted: bool = False
    """Whether the reader trusts that key; else its role and person are only the file's word."""

    at: AwareDatetime | None = None
    """When it was signed, as the statement says."""


class Verdict(StrEnum):
    """What a bundle is worth."""

    TRUSTED = "trusted"
    """All of it holds, and every signature is by a trusted key."""

    UNTRUSTED = "untrusted"
    """All of it holds, and some of it is signed by keys that the reader has not said to trust."""

    NOT_ADMITTED = "not admitted"
    """All of it holds, and it says that the tool was not let in, or was taken back."""

    UNSIGNED = "unsigned"
    """It is what its digest says, and nobody vouches for the rest: format 1."""

    BROKEN = "broken"


class BundleReport(Value):
    """What holds of a bundle."""

    ref: str | None
    digest: str | None
    format: str | None
    lines: tuple[Line, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of the lines decides."""
        standings = {line.standing for line in self.lines}
        if (
            self.format is not None
            and self.format.endswith("/1")
            and Standing.BROKEN not in standings
        ):
            return Verdict.UNSIGNED
        if standings & {Standing.BROKEN, Standing.MISSING} or not self.lines:
            return Verdict.BROKEN
        if Standing.REFUSED in standings:
            return Verdict.NOT_ADMITTED
        return Verdict.UNTRUSTED if Standing.UNTRUSTED in standings else Verdict.TRUSTED

    @property
    def problems(self) -> tuple[Line, ...]:
        """The lines that are missing or broken."""
        return tuple(
            line for line in self.lines if line.standing in {Standing.MISSING, Standing.BROKEN}
        )

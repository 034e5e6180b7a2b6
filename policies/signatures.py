"""How many keys must have vouched for a version before it is called: `[signatures]` of a policy."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from pydantic import Field

from policies.statements import Check
from policies.value import Value

_DAYS_OF_A_DECADE: Final = 3_650


class SignatureSettings(Value):
    """Thresholds: what is wanted at least, and by whom beside this host.

    What evidence there is must be signed under every policy.
    """

    lint: int = Field(default=1, ge=0, le=10)
    source_schema: int = Field(default=1, ge=0, le=10)
    examples: int = Field(default=1, ge=0, le=10)
    properties: int = Field(default=0, ge=0, le=10)
    review: int = Field(default=0, ge=0, le=10)
    """Hosts of which a key must vouch for this check: each of them has proven the very version
    (`toolkiln tools prove`), and is trusted here. Of reviews, different keys."""

    replay: int = Field(default=0, ge=0, le=1)
    """The same for the comparison with the version before; that is made once, on one host, before
    a version is decided on."""

    person_keys: int = Field(default=0, ge=0, le=10)
    """Different people who said yes, each with a key of their own (`toolkiln store keys person`);
    a yes signed with the key of the host does not count for this."""

    evidence_days: int = Field(default=0, ge=0, le=_DAYS_OF_A_DECADE)
    """From this age on evidence no longer counts, and the tool must be proven anew; 0 is never."""

    def wanted(self) -> dict[Check, int]:
        """How many keys each check needs."""
        return {
            Check.LINT: self.lint,
            Check.SCHEMA: self.source_schema,
            Check.EXAMPLES: self.examples,
            Check.PROPERTIES: self.properties,
            Check.REPLAY: self.replay,
            Check.REVIEW: self.review,
        }

    def shortfall(
        self,
        signed: Mapping[Check, AbstractSet[str]],
        people: AbstractSet[str],
        *,
        without: AbstractSet[Check] = frozenset(),
    ) -> tuple[str, ...]:
        """What is missing, in words, of hosts that vouch for each check, and of people.

        `without` has what cannot be checked of a version, so that nobody is missed for it.
        """
        missing = [
            _words(check, len(signed.get(check, ())), count)
            for check, count in self.wanted().items()
            if len(signed.get(check, ())) < count and check not in without
        ]
        if len(people) < self.person_keys:
            missing.append(
                f"{len(people)} person(s) said yes with a key of their own, and the policy wants "
                f"{self.person_keys}"
            )
        return tuple(missing)


def _words(check: Check, found: int, wanted: int) -> str:
    said = f"{check.value} is vouched for by {found} key(s), and the policy wants {wanted}"
    if check is Check.REVIEW or not found:
        return said
    return f"{said}: `toolkiln tools prove` on another host, which this one trusts, adds its key"


DEFAULT_SIGNATURES: Final = SignatureSettings()
"""What a policy says that says nothing of it."""

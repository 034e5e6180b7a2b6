"""What people may change in a ring: whom it trusts, with what a role signs. Values, no files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from toolstore.attest.publickeys import check_keys
from toolstore.attest.trust import PublicKeys, Ring, TrustedKey


class ChangeRefusedError(Exception):
    """A ring may not be changed so."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice


@dataclass(frozen=True, slots=True)
class Trusting:
    """What came of another host's keys."""

    added: tuple[TrustedKey, ...]
    retired: tuple[TrustedKey, ...]
    """Trusted before; the other host has given the role a new key since."""

    left_out: tuple[TrustedKey, ...]
    """Distrusted here once."""


def trusting(ring: Ring, more: PublicKeys, *, again: bool) -> tuple[Ring, Trusting]:
    """The ring where the keys of another host count; see `KeyRing.trust`.

    Raises:
        ChangeRefusedError: a key is no key, or trusted here for another role or person.
    """
    known = {key.keyid: key for key in ring.keys}
    for key in more.keys:
        mine = known.get(key.keyid)
        if mine is not None and (mine.role, mine.person) != (key.role, key.person):
            raise ChangeRefusedError(
                f"the key {key.keyid[:16]}… is trusted here for another role or person",
                "Nothing was changed. Ask whoever gave you the file.",
            )
    new = tuple(key for key in more.keys if key.keyid not in known)
    left_out = () if again else tuple(key for key in new if key.keyid in ring.distrusted)
    added = tuple(key for key in new if key not in left_out)
    came_back = {key.keyid for key in added}
    retired = _retired_elsewhere(ring, more)
    changed = _checked(
        ring,
        keys=(*(retired.get(key.keyid, key) for key in ring.keys), *added),
        distrusted=tuple(each for each in ring.distrusted if each not in came_back),
    )
    return changed, Trusting(added, tuple(retired.values()), left_out)


def distrusting(ring: Ring, keyid: str, since: datetime | None) -> tuple[Ring, TrustedKey]:
    """The ring where a key counts no more, or not after `since`; see `KeyRing.distrust`.

    Raises:
        ChangeRefusedError: there is no such key, or this host signs with it.
    """
    found = [key for key in ring.keys if key.keyid.startswith(keyid)]
    if len(found) != 1:
        problem = "no key" if not found else f"{len(found)} keys"
        raise ChangeRefusedError(
            f"{problem} begin(s) with {keyid!r}", "See toolkiln store keys list."
        )
    key = found[0]
    if key.keyid in {place.keyid for place in ring.signers.values()}:
        raise ChangeRefusedError(
            f"the {key.role.value} of this host signs with it",
            f"First: toolkiln store keys rotate {key.role.value}.",
        )
    return ring.without(key) if since is None else ring.ended(key, since), key


def signing_with(ring: Ring, key: TrustedKey, uri: str, at: datetime) -> Ring:
    """The ring where the role of `key` signs with it, wherever it is.

    Raises:
        ChangeRefusedError: it is somebody else's key, or was distrusted.
    """
    known = ring.find(key.keyid)
    if known is not None and (known.role, known.person) != (key.role, None):
        whose = known.person or f"the {known.role.value}"
        raise ChangeRefusedError(f"that key is {whose}'s already", "One key has one role.")
    if key.keyid in ring.distrusted:
        raise ChangeRefusedError("that key was distrusted here", "Use another one.")
    return _checked(ring.with_signer(key, uri, at))


def _checked(ring: Ring, **changes: object) -> Ring:
    changed = ring.changed(**changes)
    try:
        check_keys(changed.keys)
    except ValueError as error:
        raise ChangeRefusedError(
            str(error), "Nothing was changed. Ask whoever gave you the file."
        ) from error
    return changed


def _retired_elsewhere(ring: Ring, more: PublicKeys) -> dict[str, TrustedKey]:
    """The keys of another host that it has retired, as they shall stand here."""
    mine = {place.keyid for place in ring.places}
    known = {key.keyid: key for key in ring.keys if key.keyid not in mine}
    retired = {}
    for key in more.keys:
        before = known.get(key.keyid)
        if before is not None and key.valid_until is not None:
            after = before.ended(key.valid_until)
            if after != before:
                retired[key.keyid] = after
    return retired

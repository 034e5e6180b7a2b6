"""What the store offers a host's sessions now, by name, and the verified way to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime.equipment import Equipment
from runtime.redecision import Redecision
from toolstore.attest.errors import NotInForceError
from toolstore.channels import Offer
from toolstore.errors import StoreDamagedError
from toolstore.models import Pin, ToolRef, ToolVersion
from toolstore.store import ToolStore, utc_now

_CHANGED_NAMES = 200
"""Beyond so many the whole list is read anew."""


class Offers:
    """Which version each name means, as the tables say, and which of them were verified since.

    The tables are believed in nothing but this: which version to look at. What they offer may have
    been put there by somebody who wrote to them alone.
    """

    def __init__(self, store: ToolStore, equipment: Equipment) -> None:
        self._store = store
        self._redecision = Redecision(store, equipment, utc_now)
        self.head = -1
        """Sequence of the last event at the last refresh."""

        self._offers: dict[str, Offer] = {}
        self._verified: dict[str, ToolVersion] = {}
        """By digest, since the log last spoke of their names."""

    async def refresh(self) -> None:
        """Notice what changed in the store: one cheap look at the end of its log."""
        head = self._store.head()
        if head == self.head:
            return
        names = await self._changed_names()
        offers = await self._store.offers(names)
        if names is None:
            self._offers, self._verified = {}, {}
        for name in names or ():
            self._offers.pop(name, None)
        self._offers.update(offers)
        self._verified = {d: v for d, v in self._verified.items() if v.name not in (names or ())}
        self.head = head

    async def _changed_names(self) -> frozenset[str] | None:
        """Names that the log has had entries of since the last refresh; None where all may be."""
        if self.head < 0:
            return None
        try:
            names = {event.name for event in await self._store.changes_since(self.head)}
        except StoreDamagedError:
            return None  # what is damaged says so when it is loaded, and the rest works
        return frozenset(names) if len(names) <= _CHANGED_NAMES else None

    def has_canary(self, name: str) -> bool:
        """Whether a canary of `name` runs."""
        offer = self._offers.get(name)
        return offer is not None and offer.canary is not None

    def chosen(self, name: str, session: str | None, pin: str | None = None) -> str | None:
        """Digest of the version that `name` means in `session`, at the last refresh."""
        if pin is not None:
            return pin
        offer = self._offers.get(name)
        return None if offer is None else offer.choose(name, session)

    def verified(self, digest: str, session: str | None) -> ToolVersion | None:
        """The version of that digest, if it is offered to `session` and was verified since."""
        version = self._verified.get(digest)
        offer = self._offers.get(version.name) if version else None
        return version if offer is not None and offer.holds(digest, session) else None

    async def pins(self, session: str) -> tuple[dict[str, str], dict[str, StoreDamagedError]]:
        """Digests that a session stays with, by name; and names of which the log denies the pin."""
        denied: dict[str, StoreDamagedError] = {}

        def note(pin: Pin, error: StoreDamagedError) -> None:
            denied[pin.name] = error

        kept = await self._store.lifecycle.pins(session, on_damage=note)
        return {pin.name: pin.digest for pin in kept}, denied

    def names(self) -> Sequence[str]:
        """Names of all tools that have a stable version."""
        return tuple(name for name, offer in self._offers.items() if offer.stable is not None)

    def names_for(self, session: str, pins: Mapping[str, str]) -> Sequence[str]:
        """Names that mean something in a session that has these pins."""
        known = dict.fromkeys(n for n in self._offers if self.chosen(n, session) is not None)
        return tuple(known | dict.fromkeys(pins))

    async def find(self, ref: ToolRef, *, session: str | None = None) -> ToolVersion:
        """What `ref` means in `session`, verified, and allowed by the policy in force.

        A version that was approved under another policy is decided again, once; what does not
        pass is in quarantine then.

        Raises:
            ToolNotFoundError: There is none.
            ToolNotCallableError: Its state forbids calling it, or the policy does by now.
            StoreDamagedError: The stored bytes are not what was approved.
        """
        head = self.head
        try:
            found = await self._store.get(ref, session=session)
        except NotInForceError:
            await self._redecision.set_aside(ref)
            raise
        found = await self._redecision.check(found)
        if self.head == head:  # else the log may have spoken of it since it was read
            self._verified[found.digest] = found
        return found

"""What a connection of a store with keys carries: who verifies what it reads, and signs.

The store binds it to the connection for each transaction; queries and the journal ask for it
there. A connection without one belongs to a store that was opened without keys: nothing is
signed, and nothing verified beyond digests and the chain of hashes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import Connection, bindparam, select

from policies.signatures import SignatureSettings
from toolstore import tables
from toolstore.attest.chain import Chain, Kept, read_chain
from toolstore.attest.checkpoints import Checkpoint, SeenCheckpoints, signed_head
from toolstore.attest.errors import AttestationError, Flaw
from toolstore.attest.keys import KeyRing
from toolstore.attest.seals import Paths, fold
from toolstore.attest.thresholds import check_in_force
from toolstore.blobs import as_bytes
from toolstore.lane import Lane

T = TypeVar("T")

_KEY: Final = "toolkiln.guard"
_attestation = tables.attestation.c
_ABOUT: Final = select(
    _attestation.version,
    _attestation.digest,
    _attestation.envelope,
    _attestation.kind,
    _attestation.about,
).where(_attestation.version.in_(bindparam("versions", expanding=True)))


@dataclass(slots=True)
class Guard:
    """Keys and thresholds of one open store."""

    ring: KeyRing
    wanted: SignatureSettings
    clock: Callable[[], datetime]
    seen: SeenCheckpoints | None = None
    known: Checkpoint | None = None
    """The newest verified checkpoint: the same bytes are not verified twice."""

    written: Checkpoint | None = None
    """Signed in a transaction that is not known to be kept yet."""

    maps_checked: bool = False
    """The end of the log and the whole map are being checked by somebody: leave them out here."""

    trusting: Checkpoint | None = None
    """Where the log stands, in the word of whoever signs it anew."""

    furthest: int = 0
    """The last event that was ever read as kept: a log does not get shorter while it is open."""

    def now(self) -> datetime:
        """The clock's time; never before what the log was last signed at.

        Whoever sets the clock back does not bring back what has ended.
        """
        at = self.clock()
        signed_at = None if self.known is None else self.known.at
        return at if signed_at is None else max(at, signed_at)

    def head(self, connection: Connection) -> Checkpoint:
        """The signed end of the log; see `signed_head`."""
        if self.trusting is not None:
            return self.trusting
        known = self.known
        if known is not None and known.keyid and self.ring.find(known.keyid) is None:
            known = None  # its key is not trusted any more
        self.known = signed_head(connection, self.ring, known)
        if self.known.sequence < self.furthest:
            raise AttestationError(
                f"the log ends at event {self.known.sequence}, and had {self.furthest} before: an "
                "older state was put back",
                Flaw.LOG,
            )
        return self.known


def bind(connection: Connection, guard: Guard | None) -> None:
    """Let `guard` watch over this transaction."""
    if guard is None:
        connection.info.pop(_KEY, None)
    else:
        connection.info[_KEY] = guard


def guard_of(connection: Connection) -> Guard | None:
    """Who watches over this transaction; None in a store without keys."""
    found = connection.info.get(_KEY)
    return found if isinstance(found, Guard) else None


class Attested:
    """The signed statements about some versions, read in few queries."""

    def __init__(self, connection: Connection, guard: Guard, digests: Sequence[str]) -> None:
        self._guard = guard
        self._find = guard.ring.finder()
        self._chains: dict[str, Chain] = {}
        self._root = "" if guard.maps_checked else guard.head(connection).states
        self._paths = None if guard.maps_checked else Paths.read(connection, digests)
        self._envelopes: dict[str, dict[str, bytes]] = defaultdict(dict)
        self._kept_as: dict[str, tuple[str, str]] = {}
        about = connection.execute(_ABOUT, {"versions": list(digests)})
        for version, digest, envelope, kind, of in about:
            self._envelopes[version][digest] = as_bytes(envelope)
            self._kept_as[digest] = (kind, of)

    def envelopes(self, digest: str) -> Mapping[str, bytes]:
        """Those about one version, as kept."""
        return self._envelopes.get(digest, {})

    def check(self, kept: Kept) -> Chain:
        """Verify the statements about a version, and that the log has no other events of it.

        Raises:
            AttestationError: they are not what was signed.
        """
        if self._paths is not None:
            self._paths.check(kept.digest, self._root)
            if self._paths.seal_of(kept.digest) != fold(event.hash for event in kept.events):
                raise AttestationError(
                    f"{kept.ref}: its events are not those that the last checkpoint signed",
                    Flaw.LOG,
                )
        chain = read_chain(kept, self._find)
        for envelope in chain.envelopes:
            if self._kept_as[envelope.digest] != (envelope.kind.value, envelope.about):
                raise AttestationError(
                    f"{kept.ref}: the statement {envelope.digest[:19]}… about "
                    f"{envelope.kind.value} is kept as another",
                    Flaw.ALTERED,
                )
        self._chains[kept.digest] = chain
        return chain

    def check_in_force(self, digest: str) -> None:
        """Refuse a checked version whose statements do not count now, or are too few.

        Raises:
            NotInForceError: they do not.
        """
        chain = self._chains[digest]
        check_in_force(chain, self._guard.wanted, self._guard.now())


def gather(connection: Connection, digests: Sequence[str]) -> Attested | None:
    """The statements about some versions; None in a store without keys.

    Raises:
        AttestationError: the log is not the one that was signed.
    """
    guard = guard_of(connection)
    return None if guard is None else Attested(connection, guard, digests)


class GuardedLane(Lane):
    """A lane whose transactions are watched over."""

    guard: Guard | None = None

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        guard = self.guard
        if guard is None:
            return super()._transaction(work)

        def watched(connection: Connection) -> T:
            bind(connection, guard)
            guard.written = None
            if self._writes and guard.seen is not None:
                # Nobody else writes now, so what this host saw cannot be later than what is there.
                guard.seen.check(connection, guard.ring)
            result = work(connection)
            if guard.written is not None and guard.seen is not None:
                guard.seen.prepare(guard.written)
            return result

        result = super()._transaction(watched)
        if guard.known is not None:
            guard.furthest = max(guard.furthest, guard.known.sequence)
        if guard.written is not None:  # what was signed is in the store for good now
            guard.known = guard.written
            if guard.seen is not None:
                guard.seen.write(guard.written, guard.ring)
        return result

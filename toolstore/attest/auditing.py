"""What the audit has to say about signatures: of checkpoints, of the map, of what this host saw."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, select

from toolstore import tables
from toolstore.attest import seals
from toolstore.attest.checkpoints import NOTHING, Checkpoint, read_checkpoint
from toolstore.attest.errors import AttestationError
from toolstore.attest.guard import Guard
from toolstore.blobs import as_bytes
from toolstore.errors import StoreDamagedError
from toolstore.models import Damage, Event

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class SignedLog:
    """The log held against everything that was ever signed of it."""

    def __init__(self, connection: Connection, guard: Guard, events: Sequence[Event]) -> None:
        self._connection = connection
        self._guard = guard
        self._hashes = {event.sequence: event.hash for event in events}
        self._of_version: dict[str, list[str]] = defaultdict(list)
        for event in events:
            if _DIGEST.fullmatch(event.digest):  # else it is damaged, and said to be
                self._of_version[event.digest].append(event.hash)
        self.good: Checkpoint = NOTHING
        """The newest checkpoint that the log agrees with."""

        self.head_holds = True
        """The log ends where it was signed, and every version is in the state that was signed."""

        self.damage: tuple[Damage, ...] = tuple(self._problems())

    def _problems(self) -> Iterator[Damage]:
        yield from self._checkpoints()
        try:
            head = self._guard.head(self._connection)
        except StoreDamagedError as error:
            self.head_holds = False
            yield Damage(where="log", problem=self._as_far(error.what))
            return
        root = seals.root_of(self._of_version)
        if root != head.states:
            self.head_holds = False
            problem = "the events of a version are not those that the last checkpoint signed"
            yield Damage(where="log", problem=self._as_far(problem))
        yield from self._map()
        if self._guard.seen is not None:
            try:
                self._guard.seen.check(self._connection, self._guard.ring)
            except StoreDamagedError as error:
                self.head_holds = False
                yield Damage(where="checkpoint of this host", problem=error.what)

    def _checkpoints(self) -> Iterator[Damage]:
        """Each is signed on the log as it is, and none was taken out, put in or moved."""
        table = tables.checkpoint.c
        kept = self._connection.execute(
            select(table.number, table.sequence, table.envelope).order_by(table.number)
        )
        reached, here = 0, set[bytes]()
        for wanted, (number, sequence, stored) in enumerate(kept, 1):
            where, content = f"checkpoint {number}", as_bytes(stored)
            if number != wanted:
                yield Damage(where=where, problem=f"it stands where number {wanted} must")
            try:
                found = read_checkpoint(content, self._guard.ring)
            except AttestationError as error:
                yield Damage(where=where, problem=error.what)
                continue
            here = here if found.sequence == reached else set()
            if sequence != found.sequence or found.sequence < reached or content in here:
                problem = (
                    f"it is kept as one of event {sequence}, is of event {found.sequence}, and "
                    f"follows one of event {reached}"
                )
                yield Damage(where=where, problem=problem)
            here.add(content)
            reached = max(reached, found.sequence)
            yield from self._on_the_log(where, found)

    def _on_the_log(self, where: str, found: Checkpoint) -> Iterator[Damage]:
        if self._hashes.get(found.sequence) != found.head:
            problem = f"it was signed on another event {found.sequence} than the log has"
            yield Damage(where=where, problem=problem)
        elif found.sequence >= self.good.sequence:
            self.good = found

    def _map(self) -> Iterator[Damage]:
        """What is kept of the map is what follows from the log."""
        table = tables.version_seal.c
        rows = self._connection.execute(select(table.version, table.bucket, table.seal))
        kept = {row.version: (row.bucket, row.seal) for row in rows}
        for digest in sorted(kept.keys() | self._of_version.keys(), key=str):
            hashes = self._of_version.get(digest)
            if hashes is None or kept.get(digest) != (seals.bucket_of(digest), seals.fold(hashes)):
                yield Damage(where=f"seal {digest}", problem="it does not follow from the log")
        if not seals.is_whole(self._connection, self._of_version):
            yield Damage(where="tree of seals", problem="its nodes do not follow from the log")

    def _as_far(self, problem: str) -> str:
        if not self.good.sequence:
            return problem
        return f"{problem}; as far as event {self.good.sequence} the log is what was signed"


def signed_log(
    connection: Connection, guard: Guard | None, events: Sequence[Event]
) -> SignedLog | None:
    """The log held against what was signed; None in a store without keys."""
    return None if guard is None else SignedLog(connection, guard, events)

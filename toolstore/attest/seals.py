"""The map of all versions: one hash over what the log says of each, checked along one path.

A log that is hashed as a chain tells that it was changed only to whoever reads all of it. The map
tells it to whoever loads one version: the seal of a version is a hash over all of its events; the
versions hang in buckets, and these in a tree of sixteen branches a node, of which the root stands
in the signed checkpoint. Leaving out, adding or altering an event of a version, a revocation
above all, gives another root, and a few dozen small rows are enough to see it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, delete, insert, select

from toolstore import tables
from toolstore.attest.errors import AttestationError, Flaw

DEPTH: Final = 3
"""Hexadecimal digits that name a bucket: 4,096 of them, 25 versions each in a store of 100,000."""

_DIGITS: Final = "0123456789abcdef"
_ALL_FROM: Final = 64
"""From this many buckets on, all nodes are read at once."""

EMPTY_ROOT: Final = ""
"""The root of a map without versions."""

_seal = tables.version_seal.c
_node = tables.seal_node.c


def bucket_of(digest: str) -> str:
    """The bucket that a version belongs to."""
    return digest.removeprefix("sha256:")[:DEPTH]


def fold(hashes: Iterable[str], start: str = "") -> str:
    """The seal of a version after the events with these hashes."""
    seal = start
    for each in hashes:
        seal = hashlib.sha256(f"{seal}\n{each}".encode()).hexdigest()
    return seal


class Paths:
    """The part of the tree that leads to some versions, as the tables have it."""

    def __init__(self, connection: Connection, digests: Sequence[str]) -> None:
        buckets = {bucket_of(digest) for digest in digests}
        self.seals: dict[str, dict[str, str]] = defaultdict(dict)
        seals = select(_seal.version, _seal.bucket, _seal.seal)
        nodes = select(_node.prefix, _node.hash)
        seals = seals.where(_seal.bucket.in_(sorted(buckets)))
        if len(buckets) < _ALL_FROM:
            nodes = nodes.where(_node.prefix.in_(sorted(_around(buckets))))
        for version, bucket, seal in connection.execute(seals):
            self.seals[bucket][version] = seal
        self.nodes: dict[str, str] = {row.prefix: row.hash for row in connection.execute(nodes)}

    def seal_of(self, digest: str) -> str | None:
        """The seal of a version, as kept."""
        return self.seals[bucket_of(digest)].get(digest)

    def check(self, digest: str, root: str) -> None:
        """See that the kept seal of a version hangs on `root`.

        Raises:
            AttestationError: it does not.
        """
        bucket = bucket_of(digest)
        found = _bucket_hash(self.seals[bucket])
        for length in range(DEPTH, 0, -1):
            prefix = bucket[:length]
            if self.nodes.get(prefix, "") != found:
                raise _not_signed(digest)
            found = self._parent_hash(prefix[:-1])
        if found != root:
            raise _not_signed(digest)

    def change(self, seals: Mapping[str, str]) -> str:
        """Put new seals of versions in; the root that follows."""
        touched = set()
        for digest, seal in seals.items():
            bucket = bucket_of(digest)
            self.seals[bucket][digest] = seal
            touched.add(bucket)
        return self._rehash(touched)

    def _rehash(self, buckets: set[str]) -> str:
        for bucket in buckets:
            self.nodes[bucket] = _bucket_hash(self.seals[bucket])
        for length in range(DEPTH - 1, 0, -1):
            for prefix in {bucket[:length] for bucket in buckets}:
                self.nodes[prefix] = self._parent_hash(prefix)
        return self._parent_hash("")

    def _parent_hash(self, prefix: str) -> str:
        return _children_hash([self.nodes.get(prefix + digit, "") for digit in _DIGITS])


def root_of(seals: Mapping[str, str]) -> str:
    """The root over the seals of all versions, computed from nothing else."""
    level: dict[str, str] = {}
    buckets: dict[str, dict[str, str]] = defaultdict(dict)
    for digest, seal in seals.items():
        buckets[bucket_of(digest)][digest] = seal
    for bucket, members in buckets.items():
        level[bucket] = _bucket_hash(members)
    for length in range(DEPTH - 1, -1, -1):
        parents = {prefix[:length] for prefix in level if len(prefix) == length + 1}
        for prefix in parents:
            level[prefix] = _children_hash([level.get(prefix + digit, "") for digit in _DIGITS])
    return level.get("", EMPTY_ROOT)


def write(connection: Connection, added: Mapping[str, Sequence[str]], root: str) -> str:
    """Take the hashes of new events of versions in; the new root.

    What is there is held against the signed `root` first: a change behind our back must not
    become ours.

    Raises:
        AttestationError: the kept map is not the one that was signed.
    """
    digests = list(added)
    paths = Paths(connection, digests)
    for digest in digests:
        paths.check(digest, root)
    fresh = {digest: fold(hashes, paths.seal_of(digest) or "") for digest, hashes in added.items()}
    changed = paths.change(fresh)
    buckets = {bucket_of(digest) for digest in digests}
    prefixes = [bucket[:length] for bucket in buckets for length in range(1, DEPTH + 1)]
    connection.execute(delete(tables.version_seal).where(_seal.version.in_(digests)))
    connection.execute(delete(tables.seal_node).where(_node.prefix.in_(prefixes)))
    _insert(connection, fresh, {prefix: paths.nodes[prefix] for prefix in prefixes})
    return changed


def rebuild(connection: Connection, hashes: Mapping[str, Sequence[str]]) -> str:
    """Make the map anew from the hashes of all events of all versions; its root."""
    connection.execute(delete(tables.version_seal))
    connection.execute(delete(tables.seal_node))
    paths = Paths(connection, [])
    seals = {digest: fold(of_version) for digest, of_version in hashes.items()}
    root = paths.change(seals)
    _insert(connection, seals, paths.nodes)
    return root


def _insert(connection: Connection, seals: Mapping[str, str], nodes: Mapping[str, str]) -> None:
    if not seals:
        return
    connection.execute(
        insert(tables.version_seal),
        [
            {"version": digest, "bucket": bucket_of(digest), "seal": seal}
            for digest, seal in seals.items()
        ],
    )
    connection.execute(
        insert(tables.seal_node),
        [{"prefix": prefix, "hash": found} for prefix, found in sorted(nodes.items())],
    )


def _around(buckets: Iterable[str]) -> set[str]:
    """The nodes that are needed to go from the buckets up to the root."""
    return {
        bucket[:length] + digit
        for bucket in buckets
        for length in range(DEPTH)
        for digit in _DIGITS
    }


def _bucket_hash(members: Mapping[str, str]) -> str:
    if not members:
        return ""
    lines = "".join(f"{digest} {seal}\n" for digest, seal in sorted(members.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _children_hash(hashes: Sequence[str]) -> str:
    """No children give what no branch is: so an empty part of the tree has one form only."""
    if not any(hashes):
        return ""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _not_signed(digest: str) -> AttestationError:
    return AttestationError(
        f"what the log says of {digest[:19]}… is not what the last checkpoint signed: an event "
        "of it, or of a version beside it, was changed, added or left out",
        Flaw.LOG,
    )

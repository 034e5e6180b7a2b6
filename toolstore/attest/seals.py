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
from typing import Final, Self

from sqlalchemy import Connection, bindparam, delete, insert, null, select, union_all

from toolstore import tables
from toolstore.attest.errors import AttestationError, Flaw

DEPTH: Final = 3
"""Hexadecimal digits that name a bucket: 4,096 of them, 25 versions each in a store of 100,000."""

_DIGITS: Final = "0123456789abcdef"
_NO_CHILDREN: Final = ("",) * len(_DIGITS)
_ALL_FROM: Final = 64
"""From this many buckets on, all nodes are read at once: a query takes only so many values."""

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


_SEALS: Final = select(_seal.bucket.label("place"), _seal.version, _seal.seal.label("text")).where(
    _seal.bucket.in_(bindparam("buckets", expanding=True))
)
_NODES: Final = select(_node.prefix, null(), _node.children).where(
    _node.prefix.in_(bindparam("prefixes", expanding=True))
)
_PATHS: Final = union_all(_SEALS, _NODES)
"""Buckets and what is above them: the one kind of row names a version, the other does not."""

_ALL_NODES: Final = select(_node.prefix, _node.children)


class Paths:
    """A part of the tree: what leads to some versions as the tables have it, or grown in memory."""

    def __init__(self) -> None:
        self._seals: dict[str, dict[str, str]] = defaultdict(dict)
        self._children: dict[str, list[str]] = {}

    @classmethod
    def read(cls, connection: Connection, digests: Sequence[str]) -> Self:
        """What the tables have about the versions with these digests."""
        paths = cls()
        paths._read(connection, digests)
        return paths

    def _read(self, connection: Connection, digests: Sequence[str]) -> None:
        buckets = sorted({bucket_of(digest) for digest in digests})
        above = _above(buckets) if len(buckets) < _ALL_FROM else [""]
        wanted = {"buckets": buckets, "prefixes": above}
        for place, version, text in connection.execute(_PATHS, wanted):
            if version is None:
                self._children[str(place)] = str(text).split(" ")
            else:  # bytes, which SQLite lets in, become a text that gives another hash
                self._seals[str(place)][str(version)] = str(text)
        if len(buckets) >= _ALL_FROM:
            nodes = connection.execute(_ALL_NODES)
            self._children = {prefix: children.split(" ") for prefix, children in nodes}

    def seal_of(self, digest: str) -> str | None:
        """The seal of a version, as kept."""
        return self._seals[bucket_of(digest)].get(digest)

    def check(self, digest: str, root: str) -> None:
        """See that the kept seal of a version hangs on `root`.

        Raises:
            AttestationError: it does not.
        """
        bucket = bucket_of(digest)
        found = _bucket_hash(self._seals[bucket])
        for length in range(DEPTH - 1, -1, -1):
            children = self._children.get(bucket[:length], _NO_CHILDREN)
            if len(children) != len(_DIGITS) or children[int(bucket[length], 16)] != found:
                raise _not_signed(digest)
            found = _children_hash(children)
        if found != root:
            raise _not_signed(digest)

    def change(self, seals: Mapping[str, str]) -> str:
        """Put new seals of versions in; the root that follows."""
        for digest, seal in seals.items():
            self._seals[bucket_of(digest)][digest] = seal
        level = {
            bucket: _bucket_hash(self._seals[bucket])
            for bucket in {bucket_of(digest) for digest in seals}
        }
        while "" not in level:
            parents = {}
            for prefix, found in level.items():
                children = self._children.setdefault(prefix[:-1], list(_NO_CHILDREN))
                children[int(prefix[-1], 16)] = found
            for prefix in {prefix[:-1] for prefix in level}:
                parents[prefix] = _children_hash(self._children[prefix])
            level = parents or {"": EMPTY_ROOT}
        return level[""]

    def rows(self, prefixes: Iterable[str]) -> list[dict[str, str]]:
        """The rows of nodes."""
        return [
            {"prefix": prefix, "children": " ".join(self._children[prefix])}
            for prefix in sorted(prefixes)
        ]

    @property
    def prefixes(self) -> frozenset[str]:
        """All nodes that there are."""
        return frozenset(self._children)


def write(connection: Connection, added: Mapping[str, Sequence[str]], root: str) -> str:
    """Take the hashes of new events of versions in; the new root.

    What is there is held against the signed `root` first: a change behind our back must not
    become ours.

    Raises:
        AttestationError: the kept map is not the one that was signed.
    """
    digests = list(added)
    paths = Paths.read(connection, digests)
    for digest in digests:
        paths.check(digest, root)
    fresh = {digest: fold(hashes, paths.seal_of(digest) or "") for digest, hashes in added.items()}
    changed = paths.change(fresh)
    prefixes = _above({bucket_of(digest) for digest in digests})
    connection.execute(delete(tables.version_seal).where(_seal.version.in_(digests)))
    connection.execute(delete(tables.seal_node).where(_node.prefix.in_(prefixes)))
    _insert(connection, fresh, paths.rows(prefixes))
    return changed


def root_of(hashes: Mapping[str, Sequence[str]]) -> str:
    """The root that follows from the hashes of all events of all versions."""
    return Paths().change({digest: fold(each) for digest, each in hashes.items()})


def is_whole(connection: Connection, hashes: Mapping[str, Sequence[str]]) -> bool:
    """Whether the kept nodes are those that follow from all events of all versions."""
    paths = Paths()
    paths.change({digest: fold(each) for digest, each in hashes.items()})
    wanted = {row["prefix"]: row["children"] for row in paths.rows(paths.prefixes)}
    return wanted == {row.prefix: row.children for row in connection.execute(_ALL_NODES)}


def rebuild(connection: Connection, hashes: Mapping[str, Sequence[str]]) -> str:
    """Make the map anew from the hashes of all events of all versions; its root."""
    connection.execute(delete(tables.version_seal))
    connection.execute(delete(tables.seal_node))
    paths = Paths()
    seals = {digest: fold(of_version) for digest, of_version in hashes.items()}
    root = paths.change(seals)
    _insert(connection, seals, paths.rows(paths.prefixes))
    return root


def _insert(
    connection: Connection, seals: Mapping[str, str], nodes: Sequence[Mapping[str, str]]
) -> None:
    if not seals:
        return
    rows = [
        {"version": digest, "bucket": bucket_of(digest), "seal": seal}
        for digest, seal in seals.items()
    ]
    connection.execute(insert(tables.version_seal), rows)
    connection.execute(insert(tables.seal_node), nodes)


def _above(buckets: Iterable[str]) -> list[str]:
    """The nodes from the root down to the buckets."""
    return sorted({bucket[:length] for bucket in buckets for length in range(DEPTH)})


def _bucket_hash(members: Mapping[str, str]) -> str:
    if not members:
        return ""
    lines = "".join(f"{digest} {seal}\n" for digest, seal in sorted(members.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _children_hash(children: Sequence[str]) -> str:
    """No children give what no branch is: so an empty part of the tree has one form only."""
    if not any(children):
        return ""
    return hashlib.sha256(" ".join(children).encode()).hexdigest()


def _not_signed(digest: str) -> AttestationError:
    return AttestationError(
        f"what the log says of {digest[:19]}… is not what the last checkpoint signed: an event "
        "of it, or of a version beside it, was changed, added or left out",
        Flaw.LOG,
    )

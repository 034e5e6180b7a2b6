"""Bytes under their sha256: written once, verified on every read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, bindparam, insert, select

from policies.value import sha256_digest
from toolstore import tables
from toolstore.errors import StoreDamagedError

BATCH: Final = 500
"""Values in one `IN (…)`: every database takes this many."""

_HAS: Final = select(tables.blob.c.digest).where(tables.blob.c.digest == bindparam("digest"))


def put_blobs(connection: Connection, contents: Iterable[bytes]) -> None:
    """Keep `contents`; what is there already is verified and not written again.

    Raises:
        StoreDamagedError: other bytes are kept under the digest of one of them.
    """
    wanted = {sha256_digest(content): content for content in contents}
    present = read_blobs(connection, wanted)
    rows = [
        {"digest": digest, "bytes": content}
        for digest, content in wanted.items()
        if digest not in present
    ]
    if rows:
        connection.execute(insert(tables.blob), rows)


def has_blob(connection: Connection, digest: str) -> bool:
    """Whether there are bytes under `digest`, unread."""
    return connection.scalar(_HAS, {"digest": digest}) is not None


def read_blobs(connection: Connection, digests: Iterable[str]) -> dict[str, bytes]:
    """Those of `digests` that the store has, each verified.

    Raises:
        StoreDamagedError: bytes are not what their digest says.
    """
    found = read_raw_blobs(connection, digests)
    for digest, content in found.items():
        if sha256_digest(content) != digest:
            raise StoreDamagedError(f"the bytes kept under {digest} are not what it says")
    return found


def read_raw_blobs(connection: Connection, digests: Iterable[str]) -> dict[str, bytes]:
    """Those of `digests` that the store has, unverified: for a reader that verifies each itself."""
    found: dict[str, bytes] = {}
    wanted = sorted(set(digests))
    for start in range(0, len(wanted), BATCH):
        query = select(tables.blob.c.digest, tables.blob.c.bytes).where(
            tables.blob.c.digest.in_(wanted[start : start + BATCH])
        )
        found.update((digest, as_bytes(content)) for digest, content in connection.execute(query))
    return found


def as_bytes(content: object) -> bytes:
    """What the database gave for bytes; another type, which SQLite lets in, matches no digest."""
    return content if isinstance(content, bytes) else b"no bytes: " + repr(content).encode()

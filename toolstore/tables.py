"""The tables, as every database has them.

`blob`, `tool`, `tool_version`, `evidence` and `event` only grow: triggers forbid the rest.
`version_state`, `channel`, `pin`, `waiver` and `made_in` are derived from `event` and can be
rebuilt from it; `log_head` repeats the last link, so that a log that lost its end is noticed.

Times are ISO 8601 text in UTC: the hash of an event is over the very characters.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)

from toolstore.texts import KeptText, KeyText

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

blob: Final = Table(
    "blob",
    metadata,
    Column("digest", KeptText, primary_key=True),
    Column("bytes", LargeBinary, nullable=False),
)

SORTED: Final = KeyText().with_variant(KeyText(collation="C"), "postgresql")
"""Text that is sorted: by its code points, everywhere, not as a server's country sorts."""

tool: Final = Table(
    "tool",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", SORTED, nullable=False, unique=True),
    Column("skeleton", KeyText, nullable=False, unique=True),
)

tool_version: Final = Table(
    "tool_version",
    metadata,
    Column("digest", KeptText, primary_key=True),
    Column("tool", Integer, ForeignKey("tool.id"), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("parent", KeptText, ForeignKey("tool_version.digest")),
    Column("source", KeptText, ForeignKey("blob.digest"), nullable=False),
    Column("source_schema", KeptText, ForeignKey("blob.digest"), nullable=False),
    Column("image_digest", KeptText, nullable=False),
    Column("level", KeptText, nullable=False),
    Column("description", KeptText, nullable=False),
    Column("author", KeyText, nullable=False),
    Column("origin", KeptText, nullable=False),
    Column("created_at", KeptText, nullable=False),
    UniqueConstraint("tool", "sequence"),
)

evidence: Final = Table(
    "evidence",
    metadata,
    Column("digest", KeptText, ForeignKey("blob.digest"), primary_key=True),
    Column("version", KeptText, ForeignKey("tool_version.digest"), nullable=False, index=True),
)

event: Final = Table(
    "event",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("previous_hash", KeptText, nullable=False, unique=True),
    Column("hash", KeptText, nullable=False, unique=True),
    Column("at", KeptText, nullable=False),
    Column("actor", KeptText, nullable=False),
    Column("type", KeptText, nullable=False),
    Column("version", KeptText, ForeignKey("tool_version.digest"), nullable=False),
    Column("name", KeyText, nullable=False),
    Column("from_state", KeptText),
    Column("to_state", KeptText, nullable=False),
    Column("policy_digest", KeptText),
    Column("reason", KeptText, nullable=False),
    Column("detail", KeptText, nullable=False),
    Index(None, "version", "sequence"),
    Index(None, "name", "sequence"),
)

version_state: Final = Table(
    "version_state",
    metadata,
    Column("version", KeptText, ForeignKey("tool_version.digest"), primary_key=True),
    Column("tool", Integer, ForeignKey("tool.id"), nullable=False),
    Column("state", KeptText, nullable=False, index=True),
    Column("event", Integer, ForeignKey("event.sequence"), nullable=False),
)

log_head: Final = Table(
    "log_head",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="single"), primary_key=True),
    Column("sequence", Integer, nullable=False),
    Column("hash", KeptText, nullable=False),
)

# -- the life-cycle: who gets which version; all of it derived from `event` ---------------------

channel: Final = Table(
    "channel",
    metadata,
    Column("version", KeptText, ForeignKey("tool_version.digest"), primary_key=True),
    Column("tool", Integer, ForeignKey("tool.id"), nullable=False, index=True),
    Column("channel", KeptText, nullable=False),
    Column("weight", Float),
    Column("session", KeptText),
)

ONE_STABLE: Final = Index(
    "uq_channel_stable",
    channel.c.tool,
    unique=True,
    sqlite_where=text("channel = 'stable'"),
    postgresql_where=text("channel = 'stable'"),
)
"""At most one stable version of a name, held by the database itself."""

ONE_CANARY: Final = Index(
    "uq_channel_canary",
    channel.c.tool,
    unique=True,
    sqlite_where=text("channel = 'canary'"),
    postgresql_where=text("channel = 'canary'"),
)
"""At most one canary of a name."""

pin: Final = Table(
    "pin",
    metadata,
    Column("session", KeyText, primary_key=True),
    Column("tool", Integer, ForeignKey("tool.id"), primary_key=True),
    Column("version", KeptText, ForeignKey("tool_version.digest"), nullable=False),
    Column("event", Integer, ForeignKey("event.sequence"), nullable=False),
)

waiver: Final = Table(
    "waiver",
    metadata,
    Column("version", KeptText, ForeignKey("tool_version.digest"), primary_key=True),
    Column("rule", KeyText, primary_key=True),
    Column("principal", KeyText, primary_key=True),
    Column("expires_at", KeptText, nullable=False),
    Column("event", Integer, ForeignKey("event.sequence"), nullable=False),
)

made_in: Final = Table(
    "made_in",
    metadata,
    Column("version", KeptText, ForeignKey("tool_version.digest"), primary_key=True),
    Column("session", KeyText, nullable=False, index=True),
)
"""Which session wrote a version, for quotas."""

Index("ix_tool_version_author", tool_version.c.author)

# Counts, not facts: they are about calls, and what follows from them is an event with its figures.

canary_count: Final = Table(
    "canary_count",
    metadata,
    Column("start", Integer, ForeignKey("event.sequence"), primary_key=True),
    Column("channel", KeptText, primary_key=True),
    Column("succeeded", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
)
"""Calls since a canary began (`start` is that event), of it and of the stable one beside it."""

version_use: Final = Table(
    "version_use",
    metadata,
    Column("version", KeptText, ForeignKey("tool_version.digest"), primary_key=True),
    Column("last_at", KeptText, nullable=False),
)
"""When a version was last called, to the hour: what nobody uses is retired."""

proposal: Final = Table(
    "proposal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("author", KeyText, nullable=False),
    Column("session", KeyText, index=True),
    Column("at", SORTED, nullable=False, index=True),
    Index(None, "author", "at"),
)
"""What was proposed lately (r0006), stored or not, for quotas."""

# Calls, and what finds equal tools (r0004). Calls are observations: they are pruned, and nothing
# is decided from them alone.

call: Final = Table(
    "call",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", KeptText, ForeignKey("tool_version.digest"), nullable=False),
    Column("session", KeptText),
    Column("tenant", KeptText, nullable=False),
    Column("arguments", KeptText, nullable=False),
    Column("result", KeptText),
    Column("outcome", KeptText, nullable=False),
    Column("error_type", KeptText),
    Column("execute_seconds", Float, nullable=False),
    Column("total_seconds", Float, nullable=False),
    Column("memory_bytes", BigInteger),
    Column("at", KeptText, nullable=False),
    Column("body", KeptText, index=True),
    Index(None, "version", "id"),
    Index(None, "at"),
)

call_body: Final = Table(
    "call_body",
    metadata,
    Column("digest", KeptText, primary_key=True),
    Column("bytes", LargeBinary, nullable=False),
)

version_form: Final = Table(
    "version_form",
    metadata,
    Column("version", KeptText, ForeignKey("tool_version.digest"), primary_key=True),
    Column("normal", KeptText, nullable=False, index=True),
    Column("shape", KeptText, nullable=False, index=True),
)

# Signatures (r0002). Envelopes and checkpoints only grow; the map of seals follows from the log.

attestation: Final = Table(
    "attestation",
    metadata,
    Column("digest", KeptText, primary_key=True),
    Column("version", KeptText, ForeignKey("tool_version.digest"), nullable=False, index=True),
    Column("kind", KeptText, nullable=False),
    Column("about", KeptText, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
)
"""DSSE envelopes about a version; which ones there must be stands in the log."""

checkpoint: Final = Table(
    "checkpoint",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sequence", Integer, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
)
"""Where the log stood, signed with each transaction."""

version_seal: Final = Table(
    "version_seal",
    metadata,
    Column("version", KeptText, ForeignKey("tool_version.digest"), primary_key=True),
    Column("bucket", KeptText, nullable=False, index=True),
    Column("seal", KeptText, nullable=False),
)
"""A hash over all events of a version; see `toolstore.attest.seals`."""

seal_node: Final = Table(
    "seal_node",
    metadata,
    Column("prefix", KeptText, primary_key=True),
    Column("children", KeptText, nullable=False),
)

# The search index (r0005), derived from the approved tools; see `toolstore.postings`.

search_document: Final = Table(
    "search_document",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", KeptText, ForeignKey("tool_version.digest"), nullable=False, unique=True),
    Column("name", SORTED, nullable=False),
    Column("length", Integer, nullable=False),
)

search_posting: Final = Table(
    "search_posting",
    metadata,
    Column("term", SORTED, primary_key=True),
    Column("document", Integer, primary_key=True, autoincrement=False),
    Column("count", Integer, nullable=False),
    Column("length", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""How often a term stands in a document; its length again, so that ranking reads nothing else."""

search_term: Final = Table(
    "search_term",
    metadata,
    Column("term", SORTED, primary_key=True),
    Column("documents", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""In how many documents a term stands."""

search_total: Final = Table(
    "search_total",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="single"), primary_key=True),
    Column("documents", Integer, nullable=False),
    Column("length", BigInteger, nullable=False),
)

APPEND_ONLY: Final = (
    "blob",
    "tool",
    "tool_version",
    "evidence",
    "event",
    "attestation",
    "checkpoint",
)

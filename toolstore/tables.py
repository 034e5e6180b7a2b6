"""The tables, as every database has them.

`blob`, `tool`, `tool_version`, `evidence` and `event` only grow: triggers forbid the rest.
`version_state` is derived from `event` and can be rebuilt from it; `log_head` repeats the last
link, so that a log that lost its end is noticed.

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
    Text,
    UniqueConstraint,
    text,
)

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
    Column("digest", Text, primary_key=True),
    Column("bytes", LargeBinary, nullable=False),
)

SORTED: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is sorted: by its code points, everywhere, not as a server's country sorts."""

tool: Final = Table(
    "tool",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", SORTED, nullable=False, unique=True),
    Column("skeleton", Text, nullable=False, unique=True),
)

tool_version: Final = Table(
    "tool_version",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("tool", Integer, ForeignKey("tool.id"), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("parent", Text, ForeignKey("tool_version.digest")),
    Column("source", Text, ForeignKey("blob.digest"), nullable=False),
    Column("source_schema", Text, ForeignKey("blob.digest"), nullable=False),
    Column("image_digest", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("tool", "sequence"),
)

evidence: Final = Table(
    "evidence",
    metadata,
    Column("digest", Text, ForeignKey("blob.digest"), primary_key=True),
    Column("version", Text, ForeignKey("tool_version.digest"), nullable=False, index=True),
)

event: Final = Table(
    "event",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("previous_hash", Text, nullable=False, unique=True),
    Column("hash", Text, nullable=False, unique=True),
    Column("at", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("version", Text, ForeignKey("tool_version.digest"), nullable=False),
    Column("name", Text, nullable=False),
    Column("from_state", Text),
    Column("to_state", Text, nullable=False),
    Column("policy_digest", Text),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index(None, "version", "sequence"),
    Index(None, "name", "sequence"),
)

version_state: Final = Table(
    "version_state",
    metadata,
    Column("version", Text, ForeignKey("tool_version.digest"), primary_key=True),
    Column("tool", Integer, ForeignKey("tool.id"), nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("event", Integer, ForeignKey("event.sequence"), nullable=False),
)

ONE_APPROVED: Final = Index(
    "uq_version_state_approved",
    version_state.c.tool,
    unique=True,
    sqlite_where=text("state = 'approved'"),
    postgresql_where=text("state = 'approved'"),
)
"""At most one approved version of a name, held by the database itself."""

log_head: Final = Table(
    "log_head",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="single"), primary_key=True),
    Column("sequence", Integer, nullable=False),
    Column("hash", Text, nullable=False),
)

# Calls, and what finds equal tools (r0004). Calls are observations: they are pruned, and nothing
# is decided from them alone.

call: Final = Table(
    "call",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", Text, ForeignKey("tool_version.digest"), nullable=False),
    Column("session", Text),
    Column("tenant", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("result", Text),
    Column("outcome", Text, nullable=False),
    Column("error_type", Text),
    Column("execute_seconds", Float, nullable=False),
    Column("total_seconds", Float, nullable=False),
    Column("memory_bytes", BigInteger),
    Column("at", Text, nullable=False),
    Column("body", Text, index=True),
    Index(None, "version", "id"),
    Index(None, "at"),
)

call_body: Final = Table(
    "call_body",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("bytes", LargeBinary, nullable=False),
)

version_form: Final = Table(
    "version_form",
    metadata,
    Column("version", Text, ForeignKey("tool_version.digest"), primary_key=True),
    Column("normal", Text, nullable=False, index=True),
    Column("shape", Text, nullable=False, index=True),
)

APPEND_ONLY: Final = ("blob", "tool", "tool_version", "evidence", "event")

"""The first tables: blobs, tools, versions, evidence, the event log and what derives from it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from toolstore.migrations.triggers import forbid_changes

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = {
    "blob": ("digest",),
    "tool": ("id", "name", "skeleton"),
    "tool_version": ("digest",),
    "evidence": ("digest",),
    "event": ("sequence", "hash", "previous_hash"),
}

SORTED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables, then the triggers that keep them append-only."""
    _content_tables()
    _log_tables()
    for table, keys in APPEND_ONLY.items():
        forbid_changes(table, keys)


def _content_tables() -> None:
    op.create_table(
        "blob",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("bytes", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "tool",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", SORTED, nullable=False, unique=True),
        sa.Column("skeleton", sa.Text, nullable=False, unique=True),
    )
    op.create_table(
        "tool_version",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("tool", sa.Integer, sa.ForeignKey("tool.id"), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("parent", sa.Text, sa.ForeignKey("tool_version.digest")),
        sa.Column("source", sa.Text, sa.ForeignKey("blob.digest"), nullable=False),
        sa.Column("source_schema", sa.Text, sa.ForeignKey("blob.digest"), nullable=False),
        sa.Column("image_digest", sa.Text, nullable=False),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.UniqueConstraint("tool", "sequence"),
    )
    op.create_table(
        "evidence",
        sa.Column("digest", sa.Text, sa.ForeignKey("blob.digest"), primary_key=True),
        sa.Column(
            "version", sa.Text, sa.ForeignKey("tool_version.digest"), nullable=False, index=True
        ),
    )


def _log_tables() -> None:
    op.create_table(
        "event",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("previous_hash", sa.Text, nullable=False, unique=True),
        sa.Column("hash", sa.Text, nullable=False, unique=True),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("version", sa.Text, sa.ForeignKey("tool_version.digest"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("from_state", sa.Text),
        sa.Column("to_state", sa.Text, nullable=False),
        sa.Column("policy_digest", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Index("ix_event_version_sequence", "version", "sequence"),
        sa.Index("ix_event_name_sequence", "name", "sequence"),
    )
    op.create_table(
        "version_state",
        sa.Column("version", sa.Text, sa.ForeignKey("tool_version.digest"), primary_key=True),
        sa.Column("tool", sa.Integer, sa.ForeignKey("tool.id"), nullable=False),
        sa.Column("state", sa.Text, nullable=False, index=True),
        sa.Column("event", sa.Integer, sa.ForeignKey("event.sequence"), nullable=False),
    )
    approved = sa.text("state = 'approved'")
    op.create_index(
        "uq_version_state_approved",
        "version_state",
        ["tool"],
        unique=True,
        sqlite_where=approved,
        postgresql_where=approved,
    )
    op.create_table(
        "log_head",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="single"), primary_key=True),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )

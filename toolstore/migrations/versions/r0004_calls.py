"""Calls, and what finds equal tools.

None of it is append-only: calls are pruned, and what a version looks like follows from it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables of recorded calls, of their bodies, and of the forms of versions."""
    op.create_table(
        "call",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("version", sa.Text, sa.ForeignKey("tool_version.digest"), nullable=False),
        sa.Column("session", sa.Text),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("result", sa.Text),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("error_type", sa.Text),
        sa.Column("execute_seconds", sa.Float, nullable=False),
        sa.Column("total_seconds", sa.Float, nullable=False),
        sa.Column("memory_bytes", sa.BigInteger),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("body", sa.Text, index=True),
        sa.Index("ix_call_version_id", "version", "id"),
        sa.Index("ix_call_at", "at"),
    )
    op.create_table(
        "call_body",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("bytes", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "version_form",
        sa.Column("version", sa.Text, sa.ForeignKey("tool_version.digest"), primary_key=True),
        sa.Column("normal", sa.Text, nullable=False, index=True),
        sa.Column("shape", sa.Text, nullable=False, index=True),
    )

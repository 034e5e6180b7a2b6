"""Proposals of tools, counted for all processes of a store together."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SORTED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add their table. They are counts and are forgotten, so it is not append-only."""
    op.create_table(
        "proposal",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("session", sa.Text, index=True),
        sa.Column("at", SORTED, nullable=False, index=True),
        sa.Index("ix_proposal_author_at", "author", "at"),
    )

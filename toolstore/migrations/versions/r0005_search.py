"""The search index; it is filled from the approved tools when the tables are there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SORTED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the tables of the index. All of it is derived, so none is append-only."""
    op.create_table(
        "search_document",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column(
            "version", sa.Text, sa.ForeignKey("tool_version.digest"), nullable=False, unique=True
        ),
        sa.Column("name", SORTED, nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
    )
    op.create_table(
        "search_posting",
        sa.Column("term", SORTED, primary_key=True),
        sa.Column("document", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "search_term",
        sa.Column("term", SORTED, primary_key=True),
        sa.Column("documents", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "search_total",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="single"), primary_key=True),
        sa.Column("documents", sa.Integer, nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
    )

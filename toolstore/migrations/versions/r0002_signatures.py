"""Signatures of what the store keeps, and the map of what the log says of each version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from toolstore.migrations.triggers import forbid_changes

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables. What is there already stays unsigned until a person has it signed."""
    op.create_table(
        "attestation",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column(
            "version", sa.Text, sa.ForeignKey("tool_version.digest"), nullable=False, index=True
        ),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "checkpoint",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "version_seal",
        sa.Column("version", sa.Text, sa.ForeignKey("tool_version.digest"), primary_key=True),
        sa.Column("bucket", sa.Text, nullable=False, index=True),
        sa.Column("seal", sa.Text, nullable=False),
    )
    op.create_table(
        "seal_node",
        sa.Column("prefix", sa.Text, primary_key=True),
        sa.Column("children", sa.Text, nullable=False),
    )
    forbid_changes("attestation", ("digest",))
    forbid_changes("checkpoint", ("number",))

"""Channels, pins and waivers, as derived from the log."""

from __future__ import annotations

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what this revision is about."""

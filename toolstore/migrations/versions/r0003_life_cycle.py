"""Channels, pins and waivers, as derived from the log; counts of calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; what is approved by now is stable."""
    _channels()
    _derived_tables()
    _counts()
    op.create_index("ix_tool_version_author", "tool_version", ["author"])
    _fill()


def _channels() -> None:
    op.create_table(
        "channel",
        sa.Column("version", sa.Text, sa.ForeignKey("tool_version.digest"), primary_key=True),
        sa.Column("tool", sa.Integer, sa.ForeignKey("tool.id"), nullable=False, index=True),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("weight", sa.Float),
        sa.Column("session", sa.Text),
    )
    for channel in ("stable", "canary"):
        only = sa.text(f"channel = '{channel}'")
        op.create_index(
            f"uq_channel_{channel}",
            "channel",
            ["tool"],
            unique=True,
            sqlite_where=only,
            postgresql_where=only,
        )
    op.drop_index("uq_version_state_approved", "version_state")


def _derived_tables() -> None:
    op.create_table(
        "pin",
        sa.Column("session", sa.Text, primary_key=True),
        sa.Column("tool", sa.Integer, sa.ForeignKey("tool.id"), primary_key=True),
        sa.Column("version", sa.Text, sa.ForeignKey("tool_version.digest"), nullable=False),
        sa.Column("event", sa.Integer, sa.ForeignKey("event.sequence"), nullable=False),
    )
    op.create_table(
        "waiver",
        sa.Column("version", sa.Text, sa.ForeignKey("tool_version.digest"), primary_key=True),
        sa.Column("rule", sa.Text, primary_key=True),
        sa.Column("principal", sa.Text, primary_key=True),
        sa.Column("expires_at", sa.Text, nullable=False),
        sa.Column("event", sa.Integer, sa.ForeignKey("event.sequence"), nullable=False),
    )
    op.create_table(
        "made_in",
        sa.Column("version", sa.Text, sa.ForeignKey("tool_version.digest"), primary_key=True),
        sa.Column("session", sa.Text, nullable=False, index=True),
    )


def _counts() -> None:
    op.create_table(
        "canary_count",
        sa.Column("start", sa.Integer, sa.ForeignKey("event.sequence"), primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("succeeded", sa.Integer, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
    )
    op.create_table(
        "version_use",
        sa.Column("version", sa.Text, sa.ForeignKey("tool_version.digest"), primary_key=True),
        sa.Column("last_at", sa.Text, nullable=False),
    )


def _fill() -> None:
    op.execute(
        "INSERT INTO channel (version, tool, channel) "
        "SELECT version, tool, 'stable' FROM version_state WHERE state = 'approved'"
    )
    # The first event says which session wrote a version; all databases read JSON, each its way.
    in_birth = (
        "(CAST(detail AS json) -> 'birth' -> 'provenance' ->> 'session')"
        if op.get_bind().dialect.name == "postgresql"
        else "json_extract(detail, '$.birth.provenance.session')"
    )
    op.execute(
        f"INSERT INTO made_in (version, session) SELECT version, {in_birth} FROM event "  # noqa: S608 - one of the two above
        f"WHERE type = 'submitted' AND {in_birth} IS NOT NULL"
    )

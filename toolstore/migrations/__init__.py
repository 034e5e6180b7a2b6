"""Brings the tables of an older store to the present ones."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

FOLDER: Final = Path(__file__).parent

SEARCH_REVISION: Final = "0005"
"""It brings the search index, which older stores have to be read for."""

_ONE_AT_A_TIME: Final = Lock()
"""Alembic keeps the migration that is running in globals: two threads would mix theirs up."""


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration, for the migrations in this folder."""
    config = Config()
    # The configuration reads % as the start of a placeholder.
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def steps(revisions: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Each of `revisions` with the first line of what it does."""
    scripts = ScriptDirectory.from_config(configuration())
    return tuple(
        (revision, (scripts.get_revision(revision).doc or "").partition("\n")[0])
        for revision in revisions
    )


def upgrade(connection: Connection) -> None:
    """Run what is missing, inside the transaction that `connection` is in."""
    # It queries the present tables, so it is for when all of them are there.
    from toolstore.searching import rebuild  # noqa: PLC0415 - the migrations know no queries

    with _ONE_AT_A_TIME:
        before = set(MigrationContext.configure(connection).get_current_heads())
        command.upgrade(configuration(connection), "head")
    if before and max(before) < SEARCH_REVISION:
        rebuild(connection)

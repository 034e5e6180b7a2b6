"""Somebody who changes what a store is made of, and no row of it: the audit says what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from toolstore.index import database_at, structure_problems

FUNCTION = "CREATE OR REPLACE FUNCTION toolstore_append_only()"
HOLLOW = "BEGIN SELECT 1; END"
ON_SQLITE = {
    "a trigger that does nothing": (
        "DROP TRIGGER event_no_delete",
        f"CREATE TRIGGER event_no_delete BEFORE delete ON event {HOLLOW}",
    ),
    "a trigger more": (f"CREATE TRIGGER more AFTER INSERT ON event {HOLLOW}",),
    "a trigger less": ("DROP TRIGGER blob_no_update",),
    "an index less": ("DROP INDEX uq_channel_stable",),
    "an index of less": (
        "DROP INDEX uq_channel_stable",
        "CREATE UNIQUE INDEX uq_channel_stable ON channel (tool) WHERE channel = 'other'",
    ),
    "a view in the place of a table": (
        "ALTER TABLE pin RENAME TO pins",
        "CREATE VIEW pin AS SELECT * FROM pins WHERE session <> 's'",
    ),
    "a table more": ("CREATE TABLE more (id INTEGER)",),
    "a table less": ("DROP TABLE proposal",),
    "a column more": ("ALTER TABLE waiver ADD COLUMN more TEXT",),
    "a table without its rules": (
        "DROP TABLE log_head",
        "CREATE TABLE log_head (id INTEGER, sequence INTEGER, hash TEXT)",
    ),
}
ON_POSTGRESQL = {
    "a trigger that sleeps": ("ALTER TABLE event DISABLE TRIGGER event_append_only",),
    "a trigger that replicas skip": ("ALTER TABLE event ENABLE TRIGGER event_append_only",),
    "a trigger less": ("DROP TRIGGER blob_append_only ON blob",),
    "a function that does nothing": (
        f"{FUNCTION} RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$",
    ),
    "an index less": ("DROP INDEX uq_channel_stable",),
    "an index of less": (
        "DROP INDEX uq_channel_stable",
        "CREATE UNIQUE INDEX uq_channel_stable ON channel (tool) WHERE channel = 'other'",
    ),
    "a view in the place of a table": (
        "ALTER TABLE pin RENAME TO pins",
        "CREATE VIEW pin AS SELECT * FROM pins WHERE session <> 's'",
    ),
    "a table that a crash empties": ("ALTER TABLE checkpoint SET UNLOGGED",),
    "a table that hides rows": (
        "ALTER TABLE event ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY hidden ON event USING (type <> 'revoked')",
    ),
    "a rule more": ("CREATE RULE quiet AS ON DELETE TO event DO INSTEAD NOTHING",),
    "a reference less": ("ALTER TABLE pin DROP CONSTRAINT fk_pin_version",),
    "a uniqueness less": ("ALTER TABLE event DROP CONSTRAINT uq_event_hash",),
    "a need less": ("ALTER TABLE event ALTER COLUMN reason DROP NOT NULL",),
    "a table more": ("CREATE TABLE more (id INTEGER)",),
}


@pytest.fixture(params=["folder", pytest.param("postgresql", marks=pytest.mark.heavy)])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    """To a store of each kind; what is done with it is undone."""
    is_folder = request.param == "folder"
    database = database_at(tmp_path if is_folder else request.getfixturevalue("postgres_url"))
    database.prepare()
    with database.connect(writes=True) as opened:
        yield opened
        opened.rollback()


def test_a_changed_structure_is_named(connection: Connection) -> None:
    attacks = ON_SQLITE if connection.dialect.name == "sqlite" else ON_POSTGRESQL
    assert structure_problems(connection) == []

    unnoticed = []
    for name, statements in attacks.items():
        with connection.begin_nested() as point:
            for statement in statements:
                connection.execute(text(statement))
            if not structure_problems(connection):
                unnoticed.append(name)
            point.rollback()

    assert unnoticed == []

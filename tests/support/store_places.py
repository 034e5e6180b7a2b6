"""Where a store can be: in a folder, and in a database on a real PostgreSQL server."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest

from toolstore.files import DATABASE_NAME


class Place(Protocol):
    """One store's place, with a hand that goes past the store."""

    @property
    def location(self) -> Path | str:
        """What `ToolStore.open` is given."""
        ...

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement as anybody with the rights could, the triggers in force."""
        ...

    def tamper(self, statement: str) -> None:
        """Run one statement with triggers and references out of force; they come back after."""
        ...


@dataclass(frozen=True)
class FolderPlace:
    """SQLite."""

    location: Path

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(self._connect()) as connection:
            return connection.execute(statement).fetchall()

    def tamper(self, statement: str) -> None:
        with closing(self._connect()) as connection:
            triggers = connection.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
            ).fetchall()
            for name, _ in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            connection.execute(statement)
            for _, sql in triggers:
                connection.execute(sql)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.location / DATABASE_NAME, isolation_level=None)


@dataclass(frozen=True)
class ServerPlace:
    """PostgreSQL."""

    location: str

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.location, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def tamper(self, statement: str) -> None:
        with psycopg.connect(self.location) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname='public'")
            names = [row[0] for row in tables]
            for name in names:  # those of references too, which needs a superuser
                connection.execute(f"ALTER TABLE {name} DISABLE TRIGGER ALL".encode())
            connection.execute(statement.encode())
            for name in names:
                connection.execute(f"ALTER TABLE {name} ENABLE TRIGGER ALL".encode())
                ours = f"{name}_append_only"
                found = connection.execute("SELECT 1 FROM pg_trigger WHERE tgname = %s", [ours])
                if found.fetchone():
                    connection.execute(f"ALTER TABLE {name} ENABLE ALWAYS TRIGGER {ours}".encode())


@pytest.fixture(params=["folder", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place with a store without tools, or where opening makes one quickly; of each kind."""
    if request.param == "folder":
        return FolderPlace(tmp_path / "tools")
    return ServerPlace(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=["folder", "postgresql"])
def empty_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place without a store, of each kind."""
    if request.param == "folder":
        return FolderPlace(tmp_path / "tools")
    return ServerPlace(request.getfixturevalue("empty_url"))

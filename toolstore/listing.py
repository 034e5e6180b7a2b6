"""The quick look at a store: one line a version, with nothing imported but the driver.

Not verified: good for showing, never for calling.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from contextlib import closing
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from policies.permissions import LintLevel
from toolstore import files
from toolstore.errors import StoreDamagedError, StoreUnusableError
from toolstore.layout import HEAD_REVISION, as_text, database_revision
from toolstore.models import Lifecycle, Origin, Place, ToolSummary

_QUERY: Final = """
    SELECT tool.name, v.sequence, v.digest, s.state, v.level,
           v.description, v.origin, v.author, v.created_at,
           c.channel, c.weight, c.session
    FROM tool_version AS v
    JOIN tool ON tool.id = v.tool
    JOIN version_state AS s ON s.version = v.digest
    LEFT JOIN channel AS c ON c.version = v.digest
    WHERE s.state IN ({states})
    ORDER BY tool.name, v.sequence
"""


def summaries_sync(
    location: Path | str, states: Collection[Lifecycle] | None = None
) -> tuple[ToolSummary, ...] | None:
    """What `ToolStore.summaries` says, without a thread, an event loop or SQLAlchemy.

    Returns:
        None where the store is on a server, is missing, or is not of the present revision:
        `ToolStore.open` makes it or brings it up to date.

    Raises:
        StoreUnusableError: the folder cannot be used.
        StoreDamagedError: the file is a link, no database, or another program's.
    """
    wanted = sorted(state.value for state in (Lifecycle if states is None else states))
    if isinstance(location, str) or not location.is_dir():
        return None
    files.check_folder(location)
    database = files.check_files(location)
    if not database.exists():
        return None
    query = _QUERY.format(states=", ".join("?" * len(wanted)))
    try:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.text_factory = as_text
            if database_revision(connection, database) != HEAD_REVISION:
                return None
            return summaries_of(connection.execute(query, wanted))
    except sqlite3.OperationalError as error:
        raise StoreUnusableError(str(database), str(error), advice="Retry.") from error
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise StoreDamagedError(f"{database} does not answer as a store must ({error})") from error


def _place(channel: str, weight: float | None, session: str | None) -> Place:
    return Place.model_validate({"channel": channel, "weight": weight, "session": session})


def summaries_of(rows: Iterable[Any]) -> tuple[ToolSummary, ...]:
    """Summaries from rows of (name, sequence, digest, state, level, description, origin, …).

    Built without validation: ten thousand of them are one screen to somebody who waits. A version
    that is described as none can be is left out, so that the others are shown; the audit names it.
    """
    states = {state.value: state for state in Lifecycle}
    levels = {level.value: level for level in LintLevel}
    origins = {origin.value: origin for origin in Origin}
    places = cache(_place)

    def summary_of(row: Any) -> ToolSummary | None:
        name, sequence, digest, state, level, description, origin, author, created_at = row[:9]
        channel, weight, session = row[9:]
        if {*map(type, (name, digest, description, author))} != {str} or type(sequence) is not int:
            return None  # SQLite keeps any type in any column
        try:
            return ToolSummary.model_construct(
                name=name,
                sequence=sequence,
                digest=digest,
                state=states[state],
                level=levels[level],
                description=description,
                origin=origins[origin],
                author=author,
                created_at=datetime.fromisoformat(created_at),
                place=None if channel is None else places(channel, weight, session),
            )
        except (KeyError, TypeError, ValueError):
            return None

    return tuple(each for each in map(summary_of, rows) if each is not None)

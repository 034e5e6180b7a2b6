"""What the store needs of a database: the Protocol that each kind fulfils in a module of its own.

The tables, the queries and the chain are the same on all of them. What differs: how the database
is opened and made safe, how its transactions begin, what its errors mean, and what it can say
about its own structure.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final, Protocol

from sqlalchemy import Connection

BUSY_SECONDS: Final = 30.0
"""How long a writer waits for the others, unless told otherwise."""


class HeadReader(Protocol):
    """Asks for the end of the log over and over, on a connection of its own."""

    def last(self) -> int:
        """Sequence of the last event, as committed at this moment; 0 for none."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Database(Protocol):
    """One store's database."""

    @property
    def where(self) -> str:
        """The place, as it may be shown: never with a password."""
        ...

    @property
    def busy_seconds(self) -> float:
        """How long a writer waits for the others."""
        ...

    def prepare(self) -> None:
        """Make the store where it is missing, and refuse what is no store of this program.

        Raises:
            StoreUnusableError: it cannot be used, or a later program made it.
            StoreDamagedError: it is not a store, or not one any more.
            StoreBusyError: another process kept the lock.
        """
        ...

    def pending(self) -> tuple[str, ...]:
        """The revisions that its tables lack, oldest first; all of them where it is empty.

        Raises:
            StoreUnusableError: it cannot be used, or a later program made it.
            StoreDamagedError: it is not a store.
        """
        ...

    def migrate(self) -> None:
        """Bring the tables to the present revision, in one transaction.

        Raises:
            StoreUnusableError: it cannot be used, or a later program made it.
            StoreDamagedError: it is not a store.
            StoreBusyError: another process kept the lock.
        """
        ...

    def connect(self, *, writes: bool) -> Connection:
        """A connection for one thread at a time.

        A transaction that `writes` sees what all earlier ones wrote, and no other writes beside
        it; one that does not sees one state of the store from its first query to its last, and
        cannot write.
        """
        ...

    def after_bulk(self, connection: Connection) -> None:
        """Have generated keys go on behind rows that were put in with theirs."""
        ...

    def head_reader(self) -> HeadReader:
        """A reader of the end of the log; connects when it is first asked."""
        ...

    def translated_errors(self) -> AbstractContextManager[None]:
        """Turns the database's errors into the store's."""
        ...

"""Counts calls: what came of canaries and of the stable versions beside them, and who is used.

A call is never held up by it for long, and never fails by it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final

from policies.outcomes import Outcome
from policies.sequential import CanarySettings
from policies.validation import validate
from sandbox.base import ExecutionResult
from toolstore.errors import ToolStoreError
from toolstore.models import ToolVersion
from toolstore.store import ToolStore

ACTOR: Final = "toolkiln"
"""Who takes a canary out when its calls say so."""

USE_SECONDS: Final = 3_600.0
"""So rarely a process tells the store that it uses a version."""


class CallCounts:
    """Hears of the calls of one process."""

    def __init__(self, store: ToolStore, settings: CanarySettings) -> None:
        self._store = store
        self._settings = settings
        self._told: dict[str, float] = {}
        self._notes: set[asyncio.Task[None]] = set()

    async def count(self, version: ToolVersion, result: ExecutionResult) -> None:
        """Count a call beside a running canary, if it says anything about the version."""
        succeeded = says_of(version, result)
        if succeeded is None:
            return
        with suppress(ToolStoreError):  # a call that is not counted is missed, not wrong
            await self._store.lifecycle.count_call(
                version.name, version.digest, self._settings, actor=ACTOR, succeeded=succeeded
            )

    def note_use(self, digest: str) -> None:
        """Tell the store that a version is used, now and then; returns at once."""
        now = time.monotonic()
        if now - self._told.get(digest, -USE_SECONDS) < USE_SECONDS:
            return
        self._told[digest] = now
        task = asyncio.create_task(self._tell(digest), name="note the use of a tool")
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def close(self) -> None:
        """Finish what was begun."""
        await asyncio.gather(*self._notes)

    async def _tell(self, digest: str) -> None:
        with suppress(ToolStoreError):
            await self._store.lifecycle.note_use(digest, actor=ACTOR)


def says_of(version: ToolVersion, result: ExecutionResult) -> bool | None:
    """Whether a call says that the version works; None where it says nothing.

    An exception that the docstring or an example declares is an answer to the caller: neither
    good nor bad.
    """
    match result.outcome:
        case Outcome.RETURNED:
            return not validate(result.value, version.source_schema.returns)
        case Outcome.RAISED:
            examples = {example.raises for example in version.source.examples}
            declared = examples.union(version.source_schema.raises)
            return None if result.error_type in declared else False
        case _:
            return False

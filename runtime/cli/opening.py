"""The store alone, for commands that run nothing; and references as people write them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from runtime.errors import UsageError
from runtime.storekeys import open_signed_store
from toolstore.errors import ToolStoreError
from toolstore.models import ToolRef, ToolVersion

if TYPE_CHECKING:
    from runtime.settings import Settings
    from toolstore.store import ToolStore


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[ToolStore]:
    """The store under the home, closed when the block ends."""
    async with await open_signed_store(settings) as store:
        yield store


def parse_ref(text: str) -> ToolRef:
    """A reference to a version.

    Raises:
        UsageError: `text` is none.
    """
    try:
        return ToolRef.parse(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


async def version_before(store: ToolStore, version: ToolVersion) -> ToolVersion | None:
    """The version that `version` came to replace; None if there is none that can be shown."""
    if version.parent is None:
        return None
    try:
        return await store.find(ToolRef(name=version.name, digest=version.parent))
    except ToolStoreError:
        return None

"""Which version a reviewer means."""

from __future__ import annotations

from runtime.errors import UsageError
from toolstore.models import Lifecycle, ToolRef, ToolVersion
from toolstore.store import ToolStore


async def find_version(store: ToolStore, text: str) -> ToolVersion:
    """The version of a reference or a whole digest; a bare NAME is the one of it that waits.

    Raises:
        ToolNotFoundError: There is no such version.
        UsageError: Several wait under that name, or it is no reference.
        StoreDamagedError: It is not what was put in.
    """
    if text.startswith("sha256:"):
        return await store.version(text)
    try:
        ref = ToolRef.parse(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if ref.sequence is not None or ref.digest is not None:
        return await store.find(ref)
    waiting = await store.summaries((Lifecycle.QUARANTINED,), names=(ref.name,))
    if len(waiting) > 1:
        several = ", ".join(f"{each.name}@{each.sequence}" for each in waiting)
        raise UsageError(f"several versions wait for review; say which: {several}")
    return await store.version(waiting[0].digest) if waiting else await store.find(ref)

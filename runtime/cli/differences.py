"""`toolkiln tools diff`: the two versions that are meant."""

from __future__ import annotations

from policies.access import Action
from runtime.cli.diffview import Differences
from runtime.cli.opening import open_store, parse_ref, version_before
from runtime.cli.permission import require
from runtime.errors import UsageError
from runtime.settings import Settings
from sandbox.packages import list_package_images
from toolstore.models import ToolVersion


async def find_differences(settings: Settings, ref: str, other: str | None) -> Differences:
    """`ref` against `other`, or the version that `ref` came to replace against `ref`.

    Raises:
        UsageError: there is no version before it.
    """
    async with open_store(settings) as store:
        first = await store.find(parse_ref(ref))
        if other is not None:
            before, after = first, await store.find(parse_ref(other))
        else:
            earlier = await version_before(store, first)
            if earlier is None:
                raise UsageError(f"{first.ref} has no version before it; name two to compare")
            before, after = earlier, first
    require(settings, Action.READ_SOURCE, before, after)
    return Differences(before, after, [await _packages(settings, each) for each in (before, after)])


async def _packages(settings: Settings, version: ToolVersion) -> tuple[str, ...]:
    """What the lock of its image has; nothing where this home did not make the image."""
    if not version.source.permissions.packages:
        return ()
    images = await list_package_images(settings.home / "sandbox")
    found = (image for image in images if image.digest == version.image_digest)
    return next((image.lock.pins for image in found), ())

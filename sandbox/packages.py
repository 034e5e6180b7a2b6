"""Images with packages: the guest image and one layer above it, one image a set of packages.

A set is locked once: every wheel of it by file and hash. The same lock gives the same layer, and
with the same guest image the same image, whose digest is what a version of a tool is proven in.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from policies.config import PackageSettings
from policies.packages import (
    RequirementError,
    constraints,
    granted_requirements,
    versions_outside,
)
from sandbox.engine import Engine, EngineError, ImageInUseError
from sandbox.errors import PackagesRefusedError, PackagesUnavailableError
from sandbox.images import engine_reference, ensure_image
from sandbox.interpreter import InterpreterError
from sandbox.locks import PackageLock, choose_wheels
from sandbox.packagelayer import build_packages
from sandbox.packagerecords import PackageChoice, PackageImage, PackageRecords

__all__ = [
    "PackageImage",
    "PackageImages",
    "collect_garbage",
    "ensure_packages",
    "list_package_images",
]

_BELIEVED_SECONDS: Final = 10.0
"""So long the engine is not asked again whether it has an image; others may remove images."""


class PackageImages:
    """The images with packages of one sandbox, under one policy.

    What was made ready once costs nothing the second time, and what an earlier process made ready
    only a question to the engine.
    """

    def __init__(
        self,
        engine: Engine,
        state_dir: Path,
        settings: PackageSettings,
        *,
        base: str,
        progress: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._records = _records(state_dir)
        self._settings = settings
        self._base = base
        self._progress = progress
        self._chosen: dict[tuple[str, ...], PackageImage] = {}
        self._made: dict[str, PackageImage] = {}
        self._seen: dict[str, float] = {}
        """When the engine was last seen to have an image, by its digest."""

    async def image_for(self, packages: Sequence[str], *, wanted: str | None = None) -> str:
        """Digest of the image for a tool that declares `packages`, as the policy grants them.

        `wanted` is the image that a version was proven in: it is taken if it can be had, also
        where newer versions of the packages have been chosen since. Who wants exactly that one
        has to compare.

        Raises:
            PackagesRefusedError: The policy does not grant them, or no such set can be made.
            PackagesUnavailableError: The installer, its index or the engine failed.
        """
        if wanted is not None and await self.restore(wanted) is not None:
            return wanted
        return (await self.ensure(self.granted(packages))).digest

    def granted(self, packages: Sequence[str]) -> tuple[str, ...]:
        """What is to be installed for a tool that declares `packages`.

        Raises:
            PackagesRefusedError: The policy does not grant them.
        """
        try:
            return granted_requirements(packages, self._settings)
        except RequirementError as error:
            raise PackagesRefusedError(packages, str(error)) from error

    async def ensure(self, requirements: Sequence[str], *, fresh: bool = False) -> PackageImage:
        """The image with `requirements`, which the engine has when this returns.

        Args:
            requirements: As `granted` gives them.
            fresh: Choose versions anew, instead of those that were chosen before.

        Raises:
            PackagesRefusedError: No such set can be made.
            PackagesUnavailableError: The installer, its index or the engine failed.
        """
        wanted = tuple(requirements)
        image = None if fresh else self._chosen.get(wanted)
        with self._failures_told(wanted):
            if image is None or not await self._is_there(image):
                image = None if fresh else await self._chosen_before(wanted)
                image = image or await self._choose(wanted, fresh=fresh)
                self._chosen[wanted] = image
        return image

    async def restore(self, digest: str) -> PackageImage | None:
        """The image of that digest, made again of its lock if the engine has lost it.

        None where this home never made it, or made it above another guest image.

        Raises:
            PackagesRefusedError: The policy leaves out a version that is in it, or the index no
                longer has the locked files.
            PackagesUnavailableError: The installer, its index or the engine failed.
        """
        known = self._made.get(digest) or await self._recorded(digest)
        if known is None or known.base != self._base:
            return None
        self._made[digest] = known
        self._check(known.lock)
        with self._failures_told(known.requirements):
            if not await self._is_there(known):
                async with self._records.only_builder():
                    known = await self._make(known.lock, known.requirements)
        # Another one is made where the host's own libraries have changed since.
        return known if known.digest == digest else None

    async def _recorded(self, digest: str) -> PackageImage | None:
        images = await asyncio.to_thread(self._records.images)
        return next((image for image in images if image.digest == digest), None)

    async def _chosen_before(self, wanted: tuple[str, ...]) -> PackageImage | None:
        """The image that was chosen for `wanted` before, if all of it is as it was."""
        choice = await self._choice(wanted)
        if choice is None:
            return None
        image = await asyncio.to_thread(self._records.image, choice.lock, self._base)
        return image if image is not None and await self._is_there(image) else None

    async def _choice(self, wanted: tuple[str, ...]) -> PackageChoice | None:
        choice = await asyncio.to_thread(self._records.choice, wanted, self._settings.index)
        if choice is None or versions_outside(self._settings, choice.lock.versions):
            return None
        return choice

    async def _choose(self, wanted: tuple[str, ...], *, fresh: bool) -> PackageImage:
        async with self._records.only_builder():
            found = None if fresh else await self._chosen_before(wanted)  # by who held the lock
            if found is not None:
                return found
            choice = None if fresh else await self._choice(wanted)
            if choice is None:
                choice = PackageChoice(requirements=wanted, lock=await self._lock(wanted))
            image = await self._make(choice.lock, wanted)
            await asyncio.to_thread(self._records.keep_choice, choice, self._settings.index)
            return image

    async def _lock(self, wanted: tuple[str, ...]) -> PackageLock:
        self._progress(f"choosing versions of {', '.join(wanted)}")
        with self._work_folder() as folder:
            lock = await choose_wheels(
                wanted,
                constraints(self._settings),
                index=self._settings.index,
                folder=folder,
            )
        self._check(lock)
        return lock

    def _check(self, lock: PackageLock) -> None:
        outside = versions_outside(self._settings, lock.versions)
        if outside:
            raise PackagesRefusedError(
                lock.pins, f"the policy's packages.allow leaves out {', '.join(outside)}"
            )

    async def _make(self, lock: PackageLock, wanted: tuple[str, ...]) -> PackageImage:
        """The image of `lock`, made and loaded if the engine has none; by the only builder."""
        known = await asyncio.to_thread(self._records.image, lock, self._base)
        if known is not None and await self._is_there(known):
            return known
        with self._work_folder() as folder:
            built = await build_packages(
                self._engine, self._base, lock, self._settings, folder, self._progress
            )
            image = PackageImage(
                digest=built.image.digest,
                base=self._base,
                layers=built.layers,
                lock=lock,
                requirements=wanted,
                modules=built.modules,
                unpacked_bytes=built.unpacked_bytes,
            )
            if not await self._is_there(image):
                self._progress("loading the packages into the engine")
                await self._engine.load_image(built.archive)
        if not await self._is_there(image):
            raise EngineError(f"the engine took the archive, but has no image {image.digest}")
        await asyncio.to_thread(self._records.keep_image, image)
        return image

    async def _is_there(self, image: PackageImage) -> bool:
        now = time.monotonic()
        if now - self._seen.get(image.digest, -_BELIEVED_SECONDS) < _BELIEVED_SECONDS:
            return True
        reference = await engine_reference(self._engine, image.digest)
        found = await self._engine.find_image(reference) if reference else None
        there = found is not None and found.layers == image.layers
        if there:
            self._seen[image.digest] = now
        return there

    @contextlib.contextmanager
    def _work_folder(self) -> Iterator[Path]:
        records = self._records
        with tempfile.TemporaryDirectory(dir=records.folder, prefix=records.work_prefix) as name:
            yield Path(name)

    @contextlib.contextmanager
    def _failures_told(self, wanted: Sequence[str]) -> Iterator[None]:
        try:
            yield
        except (EngineError, InterpreterError, OSError) as error:
            raise PackagesUnavailableError(
                wanted, str(error), "`toolkiln doctor` says what is missing"
            ) from error


async def ensure_packages(  # noqa: PLR0913  the parts of `PackageImages`, for one use
    engine: Engine,
    state_dir: Path,
    packages: Sequence[str],
    settings: PackageSettings,
    progress: Callable[[str], None],
    *,
    fresh: bool = False,
) -> PackageImage:
    """The image for `packages`, above the guest image of this interpreter.

    Raises:
        ImageError: There is no guest image.
        PackagesRefusedError: They are not granted, or no such set can be made.
        PackagesUnavailableError: The installer, its index or the engine failed.
    """
    base = await ensure_image(engine, state_dir, progress=progress)
    images = PackageImages(engine, state_dir, settings, base=base, progress=progress)
    return await images.ensure(images.granted(packages), fresh=fresh)


async def list_package_images(state_dir: Path) -> tuple[PackageImage, ...]:
    """Every image with packages that this home has made, by requirements."""
    images = await asyncio.to_thread(_records(state_dir).images)
    return tuple(sorted(images, key=lambda image: (image.requirements, image.digest)))


async def collect_garbage(
    engine: Engine, state_dir: Path, keep: Collection[str]
) -> tuple[PackageImage, ...]:
    """Remove the images whose digests are not in `keep`, with their locks; gives those removed.

    An image that a container is using stays.

    Raises:
        EngineError: The engine failed.
    """
    records = _records(state_dir)
    if not records.folder.is_dir():
        return ()
    removed: list[PackageImage] = []
    async with records.only_builder():
        for image in await asyncio.to_thread(records.images):
            if image.digest not in keep and await _remove(engine, image):
                await asyncio.to_thread(records.forget_image, image)
                removed.append(image)
        await asyncio.to_thread(records.tidy)
    return tuple(removed)


async def _remove(engine: Engine, image: PackageImage) -> bool:
    """Whether the engine has it no more."""
    reference = await engine_reference(engine, image.digest)
    if reference is None:
        return True
    try:
        await engine.remove_image(reference)
    except ImageInUseError:
        return False
    return True


def _records(state_dir: Path) -> PackageRecords:
    return PackageRecords(state_dir / "packages")

"""Images with packages: the guest image and one layer above it, one image a set of packages.

A set is locked once: every wheel of it by file and hash. The same lock gives the same layer, and
with the same guest image the same image, whose digest is what a version of a tool is proven in.
State is kept in `packages` under the sandbox's folder: which lock a set of requirements has, and
for each lock and guest image the image that was made of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from policies.config import PackageSettings
from policies.packages import (
    RequirementError,
    constraints,
    granted_requirements,
    versions_outside,
)
from policies.value import Value, canonical_json, sha256_digest
from sandbox.engine import Engine, EngineError, ImageInUseError
from sandbox.errors import PackagesRefusedError, PackagesUnavailableError
from sandbox.images import engine_reference, ensure_image
from sandbox.interpreter import InterpreterError
from sandbox.locks import PackageLock, choose_wheels, guest_platform
from sandbox.packagelayer import build_packages
from sandbox.statefiles import only_holder, write_atomically

__all__ = [
    "PackageImage",
    "PackageImages",
    "collect_garbage",
    "ensure_packages",
    "list_package_images",
]

_FORMAT: Final = 1
"""Raise it when the way of building changes what is in a layer."""

_IMAGES: Final = "image-*.json"
_CHOICES: Final = "choice-*.json"


class PackageImage(Value):
    """An image with a set of packages, and what is in it."""

    digest: str
    """Identity of the image: what programs name as theirs, and what evidence pins."""

    base: str
    """Digest of the guest image that it stands on."""

    layers: tuple[str, ...]
    """The guest image's layer, and the one with the packages."""

    lock: PackageLock
    requirements: tuple[str, ...]
    """What it was first made for."""

    modules: tuple[str, ...]
    """Top-level names that can be imported."""

    unpacked_bytes: int


class _Choice(Value):
    """Which lock a set of requirements has."""

    requirements: tuple[str, ...]
    lock: PackageLock


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
        self._folder = state_dir / "packages"
        self._settings = settings
        self._base = base
        self._progress = progress
        self._ready: dict[tuple[str, ...], PackageImage] = {}
        self._restored: dict[str, PackageImage] = {}

    async def image_for(self, packages: Sequence[str], *, wanted: str | None = None) -> str:
        """Digest of the image for a tool that declares `packages`, as the policy grants them.

        `wanted` is the image that a version was proven in: it is taken if it can be had, also
        where newer versions of the packages have been chosen since. Who wants exactly that one
        has to compare.

        Raises:
            PackagesRefusedError: The policy does not grant them, or no such set can be made.
            PackagesUnavailableError: The installer, its index or the engine failed.
        """
        try:
            requirements = granted_requirements(packages, self._settings)
        except RequirementError as error:
            raise PackagesRefusedError(packages, str(error)) from error
        if wanted is not None and await self.restore(wanted) is not None:
            return wanted
        return (await self.ensure(requirements)).digest

    async def ensure(self, requirements: Sequence[str], *, fresh: bool = False) -> PackageImage:
        """The image with `requirements`, which the engine has when this returns.

        Args:
            requirements: As `policies.packages.granted_requirements` gives them.
            fresh: Choose versions anew, instead of those that were chosen before.

        Raises:
            PackagesRefusedError: No such set can be made.
            PackagesUnavailableError: The installer, its index or the engine failed.
        """
        wanted = tuple(requirements)
        if fresh or wanted not in self._ready:
            with self._failures_told(wanted):
                found = None if fresh else await self._chosen_before(wanted)
                self._ready[wanted] = found or await self._choose(wanted, fresh=fresh)
        return self._ready[wanted]

    async def restore(self, digest: str) -> PackageImage | None:
        """The image of that digest, made again of its lock if the engine has lost it.

        None where this home never made it, or made it above another guest image.

        Raises:
            PackagesRefusedError: The policy leaves out a version that is in it, or the index no
                longer has the locked files.
            PackagesUnavailableError: The installer, its index or the engine failed.
        """
        if digest in self._restored:
            return self._restored[digest]
        images = await asyncio.to_thread(_read_images, self._folder)
        known = next((image for image in images if image.digest == digest), None)
        if known is None or known.base != self._base:
            return None
        self._check(known.lock)
        with self._failures_told(known.requirements):
            if not await _holds(self._engine, known):
                async with self._only_builder():
                    known = await self._make(known.lock, known.requirements)
        if known.digest != digest:  # the host's own libraries have changed since
            return None
        self._restored[digest] = known
        return known

    def forget(self) -> None:
        """Ask the engine anew for everything, since it may have lost what it had."""
        self._ready.clear()
        self._restored.clear()

    async def _chosen_before(self, wanted: tuple[str, ...]) -> PackageImage | None:
        """The image that was chosen for `wanted` before, if all of it is as it was."""
        choice = await asyncio.to_thread(_read_choice, self._choice_path(wanted))
        if choice is None or versions_outside(self._settings, choice.lock.versions):
            return None
        image = await asyncio.to_thread(_read_image, self._image_path(choice.lock))
        return image if image is not None and await _holds(self._engine, image) else None

    async def _choose(self, wanted: tuple[str, ...], *, fresh: bool) -> PackageImage:
        async with self._only_builder():
            found = None if fresh else await self._chosen_before(wanted)  # by who held the lock
            if found is not None:
                return found
            path = self._choice_path(wanted)
            choice = None if fresh else await asyncio.to_thread(_read_choice, path)
            if choice is None or versions_outside(self._settings, choice.lock.versions):
                choice = _Choice(requirements=wanted, lock=await self._lock(wanted))
            image = await self._make(choice.lock, wanted)
            await asyncio.to_thread(write_atomically, path, choice.model_dump_json().encode())
            return image

    async def _lock(self, wanted: tuple[str, ...]) -> PackageLock:
        self._progress(f"choosing versions of {', '.join(wanted)}")
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="choosing-") as folder:
            lock = await choose_wheels(
                wanted,
                constraints(self._settings),
                index=self._settings.index,
                folder=Path(folder),
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
        path = self._image_path(lock)
        known = await asyncio.to_thread(_read_image, path)
        if known is not None and await _holds(self._engine, known):
            return known
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="building-") as folder:
            built = await build_packages(
                self._engine, self._base, lock, self._settings, Path(folder), self._progress
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
            if not await _holds(self._engine, image):
                self._progress("loading the packages into the engine")
                await self._engine.load_image(built.archive)
        if not await _holds(self._engine, image):
            raise EngineError(f"the engine took the archive, but has no image {image.digest}")
        await asyncio.to_thread(write_atomically, path, image.model_dump_json().encode())
        return image

    @contextlib.asynccontextmanager
    async def _only_builder(self) -> AsyncIterator[None]:
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        async with only_holder(self._folder / "build.lock"):
            yield

    @contextlib.contextmanager
    def _failures_told(self, wanted: Sequence[str]) -> Iterator[None]:
        try:
            yield
        except (EngineError, InterpreterError, OSError) as error:
            raise PackagesUnavailableError(
                wanted, str(error), "`toolkiln doctor` says what is missing"
            ) from error

    def _choice_path(self, wanted: tuple[str, ...]) -> Path:
        key = sha256_digest(
            canonical_json([str(_FORMAT), guest_platform(), self._settings.index, *wanted])
        )
        return self._folder / _CHOICES.replace("*", _short(key))

    def _image_path(self, lock: PackageLock) -> Path:
        key = sha256_digest(canonical_json([str(_FORMAT), self._base, lock.digest]))
        return self._folder / _IMAGES.replace("*", _short(key))


async def ensure_packages(  # noqa: PLR0913  the parts of `PackageImages`, for one use
    engine: Engine,
    state_dir: Path,
    requirements: Sequence[str],
    settings: PackageSettings,
    progress: Callable[[str], None],
    *,
    fresh: bool = False,
) -> PackageImage:
    """The image with `requirements`, above the guest image of this interpreter.

    Raises:
        ImageError: There is no guest image.
        PackagesRefusedError: No such set can be made.
        PackagesUnavailableError: The installer, its index or the engine failed.
    """
    base = await ensure_image(engine, state_dir, progress=progress)
    images = PackageImages(engine, state_dir, settings, base=base, progress=progress)
    return await images.ensure(requirements, fresh=fresh)


async def list_package_images(state_dir: Path) -> tuple[PackageImage, ...]:
    """Every image with packages that this home has made, by requirements."""
    images = await asyncio.to_thread(_read_images, state_dir / "packages")
    return tuple(sorted(images, key=lambda image: (image.requirements, image.digest)))


async def collect_garbage(
    engine: Engine, state_dir: Path, keep: Collection[str]
) -> tuple[PackageImage, ...]:
    """Remove the images whose digests are not in `keep`, with their locks; gives those removed.

    An image that a container is using stays.

    Raises:
        EngineError: The engine failed.
    """
    folder = state_dir / "packages"
    removed: list[PackageImage] = []
    if not await asyncio.to_thread(folder.is_dir):
        return ()
    async with only_holder(folder / "build.lock"):
        for path in await asyncio.to_thread(lambda: sorted(folder.glob(_IMAGES))):
            image = await asyncio.to_thread(_read_image, path)
            if image is not None and image.digest in keep:
                continue
            if image is None or await _remove(engine, image):
                await asyncio.to_thread(path.unlink, missing_ok=True)
                removed += [] if image is None else [image]
        kept = {image.lock.digest for image in await asyncio.to_thread(_read_images, folder)}
        for path in await asyncio.to_thread(lambda: sorted(folder.glob(_CHOICES))):
            choice = await asyncio.to_thread(_read_choice, path)
            if choice is None or choice.lock.digest not in kept:
                await asyncio.to_thread(path.unlink, missing_ok=True)
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


async def _holds(engine: Engine, image: PackageImage) -> bool:
    reference = await engine_reference(engine, image.digest)
    found = await engine.find_image(reference) if reference else None
    return found is not None and found.layers == image.layers


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:32]


def _read_choice(path: Path) -> _Choice | None:
    try:
        return _Choice.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _read_image(path: Path) -> PackageImage | None:
    try:
        return PackageImage.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _read_images(folder: Path) -> tuple[PackageImage, ...]:
    found = (_read_image(path) for path in sorted(folder.glob(_IMAGES)))
    return tuple(image for image in found if image is not None)

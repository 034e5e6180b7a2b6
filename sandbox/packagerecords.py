"""What a home knows of packages: which lock a set of requirements has, and the images made.

Records are JSON files, written whole or not at all. One that cannot be read is no record: what it
was about is then chosen or made anew.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from policies.value import Value, canonical_json, sha256_digest
from sandbox.locks import PackageLock, guest_platform
from sandbox.statefiles import only_holder, write_atomically

__all__ = ["PackageChoice", "PackageImage", "PackageRecords"]

_FORMAT: Final = 1
"""Raise it when the way of building changes what is in a layer."""

_IMAGES: Final = "image-*.json"
_CHOICES: Final = "choice-*.json"
_WORK: Final = "work-"
"""Folders of builders; what a killed one left goes when the next begins."""


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


class PackageChoice(Value):
    """Which lock a set of requirements has."""

    requirements: tuple[str, ...]
    lock: PackageLock


class PackageRecords:
    """The records in one folder; every method but `only_builder` is blocking."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.asynccontextmanager
    async def only_builder(self) -> AsyncIterator[None]:
        """Be the one process that chooses, builds or removes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        async with only_holder(self.folder / "build.lock"):
            for left in self.folder.glob(f"{_WORK}*"):
                shutil.rmtree(left, ignore_errors=True)
            yield

    @property
    def work_prefix(self) -> str:
        """How the name of a builder's folder begins."""
        return _WORK

    def choice(self, requirements: tuple[str, ...], index: str) -> PackageChoice | None:
        """What was chosen for `requirements`, from that index."""
        return _read_choice(self._choice_path(requirements, index))

    def keep_choice(self, choice: PackageChoice, index: str) -> None:
        """Remember it, instead of an earlier one for the same requirements."""
        path = self._choice_path(choice.requirements, index)
        write_atomically(path, choice.model_dump_json().encode())

    def image(self, lock: PackageLock, base: str) -> PackageImage | None:
        """What was made of `lock` above the image `base`."""
        return _read_image(self._image_path(lock, base))

    def keep_image(self, image: PackageImage) -> None:
        """Remember it."""
        path = self._image_path(image.lock, image.base)
        write_atomically(path, image.model_dump_json().encode())

    def images(self) -> tuple[PackageImage, ...]:
        """All that were made."""
        found = (_read_image(path) for path in sorted(self.folder.glob(_IMAGES)))
        return tuple(image for image in found if image is not None)

    def forget_image(self, image: PackageImage) -> None:
        """Remember it no more."""
        self._image_path(image.lock, image.base).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what cannot be read, and choices of which no image is left."""
        kept = {image.lock.digest for image in self.images()}
        for path in self.folder.glob(_IMAGES):
            if _read_image(path) is None:
                path.unlink(missing_ok=True)
        for path in self.folder.glob(_CHOICES):
            choice = _read_choice(path)
            if choice is None or choice.lock.digest not in kept:
                path.unlink(missing_ok=True)

    def _choice_path(self, requirements: tuple[str, ...], index: str) -> Path:
        key = canonical_json([str(_FORMAT), guest_platform(), index, *requirements])
        return self._path(_CHOICES, key)

    def _image_path(self, lock: PackageLock, base: str) -> Path:
        return self._path(_IMAGES, canonical_json([str(_FORMAT), base, lock.digest]))

    def _path(self, pattern: str, key: bytes) -> Path:
        return self.folder / pattern.replace("*", sha256_digest(key).removeprefix("sha256:")[:32])


def _read_choice(path: Path) -> PackageChoice | None:
    try:
        return PackageChoice.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _read_image(path: Path) -> PackageImage | None:
    try:
        return PackageImage.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None

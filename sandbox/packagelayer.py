"""The layer of one set of packages, and the image that has it above the guest image."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from policies.config import PackageSettings
from sandbox.archive import BaseLayer, BuiltImage, take_layer, write_image
from sandbox.compiler import bytecode_path, compile_files
from sandbox.engine import Engine, EngineError
from sandbox.errors import PackagesRefusedError
from sandbox.images import engine_reference
from sandbox.interpreter import GuestFile, architecture, package_support_files
from sandbox.locks import PackageLock, fetch_wheels
from sandbox.wheels import Unpacked, unpack_wheels

__all__ = ["BuiltPackages", "build_packages"]

_SHOWN_WHEELS: Final = 6


@dataclass(frozen=True)
class BuiltPackages:
    """An archive for the engine, and what is in it."""

    archive: Path
    image: BuiltImage
    layers: tuple[str, ...]
    modules: tuple[str, ...]
    """Top-level names that can be imported."""

    unpacked_bytes: int


async def build_packages(  # noqa: PLR0913, PLR0917  what it is made of, from where, and where to
    engine: Engine,
    base: str,
    lock: PackageLock,
    settings: PackageSettings,
    folder: Path,
    progress: Callable[[str], None],
) -> BuiltPackages:
    """Fetch the wheels of `lock` and write an image with them, above the image `base`.

    Raises:
        PackagesRefusedError: The index has other files, or one is hostile, or all are too large.
        PackagesUnavailableError: The installer or its index is not there.
        EngineError: The engine does not give its guest image.
        InterpreterError: This interpreter has no image to be made of it.
        OSError: A file cannot be read or written.
    """
    progress(f"fetching {_told(lock)}")
    wheels = await fetch_wheels(lock, index=settings.index, folder=folder)
    progress("unpacking and compiling the packages")
    unpacked = await asyncio.to_thread(
        unpack_wheels, lock, wheels, folder / "unpacked", ceiling_bytes=settings.layer_bytes
    )
    below = await _base_layer(engine, base, folder)
    archive = folder / "image.tar"
    image = await asyncio.to_thread(_write, lock, unpacked, below, archive)
    return BuiltPackages(
        archive=archive,
        image=image,
        layers=(below.digest, image.layer),
        modules=tuple(sorted(unpacked.modules)),
        unpacked_bytes=unpacked.size_bytes,
    )


def _told(lock: PackageLock) -> str:
    names = [f"{name} {version}" for name, version in lock.versions.items()]
    more = len(names) - _SHOWN_WHEELS
    shown = ", ".join(names[:_SHOWN_WHEELS])
    return f"{shown} and {more} more" if more > 0 else shown


async def _base_layer(engine: Engine, base: str, folder: Path) -> BaseLayer:
    """The guest image's layer, as the engine has it: its archives are to be whole."""
    reference = await engine_reference(engine, base)
    image = await engine.find_image(reference) if reference else None
    if reference is None or image is None:
        raise EngineError(f"the engine has no guest image {base}")
    saved = folder / "base-image.tar"
    await engine.save_image(reference, saved)
    (layer,) = image.layers
    taken = await asyncio.to_thread(take_layer, saved, layer, folder / "base.tar")
    saved.unlink()
    if taken is None:
        raise EngineError(f"what the engine saves of its image {base} has no layer {layer}")
    return taken


def _write(lock: PackageLock, unpacked: Unpacked, below: BaseLayer, archive: Path) -> BuiltImage:
    folder = archive.parent / "bytecode"
    folder.mkdir()
    support = package_support_files()
    files = (*unpacked.files, *support)
    try:
        own = _compile(support, folder / "support", strangers=False)
        theirs = _compile(unpacked.files, folder / "packages", strangers=True)
    except subprocess.SubprocessError as error:
        raise PackagesRefusedError(lock.pins, str(error)) from error
    return write_image(archive, (*files, *own, *theirs), architecture=architecture(), above=below)


def _compile(
    files: tuple[GuestFile, ...] | list[GuestFile], folder: Path, *, strangers: bool
) -> tuple[GuestFile, ...]:
    folder.mkdir()
    sources = [file for file in files if file.target.suffix == ".py"]
    targets = [bytecode_path(file.target) for file in sources]
    return compile_files(sources, targets, folder, strangers=strangers)

"""The guest image: made of our own interpreter, named by its digest, checked before use."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from pydantic import ValidationError

from policies.value import Value, canonical_json, sha256_digest
from sandbox.archive import BuiltImage, image_tag, write_image
from sandbox.compiler import bytecode_path, compile_files
from sandbox.engine import Engine, EngineError
from sandbox.errors import ImageError
from sandbox.hardening import HARNESS_PACKAGE, HARNESS_PATH
from sandbox.interpreter import GuestFile, InterpreterError, architecture, guest_files
from sandbox.statefiles import only_holder, write_atomically

__all__ = ["build_image", "engine_reference", "ensure_image", "harness_files"]

_FORMAT: Final = 2
"""Raise it when the way of building changes what is in an image."""

_GUEST: Final = Path(__file__).parent / "guest"
_ENTRY: Final = "__main__.py"
_NOT_IN_IMAGE: Final = frozenset({"probe.py"})
"""Guest programs that are sent as a tool is."""


class _Record(Value):
    """What was built, of which files of the host."""

    key: str
    digest: str
    layer: str
    files: tuple[str, ...]
    fingerprint: str
    """Over path, size and time of change of `files`."""


async def ensure_image(engine: Engine, state_dir: Path, *, progress: Callable[[str], None]) -> str:
    """The digest of the guest image, which the engine has when this returns.

    Built once for an interpreter: `state_dir` remembers the digest, and the engine is asked for
    exactly that. `progress` hears a sentence before each step that takes seconds.

    Raises:
        ImageError: It cannot be built of this interpreter, or the engine did not take it.
    """
    try:
        await asyncio.to_thread(state_dir.mkdir, parents=True, exist_ok=True)
        async with only_holder(state_dir / "guest-image.lock"):
            return await _ensure(engine, state_dir, progress)
    except (EngineError, InterpreterError, OSError, subprocess.SubprocessError) as error:
        raise ImageError(f"the guest image is not there: {error}", engine=engine.url) from error


async def _ensure(engine: Engine, state_dir: Path, progress: Callable[[str], None]) -> str:
    path = state_dir / f"guest-image-{_key()[:16]}.json"
    record = await asyncio.to_thread(_read_record, path)
    if record is not None and await _holds(engine, record.digest, record.layer):
        return record.digest
    with tempfile.TemporaryDirectory(dir=state_dir, prefix="guest-image-") as folder:
        archive = Path(folder, "image.tar")
        progress("building the guest image from this Python (once for an interpreter)")
        built, new_record = await asyncio.to_thread(_build, archive)
        if not await _holds(engine, built.digest, built.layer):
            progress("loading the guest image into the engine")
            await engine.load_image(archive)
        if not await _holds(engine, built.digest, built.layer):
            raise EngineError(f"the engine took the archive, but has no image {built.digest}")
    await asyncio.to_thread(write_atomically, path, new_record.model_dump_json().encode())
    return built.digest


async def engine_reference(engine: Engine, digest: str) -> str | None:
    """What the engine calls the image of that digest; None where it has none.

    Most engines name an image by the digest of its configuration, as we do; those that name it
    by its manifest know it by the tag that was loaded with it.
    """
    for name in (digest, image_tag(digest)):
        image = await engine.find_image(name)
        if image is not None:
            return image.reference
    return None


async def _holds(engine: Engine, digest: str, layer: str) -> bool:
    reference = await engine_reference(engine, digest)
    image = await engine.find_image(reference) if reference else None
    return image is not None and image.layers == (layer,)


def _key() -> str:
    """Of everything about the build that is not a file of the interpreter."""
    parts = (str(_FORMAT), sys.version, sys.base_prefix, architecture())
    harness = (hashlib.sha256(file.source.read_bytes()).hexdigest() for file in harness_files())
    return hashlib.sha256("\0".join((*parts, *harness)).encode()).hexdigest()


def _read_record(path: Path) -> _Record | None:
    """What was built before, if every file that it was built of is as it was."""
    try:
        record = _Record.model_validate_json(path.read_bytes())
        current = record.key == _key() and record.fingerprint == _fingerprint(record.files)
    except (OSError, ValidationError):
        return None
    return record if current else None


def _fingerprint(files: Iterable[str]) -> str:
    def line(name: str) -> list[str | int]:
        status = Path(name).stat()
        return [name, status.st_size, status.st_mtime_ns]

    return sha256_digest(canonical_json([[*line(name)] for name in files]))


def _build(archive: Path) -> tuple[BuiltImage, _Record]:
    files = guest_files()
    sources = tuple(str(file.source) for file in files)
    fingerprint = _fingerprint(sources)  # before reading: a later change is then noticed
    built = build_image(archive, files)
    record = _Record(
        key=_key(),
        digest=built.digest,
        layer=built.layer,
        files=sources,
        fingerprint=fingerprint,
    )
    return built, record


def build_image(archive: Path, files: Sequence[GuestFile]) -> BuiltImage:
    """Write an image of an interpreter's `files` and the harness to `archive`; blocking.

    Raises:
        OSError: A file cannot be read or written.
        SubprocessError: A source does not compile.
    """
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="bytecode-") as folder:
        compiled = _compile(files, Path(folder))
        return write_image(archive, (*files, *compiled), architecture=architecture())


def _compile(files: Sequence[GuestFile], folder: Path) -> tuple[GuestFile, ...]:
    """Bytecode of all sources and of the harness."""
    sources = [*(file for file in files if file.target.suffix == ".py"), *harness_files()]
    return compile_files(sources, [_bytecode_path(file) for file in sources], folder)


def harness_files() -> tuple[GuestFile, ...]:
    """The program inside the container: where its sources are, and where they seem to be there."""
    folder = PurePosixPath(HARNESS_PATH)
    sources = (file for file in _GUEST.glob("*.py") if file.name not in _NOT_IN_IMAGE)
    return tuple(
        GuestFile(file, (folder if file.name == _ENTRY else folder / HARNESS_PACKAGE) / file.name)
        for file in sorted(sources)
    )


def _bytecode_path(file: GuestFile) -> PurePosixPath:
    if PurePosixPath(HARNESS_PATH) in file.target.parents:  # of the harness no source goes along
        return file.target.with_suffix(".pyc")
    return bytecode_path(file.target)

"""Wheels become files of an image: unpacked, never installed, and nothing of them is run.

A wheel is an archive that somebody else wrote. It can only bring plain files under the one
folder where the guest looks for packages; whatever else it tries refuses the whole set.
"""

from __future__ import annotations

import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from sandbox.errors import PackagesRefusedError
from sandbox.hardening import PACKAGES_PATH
from sandbox.interpreter import GuestFile
from sandbox.locks import PackageLock

__all__ = ["Unpacked", "unpack_wheels"]

_MOST_FILES: Final = 50_000
_MOST_PARTS: Final = 40
_PART_CHARACTERS: Final = 200
_PATH_CHARACTERS: Final = 1_000
_ENCRYPTED: Final = 0x1
_DATA_FOLDERS: Final = frozenset({"purelib", "platlib"})
"""Of a wheel's `.data` folder: those that land among the modules. Scripts, headers and other
data have no place in a guest."""

_DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    ValueError,
)
_NOT_TAKEN: Final = frozenset({"RECORD", "RECORD.jws", "RECORD.p7s", "direct_url.json"})


@dataclass
class Unpacked:
    """What came out of the wheels of a set."""

    files: list[GuestFile] = field(default_factory=list)
    size_bytes: int = 0
    modules: set[str] = field(default_factory=set)
    """Top-level names that can be imported."""


@dataclass(frozen=True)
class _Budget:
    """What is left of the ceiling."""

    lock: PackageLock
    ceiling_bytes: int

    def check(self, unpacked: Unpacked, added: int) -> None:
        if unpacked.size_bytes + added > self.ceiling_bytes:
            raise self.refuse(
                f"they unpack to more than the {self.ceiling_bytes / 2**20:.0f} MiB that the "
                "policy gives one set (packages.layer_bytes)"
            )
        if len(unpacked.files) >= _MOST_FILES:
            raise self.refuse(f"they have more than {_MOST_FILES} files")

    def refuse(self, reason: str) -> PackagesRefusedError:
        return PackagesRefusedError(self.lock.pins, reason)


def unpack_wheels(
    lock: PackageLock, wheels: Sequence[Path], folder: Path, *, ceiling_bytes: int
) -> Unpacked:
    """Unpack `wheels`, the files of `lock`, into `folder`; blocking.

    Left out are scripts, headers, `.pth` files, which would run code at every start, and folders
    called `tests`, which are up to half of a package.

    Raises:
        PackagesRefusedError: One is damaged, hostile, in conflict with another, or the set is
            larger than `ceiling_bytes`.
    """
    budget = _Budget(lock, ceiling_bytes)
    unpacked = Unpacked()
    places = _Places()
    for number, path in enumerate(wheels):
        own = folder / str(number)
        try:
            with zipfile.ZipFile(path) as archive:
                for entry, target in _entries(archive, path.name, budget):
                    places.claim(target, own / target)
                    _unpack(archive, entry, own / target, own, unpacked=unpacked, budget=budget)
                    places.check(target, own / target)
                    unpacked.files.append(_guest_file(entry, own / target, target))
        except _DAMAGED as error:
            raise budget.refuse(f"the wheel {path.name} is damaged: {error}") from error
        except _ConflictError as error:
            raise budget.refuse(
                f"the wheel {path.name} and another one, or itself, both have {str(error)!r:.200}"
            ) from error
    unpacked.modules.update(_modules(places.files))
    unpacked.files.sort(key=lambda file: file.target)
    return unpacked


class _ConflictError(Exception):
    """Two files, or a file and a folder, want one place."""


class _Places:
    """Where the files of all wheels go; two may have one place only with the same bytes."""

    def __init__(self) -> None:
        self.files: dict[PurePosixPath, Path] = {}
        self._folders: set[PurePosixPath] = set()

    def claim(self, target: PurePosixPath, path: Path) -> None:
        if target in self._folders or any(parent in self.files for parent in target.parents):
            raise _ConflictError(target)
        if self.files.setdefault(target, path) is not path and path.exists():
            raise _ConflictError(target)
        self._folders.update(target.parents)

    def check(self, target: PurePosixPath, path: Path) -> None:
        first = self.files[target]
        if first is not path and first.read_bytes() != path.read_bytes():
            raise _ConflictError(target)


def _entries(
    archive: zipfile.ZipFile, wheel: str, budget: _Budget
) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """The files of a wheel that a guest gets, with where they go."""
    seen: set[str] = set()
    for entry in archive.infolist():
        problem = _problem(entry)
        if problem is None and entry.filename in seen:
            problem = "is in it twice"
        if problem is not None:
            raise budget.refuse(f"in the wheel {wheel}, {entry.filename!r:.120} {problem}")
        seen.add(entry.filename)
        target = None if entry.is_dir() else _target(PurePosixPath(entry.filename))
        if target is not None:
            yield entry, target


def _problem(entry: zipfile.ZipInfo) -> str | None:
    name = entry.filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    parts = name.removesuffix("/").split("/")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if any(part in ("", ".", "..") for part in parts) or "\\" in name:
        return "leads out of its folder"
    if not name.isprintable() or len(name) > _PATH_CHARACTERS or len(parts) > _MOST_PARTS:
        return "is no name for a file"
    if any(len(part.encode()) > _PART_CHARACTERS for part in parts):
        return "is no name for a file"
    return None


def _target(path: PurePosixPath) -> PurePosixPath | None:
    """Where a file of a wheel goes below the folder of packages; None for what is left out."""
    top, *rest = path.parts
    if top.endswith(".data") and len(rest) > 1:
        if rest[0] not in _DATA_FOLDERS:
            return None
        path = PurePosixPath(*rest[1:])
    if len(path.parts) == 1 and path.suffix == ".pth":
        return None
    if "tests" in path.parts[:-1] or "__pycache__" in path.parts:
        return None
    if path.parent.name.endswith(".dist-info") and path.name in _NOT_TAKEN:
        return None
    return path


def _unpack(  # noqa: PLR0913  what, where to, and what is left of the ceilings
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    path: Path,
    folder: Path,
    *,
    unpacked: Unpacked,
    budget: _Budget,
) -> None:
    if not path.resolve().is_relative_to(folder.resolve()):  # no name may come so far
        raise budget.refuse(f"{entry.filename!r:.120} leads out of its folder")
    budget.check(unpacked, entry.file_size)  # what the archive gives is never more than it says
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, path.open("xb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
    unpacked.size_bytes += path.stat().st_size


def _guest_file(entry: zipfile.ZipInfo, path: Path, target: PurePosixPath) -> GuestFile:
    executable = bool(entry.external_attr >> 16 & stat.S_IXUSR)
    return GuestFile(path, PurePosixPath(PACKAGES_PATH) / target, executable=executable)


def _modules(targets: Iterable[PurePosixPath]) -> Iterator[str]:
    for target in targets:
        name = target.parts[0] if len(target.parts) > 1 else target.name.partition(".")[0]
        if target.suffix in (".py", ".so") and name.isidentifier():
            yield name

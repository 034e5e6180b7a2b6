"""The interpreter that runs us, as the files that a guest image needs of it.

The binary, the standard library without what a guest has no use for, and the shared libraries
that they link to. Works for a distribution's Python, one built from source and a standalone
one, in a virtual environment or not: everything is asked of the interpreter itself.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import sysconfig
import zoneinfo
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from sandbox.hardening import INTERPRETER_PATH

__all__ = [
    "PRIVATE_PATH",
    "GuestFile",
    "InterpreterError",
    "architecture",
    "guest_files",
    "standard_library",
]

PRIVATE_PATH: Final = PurePosixPath("/opt/private")
"""Folder of the guest that only user 0 may enter: what the fork server needs, and no tool."""

_ARCHITECTURES: Final = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_LDD_SECONDS: Final = 60

_LEFT_OUT_FOLDERS: Final = frozenset(
    {
        "__pycache__",
        "ctypes",
        "curses",
        "dist-packages",
        "distutils",
        "ensurepip",
        "idlelib",
        "idle_test",
        "lib2to3",
        "pydoc_data",
        "site-packages",
        "test",
        "tests",
        "tkinter",
        "turtledemo",
        "venv",
    }
)
_LEFT_OUT_FILES: Final = frozenset({"sitecustomize.py", "turtle.py", "usercustomize.py"})
_LEFT_OUT_EXTENSIONS: Final = re.compile(
    r"_(ctypes|curses|dbm|gdbm|socket_test|test|tkinter|xxtest|xxsub|crypt)"
    r"|xx|nis\.|ossaudiodev|readline|spwd"
)
_UNWINDER: Final = "libgcc_s.so.1"
"""Loaded by name when a thread is ended."""

_CTYPES: Final = re.compile(r"_ctypes\.")
_PLATFORM_LIBRARIES: Final = (
    *("libatomic.so.1", "libdl.so.2", "libexpat.so.1", "libm.so.6", "libnsl.so.1"),
    *("libpthread.so.0", "libresolv.so.2", "librt.so.1", "libstdc++.so.6", "libutil.so.1"),
    "libz.so.1",
)
_LDD_LINE: Final = re.compile(r"\t(?P<name>\S+)(?: => (?P<path>\S.*?))?(?: \(0x[0-9a-f]+\))?")


class InterpreterError(Exception):
    """The interpreter that runs us cannot be made into an image."""


@dataclass(frozen=True)
class GuestFile:
    """A file of the host and where the guest finds it."""

    source: Path
    target: PurePosixPath
    executable: bool = False


def architecture() -> str:
    """The processor's architecture, in the engine's spelling.

    Raises:
        InterpreterError: It is not one that guests run on, or the host is not Linux.
    """
    machine = platform.machine().lower()
    if sys.platform != "linux" or machine not in _ARCHITECTURES:
        raise InterpreterError(
            f"a guest image is made of the interpreter of a Linux host on x86-64 or arm64; "
            f"this one is {sys.platform} on {machine}"
        )
    return _ARCHITECTURES[machine]


def standard_library() -> PurePosixPath:
    """Where the guest has the standard library."""
    root = PurePosixPath(INTERPRETER_PATH).parent.parent
    return root / sys.platlibdir / Path(sysconfig.get_path("stdlib")).name


def guest_files() -> tuple[GuestFile, ...]:
    """Everything of the interpreter that a guest gets, sorted by where it goes.

    Raises:
        InterpreterError: A part is missing or cannot be read.
    """
    architecture()
    binary = _binary()
    modules = (*_library(), *_extensions())
    programs = (binary, *(m.source for m in modules if m.source.suffix == ".so"))
    files = {
        file.target: file
        for file in (
            GuestFile(binary, PurePosixPath(INTERPRETER_PATH), executable=True),
            *modules,
            *_shared_libraries(programs),
            *_time_zones(),
            *_private(programs),
        )
    }
    return tuple(files[target] for target in sorted(files))


def package_support_files() -> tuple[GuestFile, ...]:
    """What compiled packages need of this host beyond `guest_files`, sorted by where it goes.

    `ctypes`, which pure tools have no use for, and the libraries that every wheel may expect of
    its platform (as the manylinux standards list them, without those for a screen).

    Raises:
        InterpreterError: A part is missing or cannot be read.
    """
    root = Path(sysconfig.get_path("stdlib"))
    modules = [
        GuestFile(path, standard_library() / path.relative_to(root))
        for path in sorted((root / "ctypes").rglob("*.py"))
        if not {"test", "tests"} & set(path.relative_to(root).parts)
    ]
    modules += [
        GuestFile(path, standard_library() / "lib-dynload" / path.name)
        for path in _extension_files()
        if _CTYPES.match(path.name)
    ]
    there = {file.target for file in guest_files()}
    programs = [file.source for file in modules if file.source.suffix == ".so"]
    libraries = _shared_libraries([_binary(), *programs], also=_PLATFORM_LIBRARIES)
    files = {file.target: file for file in (*modules, *libraries) if file.target not in there}
    return tuple(files[target] for target in sorted(files))


def _binary() -> Path:
    base: str | None = getattr(sys, "_base_executable", None)
    path = Path(base or sys.executable).resolve()
    if not path.is_file():
        raise InterpreterError(f"the interpreter's binary is not at {str(path)!r}")
    return path


def _library() -> Iterator[GuestFile]:
    root = Path(sysconfig.get_path("stdlib"))
    if not (root / "os.py").is_file():
        raise InterpreterError(f"there is no readable standard library in {str(root)!r}")
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _LEFT_OUT_FOLDERS and not name.startswith("config-")
        )
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix == ".py" and name not in _LEFT_OUT_FILES and path.is_file():
                yield GuestFile(path, standard_library() / path.relative_to(root))


def _extensions() -> Iterator[GuestFile]:
    for path in _extension_files():
        if not _LEFT_OUT_EXTENSIONS.match(path.name):
            yield GuestFile(path, standard_library() / "lib-dynload" / path.name)


def _extension_files() -> list[Path]:
    places = (
        sysconfig.get_config_var("DESTSHARED"),
        Path(sysconfig.get_path("stdlib"), "lib-dynload"),
    )
    place = next((Path(place) for place in places if place and Path(place).is_dir()), None)
    return [] if place is None else sorted(place.glob("*.so"))


def _private(programs: Iterable[Path]) -> Iterator[GuestFile]:
    """The foreign function module, with the libraries that nothing else in the image needs."""
    module = next((path for path in _extension_files() if path.name.startswith("_ctypes.")), None)
    if module is None:  # part of the binary, or not there: then there is no fork server
        return
    yield GuestFile(module, PRIVATE_PATH / module.name)
    common, _ = _linked(programs)
    libraries, _ = _linked([module])
    for name, path in libraries.items():
        if name not in common:
            yield GuestFile(path.resolve(), PRIVATE_PATH / name)


def _shared_libraries(programs: Iterable[Path], also: Iterable[str] = ()) -> Iterator[GuestFile]:
    """All under their own names beside the C library, where the loader looks by itself."""
    libraries, loader = _linked(programs)
    libc = next((path for name, path in libraries.items() if re.match(r"libc\.", name)), None)
    if loader is not None:
        yield GuestFile(loader.resolve(), PurePosixPath(loader), executable=True)
    if libc is None:
        return
    for name in (_UNWINDER, *also):
        if (libc.parent / name).is_file():
            libraries[name] = libc.parent / name
    for name, path in libraries.items():
        yield GuestFile(path.resolve(), PurePosixPath(libc.parent, name))


def _linked(programs: Iterable[Path]) -> tuple[dict[str, Path], Path | None]:
    """The libraries by name, and the loader, as the host's own loader finds them."""
    answer = subprocess.run(  # noqa: S603  our own interpreter, asked for what it loads anyway
        ["ldd", *map(str, programs)],  # noqa: S607  of the host's C library, wherever that is
        capture_output=True,
        text=True,
        timeout=_LDD_SECONDS,
        check=False,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
    )
    libraries: dict[str, Path] = {}
    loader: Path | None = None
    for line in answer.stdout.splitlines():
        match = _LDD_LINE.fullmatch(line)
        if match is None or match["path"] == "not found":
            continue
        if match["path"] is not None:
            libraries[match["name"]] = Path(match["path"])
        elif match["name"].startswith("/"):
            loader = Path(match["name"])
    return libraries, loader


def _time_zones() -> Iterator[GuestFile]:
    root = next((Path(place) for place in zoneinfo.TZPATH if Path(place).is_dir()), None)
    if root is None:
        return
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if path.is_file() and inside.parts[0] not in ("posix", "right"):
            yield GuestFile(path, PurePosixPath("/usr/share/zoneinfo") / inside)

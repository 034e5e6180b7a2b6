"""Package indexes in a folder, with wheels made on the spot: honest ones and hostile ones."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from sandbox.locks import LockedWheel, PackageLock, guest_platform

Entries = Mapping[str | zipfile.ZipInfo, bytes]


def write_wheel(folder: Path, name: str, version: str, entries: Entries, needs: str = "") -> Path:
    """A pure wheel with `entries` and the metadata of one."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    if needs:
        metadata += f"Requires-Dist: {needs}\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in entries.items():
            archive.writestr(entry, data)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def lock_of(*wheels: Path) -> PackageLock:
    """The lock of wheels as they are."""
    locked = []
    for path in wheels:
        name, version, *_ = path.name.split("-")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        locked.append(LockedWheel(name=name, version=version, filename=path.name, sha256=digest))
    return PackageLock(platform=guest_platform(), wheels=tuple(locked))


class Wheelhouse:
    """An index that the installer can be pointed at."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def url(self) -> str:
        """Its address."""
        return self._root.as_uri()

    def add(self, name: str, version: str, entries: Entries, needs: str = "") -> Path:
        """Offer a wheel."""
        path = write_wheel(self._folder(name), name, version, entries, needs)
        self._list(name)
        return path

    def add_source(self, name: str, version: str, setup: str) -> None:
        """Offer a source distribution, whose `setup.py` runs on who builds it."""
        path = self._folder(name) / f"{name}-{version}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for file, text in (
                ("setup.py", setup),
                ("PKG-INFO", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"),
            ):
                member = tarfile.TarInfo(f"{name}-{version}/{file}")
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
        self._list(name)

    def _folder(self, name: str) -> Path:
        folder = self._root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _list(self, name: str) -> None:
        folder = self._root / name
        files = sorted(path.name for path in folder.iterdir() if path.name != "index.html")
        links = "".join(f'<a href="{file}">{file}</a>\n' for file in files)
        (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>\n{links}</body></html>\n")

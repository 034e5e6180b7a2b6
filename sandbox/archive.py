"""An image as the bytes that `docker load` takes, the same for the same files.

One layer, or a second one above it, and a fixed configuration: the image's identity is the digest
of that configuration, so it is known before any engine has seen it.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import IO, BinaryIO, Final

from policies.value import JsonObject, canonical_json, sha256_digest
from sandbox.hardening import GUEST_UID
from sandbox.interpreter import PRIVATE_PATH, GuestFile

__all__ = ["BaseLayer", "BuiltImage", "image_tag", "take_layer", "write_image"]

_EPOCH: Final = "1970-01-01T00:00:00Z"
_FOLDERS: Final = ("dev", "etc", "opt", "proc", "run/toolkiln", "sys", "tmp")
_FOLDER_MODES: Final = {"tmp": 0o1777, str(PRIVATE_PATH).lstrip("/"): 0o700}
_TEXTS: Final = {
    "etc/group": f"tool:x:{GUEST_UID}:\n",
    "etc/passwd": f"tool:x:{GUEST_UID}:{GUEST_UID}:tool:/tmp:/\n",
}
_NO_TEXTS: Final = MappingProxyType[str, str]({})
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class BuiltImage:
    """What an archive holds."""

    digest: str
    """Identity of the image: of its configuration, which names the layer."""

    layer: str
    """Identity of the layer's bytes."""


def image_tag(digest: str) -> str:
    """The name under which an engine keeps the image, so that pruning leaves it alone."""
    return f"toolkiln-guest:{digest.removeprefix('sha256:')[:32]}"


@dataclass(frozen=True)
class BaseLayer:
    """The one layer of an image, for another image to stand on."""

    digest: str
    path: Path
    """Its bytes."""


def write_image(
    archive: Path,
    files: Iterable[GuestFile],
    *,
    architecture: str,
    above: BaseLayer | None = None,
) -> BuiltImage:
    """Write the archive of an image with `files`, in a layer of their own, and say what it is."""
    layer_path = archive.with_suffix(".layer")
    try:
        with layer_path.open("wb") as layer_file:
            if above is None:
                _write_layer(layer_file, files, texts=_TEXTS, folders=_FOLDERS)
            else:
                _write_layer(layer_file, files)
        layer = _file_digest(layer_path)
        own = {"layer.tar": layer_path}
        parts = own if above is None else {"base.tar": above.path, **own}
        layers = (layer,) if above is None else (above.digest, layer)
        config = canonical_json(_configuration(layers, architecture))
        digest = sha256_digest(config)
        with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as outer:
            _add_bytes(outer, "manifest.json", canonical_json([_manifest(digest, tuple(parts))]))
            _add_bytes(outer, _config_name(digest), config)
            for name, path in parts.items():
                _add_file(outer, name, path)
    finally:
        layer_path.unlink(missing_ok=True)
    return BuiltImage(digest=digest, layer=layer)


def take_layer(saved: Path, layer: str, out: Path) -> BaseLayer | None:
    """Write the layer with that digest to `out`, from what an engine saved; None if it is not in.

    Engines name the files of what they save each in their own way, so the bytes decide.
    """
    with tarfile.open(saved) as archive:
        for member in archive:
            part = archive.extractfile(member) if member.isfile() else None
            if part is None or _hash(part) != layer:
                continue
            part.seek(0)
            with out.open("wb") as target:
                shutil.copyfileobj(part, target, _CHUNK_BYTES)
            return BaseLayer(layer, out)
    return None


def _write_layer(
    out: BinaryIO,
    files: Iterable[GuestFile],
    *,
    texts: Mapping[str, str] = _NO_TEXTS,
    folders: Iterable[str] = (),
) -> None:
    by_name = {str(file.target).lstrip("/"): file for file in files}
    wanted = {
        str(parent)
        for name in (*by_name, *texts, *folders)
        for parent in PurePosixPath(name).parents
        if str(parent) != "."
    }.union(folders)
    # The extended format only where a name does not fit the plain one.
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(wanted):
            entry = _entry(name, _FOLDER_MODES.get(name, 0o755))
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for name, text in sorted(texts.items()):
            _add_bytes(tar, name, text.encode())
        for name, file in sorted(by_name.items()):
            _add_file(tar, name, file.source, 0o755 if file.executable else 0o644)


def _entry(name: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)  # owner 0, time 0: nothing of the host gets in
    entry.mode = mode
    return entry


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = _entry(name, mode)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _add_file(tar: tarfile.TarFile, name: str, path: Path, mode: int = 0o644) -> None:
    with path.open("rb") as file:
        entry = _entry(name, mode)
        entry.size = os.fstat(file.fileno()).st_size
        tar.addfile(entry, file)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return _hash(file)


def _hash(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return "sha256:" + digest.hexdigest()


def _config_name(digest: str) -> str:
    return digest.removeprefix("sha256:") + ".json"


def _manifest(digest: str, layers: Sequence[str]) -> JsonObject:
    return {
        "Config": _config_name(digest),
        "Layers": [*layers],
        "RepoTags": [image_tag(digest)],
    }


def _configuration(layers: Sequence[str], architecture: str) -> JsonObject:
    step: JsonObject = {"created": _EPOCH, "created_by": "toolkiln"}
    return {
        "architecture": architecture,
        "config": {"User": f"{GUEST_UID}:{GUEST_UID}", "WorkingDir": "/tmp"},  # noqa: S108  the guest's own
        "created": _EPOCH,
        "history": [step for _ in layers],
        "os": "linux",
        "rootfs": {"diff_ids": [*layers], "type": "layers"},
    }

"""An image as the bytes that `docker load` takes, the same for the same files.

One layer and a fixed configuration: the image's identity is the digest of that configuration,
so it is known before any engine has seen it.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from policies.value import JsonObject, canonical_json, sha256_digest
from sandbox.hardening import GUEST_UID
from sandbox.interpreter import PRIVATE_PATH, GuestFile

__all__ = ["BuiltImage", "image_tag", "write_image"]

_EPOCH: Final = "1970-01-01T00:00:00Z"
_FOLDERS: Final = ("dev", "etc", "opt", "proc", "run/toolkiln", "sys", "tmp")
_FOLDER_MODES: Final = {"tmp": 0o1777, str(PRIVATE_PATH).lstrip("/"): 0o700}
_TEXTS: Final = {
    "etc/group": f"tool:x:{GUEST_UID}:\n",
    "etc/passwd": f"tool:x:{GUEST_UID}:{GUEST_UID}:tool:/tmp:/\n",
}


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


def write_image(archive: Path, files: Iterable[GuestFile], *, architecture: str) -> BuiltImage:
    """Write the archive and say what is in it."""
    layer_path = archive.with_suffix(".layer")
    try:
        with layer_path.open("wb") as layer_file:
            _write_layer(layer_file, files)
        layer = _file_digest(layer_path)
        config = canonical_json(_configuration(layer, architecture))
        digest = sha256_digest(config)
        with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as outer:
            _add_bytes(outer, "manifest.json", canonical_json([_manifest(digest)]))
            _add_bytes(outer, _config_name(digest), config)
            with layer_path.open("rb") as layer_file:
                entry = _entry("layer.tar", 0o644)
                entry.size = layer_path.stat().st_size
                outer.addfile(entry, layer_file)
    finally:
        layer_path.unlink(missing_ok=True)
    return BuiltImage(digest=digest, layer=layer)


def _write_layer(out: BinaryIO, files: Iterable[GuestFile]) -> None:
    by_name = {str(file.target).lstrip("/"): file for file in files}
    folders = {
        str(parent)
        for name in (*by_name, *_TEXTS, *_FOLDERS)
        for parent in PurePosixPath(name).parents
        if str(parent) != "."
    }.union(_FOLDERS)
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(folders):
            entry = _entry(name, _FOLDER_MODES.get(name, 0o755))
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for name, text in sorted(_TEXTS.items()):
            _add_bytes(tar, name, text.encode())
        for name, file in sorted(by_name.items()):
            _add_bytes(tar, name, file.source.read_bytes(), 0o755 if file.executable else 0o644)


def _entry(name: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)  # owner 0, time 0: nothing of the host gets in
    entry.mode = mode
    return entry


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = _entry(name, mode)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _config_name(digest: str) -> str:
    return digest.removeprefix("sha256:") + ".json"


def _manifest(digest: str) -> JsonObject:
    return {
        "Config": _config_name(digest),
        "Layers": ["layer.tar"],
        "RepoTags": [image_tag(digest)],
    }


def _configuration(layer: str, architecture: str) -> JsonObject:
    return {
        "architecture": architecture,
        "config": {"User": f"{GUEST_UID}:{GUEST_UID}", "WorkingDir": "/tmp"},  # noqa: S108  the guest's own
        "created": _EPOCH,
        "history": [{"created": _EPOCH, "created_by": "toolkiln"}],
        "os": "linux",
        "rootfs": {"diff_ids": [layer], "type": "layers"},
    }

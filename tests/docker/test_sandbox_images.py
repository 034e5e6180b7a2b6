"""The guest image: the same for the same interpreter, small, and checked before use."""

from __future__ import annotations

import asyncio
import io
import json
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from policies.permissions import LintLevel
from policies.value import sha256_digest
from sandbox import images
from sandbox.archive import BuiltImage
from sandbox.base import Program
from sandbox.docker_sandbox import DockerSandbox
from sandbox.engine import Engine
from sandbox.errors import ImageError
from sandbox.images import build_image, ensure_image
from sandbox.interpreter import guest_files


@dataclass(frozen=True)
class Opened:
    built: BuiltImage
    manifest: dict[str, list[str]]
    config: bytes
    members: dict[str, tarfile.TarInfo]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    archive = tmp_path_factory.mktemp("image") / "image.tar"
    built = build_image(archive, guest_files())
    with tarfile.open(archive) as outer:
        parts = {member.name: outer.extractfile(member) for member in outer}
        texts = {name: part.read() for name, part in parts.items() if part is not None}
    (manifest,) = json.loads(texts["manifest.json"])
    with tarfile.open(fileobj=io.BytesIO(texts["layer.tar"])) as layer:
        members = {member.name: member for member in layer}
    return Opened(built, manifest, texts[manifest["Config"]], members)


def test_the_same_interpreter_makes_the_same_image(opened: Opened, image_digest: str) -> None:
    assert opened.built.digest == image_digest


def test_the_identity_is_the_digest_of_the_configuration(opened: Opened) -> None:
    assert sha256_digest(opened.config) == opened.built.digest
    assert json.loads(opened.config)["rootfs"]["diff_ids"] == [opened.built.layer]


def test_nothing_of_the_host_but_the_files_gets_in(opened: Opened) -> None:
    for member in opened.members.values():
        assert (member.uid, member.gid, member.mtime, member.uname) == (0, 0, 0, "")
        assert not member.mode & (stat.S_ISUID | stat.S_ISGID)
        assert member.isdir() or member.isfile()
        assert not member.mode & stat.S_IWOTH or member.name == "tmp"
    assert list(opened.members) != []


@pytest.mark.parametrize(
    "part",
    [
        "site-packages",
        "/ctypes/",
        "/lib-dynload/_ctypes",
        "idlelib",
        "tkinter",
        "ensurepip",
        "/test/",
        "bin/sh",
    ],
)
def test_what_a_guest_has_no_use_for_is_left_out(part: str, opened: Opened) -> None:
    assert [name for name in opened.members if part in f"/{name}"] == []


def test_what_only_the_fork_server_needs_is_out_of_a_guest_s_reach(opened: Opened) -> None:
    (folder,) = {str(PurePosixPath(name).parent) for name in opened.members if "/_ctypes" in name}

    assert (opened.members[folder].mode, opened.members[folder].uid) == (0o700, 0)


async def test_what_tools_use_can_be_imported(sandbox: DockerSandbox) -> None:
    modules = (
        "array asyncio base64 bisect calendar collections csv dataclasses datetime decimal "
        "difflib email enum fractions functools hashlib heapq html itertools json logging lzma "
        "math random re sqlite3 statistics string struct subprocess textwrap threading tomllib "
        "typing unicodedata unittest urllib.parse uuid xml.etree.ElementTree zipfile zlib zoneinfo"
    )
    code = (
        "import importlib\n"
        "def f(names):\n"
        "    for name in names:\n"
        "        importlib.import_module(name)\n"
        "    import decimal, hashlib, sqlite3\n"
        "    rows = list(sqlite3.connect(':memory:').execute('select 1'))\n"
        "    return [rows, hashlib.sha256(b'').hexdigest()[:8], str(decimal.Decimal('0.1'))]\n"
    )

    result = await sandbox.run(
        Program(code=code, function="f", level=LintLevel.L2), {"names": [*modules.split()]}
    )

    assert result.value == [[[1]], "e3b0c442", "0.1"], result.traceback


async def test_the_image_is_built_once_until_a_file_of_it_changes(
    engine: Engine, image_digest: str, tmp_path: Path
) -> None:
    steps: list[str] = []

    async def ensure() -> str:
        return await ensure_image(engine, tmp_path, progress=steps.append)

    digests = await asyncio.gather(*(ensure() for _ in range(4)))
    assert (digests, len(steps)) == ([image_digest] * 4, 1)

    (record,) = await asyncio.to_thread(lambda: list(tmp_path.glob("guest-image-*.json")))
    truth = record.read_text()
    record.write_text(truth.replace('"fingerprint":"sha256:', '"fingerprint":"sha256:0'))
    assert (await ensure(), len(steps)) == (image_digest, 2)
    assert record.read_text() == truth


async def test_a_record_that_cannot_be_read_is_no_record(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    for text in ("", "{}", "[", '{"key":"1"}'):
        record.write_text(text)

        assert images._read_record(record) is None


async def test_a_state_folder_that_cannot_be_is_said_so(engine: Engine, tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.touch()

    with pytest.raises(ImageError, match="No tool code was run"):
        await ensure_image(engine, occupied, progress=print)

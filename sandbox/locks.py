"""Which wheels a set of packages is made of, chosen once and fetched only as chosen.

The installer (`pip`) runs as a subprocess with our own interpreter, so that it chooses for
exactly the Python and platform of the guest. It may take wheels only: no code of a package runs
on this host, neither to build it nor to ask it for its metadata.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import platform
import re
import sys
import sysconfig
import tempfile
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Final

from pydantic import Field, ValidationError

from policies.display import escape_text, excerpt
from policies.value import Value, canonical_json, sha256_digest
from sandbox.errors import PackagesRefusedError, PackagesUnavailableError

__all__ = ["LockedWheel", "PackageLock", "choose_wheels", "fetch_wheels", "guest_platform"]

_CHOOSE_SECONDS: Final = 600.0
_FETCH_SECONDS: Final = 1800.0
_EXPLANATION_BYTES: Final = 16_384
_EXPLANATION_CHARACTERS: Final = 600

_OF_INDEX: Final = frozenset(
    {"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CONFIG_FILE"}
)
"""Settings of the installer that say where packages come from."""

_NOT_REACHED: Final = re.compile(
    r"Retrying \(|NewConnectionError|Name or service not known|[Cc]onnection (?:refused|reset)"
    r"|[Cc]onnection broken|Could not fetch URL"
    r"|ReadTimeout|HTTPError|ProxyError|SSLError|No space left on device"
)


class LockedWheel(Value):
    """One file of a package, named so exactly that no other can take its place."""

    name: str = Field(pattern=r"^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$")
    version: str = Field(pattern=r"^[A-Za-z0-9.!+_-]{1,100}$")
    filename: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+!-]{1,240}\.whl$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class PackageLock(Value):
    """A set of packages with everything that they need, for one Python on one platform."""

    platform: str
    wheels: tuple[LockedWheel, ...] = Field(min_length=1, max_length=500)
    """Sorted by name."""

    @property
    def digest(self) -> str:
        """Identity of the set: equal for the same files, wherever they came from."""
        return sha256_digest(canonical_json(self.model_dump(mode="json")))

    @property
    def pins(self) -> tuple[str, ...]:
        """Each wheel as a requirement that fits nothing else."""
        return tuple(f"{wheel.name}=={wheel.version}" for wheel in self.wheels)

    @property
    def versions(self) -> dict[str, str]:
        """Version by name."""
        return {wheel.name: wheel.version for wheel in self.wheels}


def guest_platform() -> str:
    """What wheels must fit: the interpreter that runs us, which is the guest's too."""
    libc = "-".join(platform.libc_ver()) or "unknown"
    return f"{sys.implementation.cache_tag} {sysconfig.get_platform()} {libc}"


async def choose_wheels(
    requirements: Sequence[str], constraints: Iterable[str], *, index: str, folder: Path
) -> PackageLock:
    """The newest wheels that fit `requirements`, with all that they need, within `constraints`.

    Raises:
        PackagesRefusedError: There are none: no such version, no wheel of it, or a conflict.
        PackagesUnavailableError: The installer is not there, or the index was not reached.
    """
    report = folder / "report.json"
    (folder / "wanted.txt").write_text("".join(f"{line}\n" for line in requirements))
    (folder / "constraints.txt").write_text("".join(f"{line}\n" for line in constraints))
    arguments = [
        *("install", "--dry-run", "--ignore-installed", "--only-binary", ":all:"),
        *("--target", str(folder / "nowhere"), "--report", str(report)),
        *("--constraint", str(folder / "constraints.txt")),
        *("--requirement", str(folder / "wanted.txt")),
    ]
    await _run_pip(arguments, requirements, index=index, seconds=_CHOOSE_SECONDS)
    text = await asyncio.to_thread(report.read_bytes)
    try:
        items = _Report.model_validate_json(text).install
        wheels = sorted((_locked(item) for item in items), key=lambda wheel: wheel.name)
        return PackageLock(platform=guest_platform(), wheels=tuple(wheels))
    except (ValidationError, ValueError) as error:
        raise PackagesRefusedError(
            requirements, f"what was chosen cannot be pinned by file and hash: {error}"
        ) from error


async def fetch_wheels(lock: PackageLock, *, index: str, folder: Path) -> tuple[Path, ...]:
    """The files of `lock`, in its order, in `folder`; each is checked against its hash.

    Raises:
        PackagesRefusedError: The index has other files under these names.
        PackagesUnavailableError: The installer is not there, or the index was not reached.
    """
    lines = [
        f"{pin} --hash=sha256:{wheel.sha256}\n"
        for pin, wheel in zip(lock.pins, lock.wheels, strict=True)
    ]
    (folder / "locked.txt").write_text("".join(lines))
    wheels = folder / "wheels"
    wheels.mkdir()
    arguments = [
        *("download", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
        *("--dest", str(wheels), "--requirement", str(folder / "locked.txt")),
    ]
    await _run_pip(arguments, lock.pins, index=index, seconds=_FETCH_SECONDS)
    return await asyncio.to_thread(check_wheels, lock, wheels)


def check_wheels(lock: PackageLock, folder: Path) -> tuple[Path, ...]:
    """The files of `lock` in `folder`, in its order.

    Raises:
        PackagesRefusedError: One is missing, or its bytes are others.
    """
    paths = tuple(folder / wheel.filename for wheel in lock.wheels)
    for wheel, path in zip(lock.wheels, paths, strict=True):
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            found = "no file of that name"
        if found != wheel.sha256:
            raise PackagesRefusedError(
                [f"{wheel.name}=={wheel.version}"],
                f"{wheel.filename} is locked to sha256 {wheel.sha256}, and what came is {found}",
            )
    return paths


class _Hashes(Value, extra="ignore"):
    sha256: str


class _ArchiveInfo(Value, extra="ignore"):
    hashes: _Hashes


class _DownloadInfo(Value, extra="ignore"):
    url: str
    archive_info: _ArchiveInfo


class _Metadata(Value, extra="ignore"):
    name: str
    version: str


class _Item(Value, extra="ignore"):
    metadata: _Metadata
    download_info: _DownloadInfo


class _Report(Value, extra="ignore"):
    """The part of the installer's report that is used."""

    install: tuple[_Item, ...]


def _locked(item: _Item) -> LockedWheel:
    from packaging.utils import parse_wheel_filename  # noqa: PLC0415  see policies.packages

    path = PurePosixPath(urllib.parse.urlsplit(item.download_info.url).path)
    filename = urllib.parse.unquote(path.name)
    name, version, _, _ = parse_wheel_filename(filename)
    return LockedWheel(
        name=name,
        version=str(version),
        filename=filename,
        sha256=item.download_info.archive_info.hashes.sha256,
    )


async def _run_pip(
    arguments: Sequence[str], requirements: Sequence[str], *, index: str, seconds: float
) -> None:
    if find_spec("pip") is None:
        raise PackagesUnavailableError(
            requirements,
            f"there is no pip in the environment of {sys.executable}",
            "install it with the extra that has it, toolkiln[packages]",
        )
    with tempfile.TemporaryFile() as explanation:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "pip", *arguments[:1], "--no-input", "--quiet"),
            *("--disable-pip-version-check", "--progress-bar", "off", *arguments[1:]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=explanation,
            stderr=explanation,
            env=_environment(os.environ, index),
        )
        try:
            async with asyncio.timeout(seconds):
                code = await process.wait()
        except TimeoutError:
            raise PackagesUnavailableError(
                requirements,
                f"the index did not deliver in {seconds:g} s",
                "look at the connection and try again",
            ) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        explanation.seek(0)
        text = explanation.read(_EXPLANATION_BYTES * 64)[-_EXPLANATION_BYTES:]
    if code != 0:
        raise _failure(text.decode(errors="replace"), requirements)


def _environment(present: Mapping[str, str], index: str) -> dict[str, str]:
    """The installer's environment: with an index of the policy, no other source counts."""
    if not index:
        return dict(present)
    kept = {name: value for name, value in present.items() if name not in _OF_INDEX}
    # In the environment, not in the arguments: an address can hold a password.
    return {**kept, "PIP_INDEX_URL": index, "PIP_CONFIG_FILE": os.devnull}


def _failure(
    text: str, requirements: Sequence[str]
) -> PackagesRefusedError | PackagesUnavailableError:
    errors = [line.removeprefix("ERROR:").strip() for line in text.splitlines() if "ERROR:" in line]
    told = "; ".join(errors) or text.strip() or "it said nothing"
    without_passwords = re.sub(r"(//)[^/@\s]+@", r"\1", told)
    shown = excerpt(
        escape_text(without_passwords, keep_newlines=False), characters=_EXPLANATION_CHARACTERS
    )
    if _NOT_REACHED.search(text):
        return PackagesUnavailableError(
            requirements, f"the installer says: {shown}", "look at the connection and try again"
        )
    return PackagesRefusedError(
        requirements,
        f"the installer says: {shown} (only wheels for {guest_platform()} are taken, never "
        "sources that would have to be built)",
    )

"""Files of the command line: handed into calls by name, and written where a person wants them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from policies.filenames import file_name_problem
from runtime.errors import UsageError
from sandbox.artefacts import Artefact

__all__ = ["Attachments", "read_attachments", "write_artefacts"]

_MOST_BYTES: Final = 512 * 1024 * 1024

Attachments: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--file",
        metavar="[NAME=]PATH",
        help="A file for tools that read files; may be given several times.",
    ),
]


def read_attachments(texts: Sequence[str] | None) -> dict[str, bytes]:
    """The bytes by name of `PATH` or `NAME=PATH`.

    Raises:
        UsageError: A name is not plain or is given twice, or a file cannot be read.
    """
    files: dict[str, bytes] = {}
    for text in texts or ():
        name, equals, path = text.partition("=")
        if not equals:
            path = text
            name = Path(text).name
        if problem := file_name_problem(name):
            raise UsageError(f"--file {text}: {problem}. Name it: --file NAME={path}")
        if name in files:
            raise UsageError(f"--file {text}: two files are named {name}; name one otherwise")
        try:
            with Path(path).open("rb") as file:
                files[name] = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise UsageError(f"--file {text}: {error.strerror or error}") from None
        if len(files[name]) > _MOST_BYTES:
            raise UsageError(
                f"--file {text}: larger than any policy allows ({_MOST_BYTES:,} bytes)"
            )
    return files


def write_artefacts(artefacts: Iterable[Artefact], folder: Path, *, force: bool) -> list[Path]:
    """Write files that a call left into `folder`, which is made; their paths.

    Raises:
        UsageError: One is there already and `force` is not set, or it cannot be written.
    """
    artefacts = tuple(artefacts)
    paths = [folder / artefact.name for artefact in artefacts]  # plain names, checked before
    if not force and (there := [str(path) for path in paths if os.path.lexists(path)]):
        raise UsageError(_there_already(*there, written="nothing was written"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror or error}") from None
    for artefact, path in zip(artefacts, paths, strict=True):
        try:
            _write(path, artefact.data, force=force)
        except FileExistsError:
            raise UsageError(_there_already(str(path), written="it was not written")) from None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from None
    return paths


def _there_already(*paths: str, written: str) -> str:
    return (
        f"{', '.join(paths)}: there already; {written}. Add --force to replace, or name another "
        "folder. The files are kept: toolkiln artefacts list"
    )


def _write(path: Path, data: bytes, *, force: bool) -> None:
    """Write a new file, or one that takes the place of `path`; a link is never followed.

    Raises:
        FileExistsError: It is there, and may not be replaced.
    """
    made = path.with_name(f".{path.name}.{os.getpid()}") if force else path
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(made, flags, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        if force:
            made.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            made.unlink()
        raise

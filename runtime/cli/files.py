"""Files of the command line: handed into calls by name, and written where a person wants them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from policies.filenames import file_name_problem
from runtime.errors import UsageError
from sandbox.artefacts import Artefact

__all__ = ["Attachments", "read_attachments", "write_artefacts"]

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
            files[name] = Path(path).read_bytes()
        except OSError as error:
            raise UsageError(f"--file {text}: {error.strerror or error}") from None
    return files


def write_artefacts(artefacts: Iterable[Artefact], folder: Path, *, force: bool) -> list[Path]:
    """Write files that a call left into `folder`, which is made; their paths.

    Raises:
        UsageError: One is there already and `force` is not set, or it cannot be written.
    """
    artefacts = tuple(artefacts)
    paths = [folder / artefact.name for artefact in artefacts]  # plain names, checked before
    if not force and (there := [str(path) for path in paths if path.exists()]):
        raise UsageError(
            f"{', '.join(there)}: there already; nothing was written. Add --force to replace, "
            "or name another folder. The files are kept: toolkiln artefacts list"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for artefact, path in zip(artefacts, paths, strict=True):
            _replace(path, artefact.data)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror or error}") from None
    return paths


def _replace(path: Path, data: bytes) -> None:
    """Through a new file beside it: a link of that name is replaced, never followed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(beside, flags, 0o644), "wb") as file:
            file.write(data)
        beside.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise

"""Bytecode for an image, made in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from sandbox.interpreter import GuestFile

__all__ = ["bytecode_path", "compile_files"]

_COMPILE_SECONDS: Final = 600
_COMPILER: Final = Path(__file__).parent / "bytecode.py"
_EXPLANATION_CHARACTERS: Final = 500


def bytecode_path(source: PurePosixPath) -> PurePosixPath:
    """Where the guest's interpreter looks for the bytecode of `source`."""
    return source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"


def compile_files(
    sources: Sequence[GuestFile],
    targets: Sequence[PurePosixPath],
    folder: Path,
    *,
    strangers: bool = False,
) -> tuple[GuestFile, ...]:
    """Bytecode of `sources` in `folder`, for the places `targets`; blocking.

    In two processes, always split alike. What `strangers` wrote may fail to compile, and is then
    left out; it is compiled under ceilings, and never run.

    Raises:
        SubprocessError: A source does not compile, or a process did not survive.
    """
    made = [folder / f"{number}.pyc" for number in range(len(sources))]
    jobs = [
        [str(source.source), str(source.target), str(path)]
        for source, path in zip(sources, made, strict=True)
    ]
    compilers = [_start(jobs[start::2], strangers=strangers) for start in (0, 1)]
    try:
        for compiler in compilers:
            _, complaint = compiler.communicate(timeout=_COMPILE_SECONDS)
            if compiler.returncode != 0:
                told = complaint[-_EXPLANATION_CHARACTERS:] or f"status {compiler.returncode}"
                raise subprocess.SubprocessError(f"the sources do not compile: {told}")
    finally:
        for compiler in compilers:
            compiler.kill()
            compiler.communicate()
    return tuple(
        GuestFile(path, target)
        for path, target in zip(made, targets, strict=True)
        if not strangers or path.exists()
    )


def _start(jobs: Sequence[Sequence[str]], *, strangers: bool) -> subprocess.Popen[str]:
    order = tempfile.TemporaryFile("w+")  # noqa: SIM115  the process reads it, then it is gone
    json.dump(jobs, order)
    order.seek(0)
    mode = ["--strangers"] if strangers else []
    with order:
        return subprocess.Popen(  # noqa: S603  our own interpreter and our own program
            [sys.executable, "-P", "-s", "-S", "-B", "-W", "ignore", str(_COMPILER), *mode],
            stdin=order,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONHASHSEED": "0"},  # the order in sets of constants gets into the bytecode
        )

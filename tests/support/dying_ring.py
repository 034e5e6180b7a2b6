"""A process whose children are killed before each step of making or rotating keys; says on standard
output after which of them a ring was neither the one before nor the one after.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from policies.statements import Kind, Role
from policies.vouching import checkpoint_statement
from toolstore.attest.envelopes import open_envelope
from toolstore.attest.errors import KeysError
from toolstore.attest.keys import KeyRing, utc_now

FILE_EVENTS = frozenset({"open", "os.mkdir", "os.remove", "os.rename"})
MOST_STEPS = 100


def killed_before(step: int, folder: Path, work: Callable[[KeyRing], object]) -> bool:
    """Do `work` in a child that is killed before its `step`th touch of the folder; was it?"""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = step

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in FILE_EVENTS and str(folder) in str(arguments[0]):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    work(KeyRing(folder))
    os._exit(0)


def works(folder: Path) -> bool:
    """Whether the ring is there, whole, and signs as every role."""
    keys = KeyRing(folder)
    said = checkpoint_statement(sequence=1, head="sha256:00", states="", at=utc_now())
    signed = keys.sign(said, Kind.CHECKPOINT)
    keys.rotate(Role.REVIEWER)  # what a kill left is swept up with the next change
    left = {path.name for path in folder.iterdir()} - {"ring.json", "ring.lock"}
    own = {place.uri.removeprefix("key:") for place in keys.ring().places}
    return open_envelope(signed, keys.find).kind is Kind.CHECKPOINT and left == own


def without_room(folder: Path, size: int) -> str:
    """What a rotation says where no file may have more than `size` bytes."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        os.waitpid(child, 0)
        with open(reader) as pipe:  # noqa: PTH123 - a pipe has no path
            return pipe.read()
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        KeyRing(folder).rotate(Role.LINTER)
    except KeysError as error:
        os.write(writer, str(error).encode())
    finally:
        os._exit(0)


def main(root: Path) -> None:
    """Try every step, and say what came of it."""
    broken: list[str] = []
    counts = {"made": 0, "rotated": 0}
    for name in counts:
        for step in range(MOST_STEPS):
            folder = root / f"{name}-{step}"
            if name == "rotated":
                KeyRing(folder).ring()
            work = KeyRing.ring if name == "made" else lambda keys: keys.rotate(Role.LINTER)
            killed = killed_before(step, folder, work)
            if not works(folder):
                broken.append(f"{name} {step}")
            if not killed:
                break
            counts[name] += 1
    folder = root / "full"
    before = KeyRing(folder).ring()
    full = [without_room(folder, size) for size in (0, 60, 500)]
    if KeyRing(folder).ring() != before or not works(folder):
        broken.append("full")
    print(json.dumps({"broken": broken, "full": full, **counts}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

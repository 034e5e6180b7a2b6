"""A program that kills itself while it writes to a store, over and over, and looks what is left.

`python store_killing.py FOLDER STRIDE RANDOM_ROUNDS`. Each round is a forked process that does
the same few changes. In the first kind it dies before a given statement, every STRIDE-th of them,
so that with a stride of 1 all rounds together cover every point between two statements; in the
second it dies at a random moment, inside SQLite as well. After each round the store must open,
verify, and have every acknowledged version whole. Prints one JSON document: rounds that were
killed, and what was wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from factories import make_submission
from sqlalchemy import Engine, event

import toolstore.migrations  # noqa: F401 - once here, not again in each round
from toolstore.models import ToolRef
from toolstore.store import ToolStore


def die_before(statement: int) -> None:
    """Have this process killed before its n-th statement, counted from 0."""
    left = statement

    def count(*_: Any) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "commit", count)


async def change(folder: Path, acknowledge: int, *, forever: bool) -> None:
    """Make the store, admit two versions, go back, take back; tell of each when it is done."""
    async with await ToolStore.open(folder) as store:
        number = 0
        while number == 0 or forever:
            name = f"tool_{number}_{os.getpid()}"
            for value in (1, 2):
                code = f"def {name}(number: int) -> int:\n    return {value}\n"
                version = await store.admit(make_submission(name, code), actor="ada")
                os.write(acknowledge, f"{version.ref}\n".encode())
            await store.rollback(name, actor="bob", reason="slow")
            await store.revoke(ToolRef(name=name, sequence=2), actor="bob", reason="wrong")
            os.write(acknowledge, f"{name}@2 revoked\n".encode())
            number += 1


def round_of(folder: Path, *, statement: int | None) -> tuple[bool, list[str]]:
    """One process; whether it was killed, and what it had acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            if statement is not None:
                die_before(statement)
            asyncio.run(change(folder, writing, forever=statement is None))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    if statement is None:
        time.sleep(random.uniform(0.0, 0.15))  # noqa: S311 - any moment will do
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading) as pipe:
        acknowledged = pipe.read().splitlines()
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status) != 0:
        raise SystemExit(f"a round failed by itself with {os.WEXITSTATUS(status)}")
    return os.WIFSIGNALED(status), acknowledged


async def problems_of(folder: Path, acknowledged: list[str]) -> list[str]:
    """What is wrong with a store whose writer was killed."""
    async with await ToolStore.open(folder) as store:
        report = await store.verify()
        problems = [f"{damage.where}: {damage.problem}" for damage in report.damage]
        for line in acknowledged:
            ref, _, state = line.partition(" ")
            version = await store.find(ToolRef.parse(ref))
            if state and version.state != state:
                problems.append(f"{ref} was acknowledged as {state} and is {version.state}")
        for summary in await store.summaries():
            events = await store.events(summary.name)
            first = [entry.type for entry in events if entry.digest == summary.digest][:3]
            if first != ["submitted", "quarantined", "admitted"]:
                problems.append(f"{summary.name}@{summary.sequence} is there in part: {first}")
    return problems


def main(folder: Path, stride: int, random_rounds: int) -> None:
    """All rounds, each statement first."""
    killed, problems = 0, list[str]()
    statement, more = 0, True
    while more:
        store = folder / "by-statement"
        shutil.rmtree(store, ignore_errors=True)
        more, acknowledged = round_of(store, statement=statement)
        problems += asyncio.run(problems_of(store, acknowledged))
        killed += more
        statement += stride
    for _ in range(random_rounds):
        store = folder / "at-random"
        died, acknowledged = round_of(store, statement=None)
        problems += asyncio.run(problems_of(store, acknowledged))
        killed += died
    print(json.dumps({"killed": killed, "statements": statement, "problems": problems}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

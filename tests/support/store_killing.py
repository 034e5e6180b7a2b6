"""A program that kills itself while it writes to a store, over and over, and looks what is left.

`python store_killing.py PLACE STRIDE RANDOM_ROUNDS`, where PLACE is a folder, or the URL of a
PostgreSQL server's database: then each round has a database of its own beside that one. Each round
is a forked process that does the same few changes. In the first kind it dies before a given
statement, every STRIDE-th of them, so that with a stride of 1 all rounds together cover every
point between two statements; in the second it dies at a random moment, inside the driver as well.
After each round the store must open, verify, and have every acknowledged version whole. Prints one
JSON document: rounds that were killed, and what was wrong.
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
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from factories import NOON, allowed, make_submission, refused
from sqlalchemy import Engine, event

import toolstore.migrations  # noqa: F401 - once here, not again in each round
from policies.decision import Channel
from policies.sequential import CanarySettings
from policies.waivers import Waiver
from toolstore.models import ToolRef, ToolVersion
from toolstore.store import ToolStore
from toolstore.terms import Terms

CANARY = Terms(channel=Channel.CANARY, weight=0.1)
STEPS = (
    "approved canary at 0.1",
    "deprecated",
    "approved canary at 0.5",
    "approved canary at 0.5",
    "approved stable",
    "approved stable",
    "quarantined",
    "approved stable",
    "deprecated",
    "archived",
)
"""What a version is after each step that `move` tells of."""


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


async def change(location: str, acknowledge: int, *, forever: bool) -> None:
    """Make the store, admit two versions, go back, take back; tell of each when it is done."""
    async with await ToolStore.open(location) as store:
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
            await move(store, name, acknowledge)
            number += 1


async def move(store: ToolStore, name: str, acknowledge: int) -> None:
    """A canary is tried, fails, is tried again, promoted and retired, with a pin and a waiver."""

    steps = iter(range(len(STEPS)))

    def tell(version: ToolVersion) -> None:
        os.write(acknowledge, f"{version.ref} {next(steps)}\n".encode())

    life, by = store.lifecycle, {"actor": "bob", "reason": "because"}
    code = f"def {name}(number: int) -> int:\n    return 3\n"
    third = await store.admit(make_submission(name, code), actor="ada", terms=CANARY)
    tell(third)
    while (
        await life.count_call(
            name, third.digest, CanarySettings(false_alarm=0.9), actor="toolkiln", succeeded=False
        )
        is None
    ):
        pass
    tell(await store.find(third.ref))
    tell(await life.canary(third.ref, weight=0.5, **by))
    tell(await life.pin(third.ref, session="s", **by))
    tell(await life.promote(third.ref, **by))
    waiver = Waiver(
        rule="TR202",
        digest=third.digest,
        principal="bob",
        reason="known",
        at=NOON,
        expires_at=NOON + timedelta(days=1),
    )
    tell(await life.waive(waiver, None, actor="bob"))
    tell(await life.suspend(third.digest, refused(), **by))
    tell(await life.readmit(third.digest, allowed(), actor="bob"))
    await life.unpin(name, session="s", **by)
    tell(await life.deprecate(third.ref, actor="bob", reason="because"))
    tell(await life.archive(third.ref, **by))


def round_of(location: str, *, statement: int | None) -> tuple[bool, list[str]]:
    """One process; whether it was killed, and what it had acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            if statement is not None:
                die_before(statement)
            asyncio.run(change(location, writing, forever=statement is None))
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


async def problems_of(location: str, acknowledged: list[str]) -> list[str]:
    """What is wrong with a store whose writer was killed."""
    async with await ToolStore.open(location) as store:
        report = await store.verify()
        problems = [f"{damage.where}: {damage.problem}" for damage in report.damage]
        # Of each version the last word counts, or what the step after it made of it.
        for ref, word in dict(line.partition(" ")[::2] for line in acknowledged).items():
            version = await store.find(ToolRef.parse(ref))
            found = f"{version.state} {version.place}" if version.place else version.state.value
            may_be = STEPS[int(word) : int(word) + 2] if word.isdigit() else (word,)
            if word and found not in may_be:
                problems.append(f"{ref} was acknowledged as {may_be} and is {found}")
        for summary in await store.summaries():
            events = await store.events(summary.name)
            first = [entry.type for entry in events if entry.digest == summary.digest][:3]
            if first != ["submitted", "quarantined", "admitted"]:
                problems.append(f"{summary.name}@{summary.sequence} is there in part: {first}")
    return problems


class Rounds:
    """Gives each round the place of a store."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._made = 0

    def empty(self) -> str:
        """One without a store."""
        self._made += 1
        if "://" not in self._place:
            folder = Path(self._place) / "store"
            shutil.rmtree(folder, ignore_errors=True)
            return str(folder)
        server, _, database = self._place.rpartition("/")
        name = f"{database}_{self._made}"
        with psycopg.connect(self._place, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"{server}/{name}"

    def last(self) -> str:
        """The one of the last round."""
        if "://" not in self._place:
            return str(Path(self._place) / "store")
        return f"{self._place}_{self._made}"


def main(place: str, stride: int, random_rounds: int) -> None:
    """All rounds, each statement first."""
    killed, problems = 0, list[str]()
    statement, more, rounds = 0, True, Rounds(place)
    while more:
        store = rounds.empty()
        more, acknowledged = round_of(store, statement=statement)
        problems += asyncio.run(problems_of(store, acknowledged))
        killed += more
        statement += stride
    for _ in range(random_rounds):
        died, acknowledged = round_of(rounds.last(), statement=None)
        problems += asyncio.run(problems_of(rounds.last(), acknowledged))
        killed += died
    print(json.dumps({"killed": killed, "statements": statement, "problems": problems}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

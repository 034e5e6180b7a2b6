"""A program that kills processes while they write to a store, and looks what is left.

`python store_killing.py PLACE STRIDE RANDOM_ROUNDS [EVERY]`, where PLACE is a folder, or the URL of
a PostgreSQL server's database: then stores have databases of their own beside that one. Each step
of `transitions` is done again and again by a forked process on a signed store. The first dies
before the first statement, the next before the second, and so on until one comes to its end;
commits, and changes of files, count as statements do. With a STRIDE only every so manyth point is
tried. RANDOM_ROUNDS more die at any moment, inside the driver as well. With EVERY, only every so
manyth step is done.

Whenever one was killed, the store must hold what it held before or what the step makes of it, row
for row; both verify, are opened by the home that was there, and take a writer at once. Prints one
JSON document: how many were killed, at how many points, what they left, how long the next writer
waited at most, and what was wrong.
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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import psycopg
from sqlalchemy import Engine, event
from transitions import AT, BEFORE, STEPS, Scene, Step, furnish

import toolstore.migrations  # noqa: F401 - once here, not again in each process
from policies.signatures import DEFAULT_SIGNATURES
from policies.statements import Kind, Role
from policies.vouching import checkpoint_statement
from toolstore.attest.guard import Guard
from toolstore.copying import copy_store
from toolstore.database import Database
from toolstore.index import database_at
from toolstore.layout import REVISIONS
from toolstore.models import ToolRef

WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES: Final = frozenset({"os.rename", "os.remove", "os.mkdir", "os.chmod", "os.truncate"})
HUNG_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Case:
    """One thing to do to a store, and how to tell before from after."""

    name: str
    work: Callable[[Scene], Awaitable[object]]
    template: str = "furnished"
    state: Callable[[Scene], object] = Scene.content
    verify: bool = True
    """A store is there before and after."""

    drifts: bool = False
    """What comes of it is never twice the same: a new key."""


class Places:
    """Makes scenes as copies of templates, in a folder or on a server."""

    def __init__(self, place: str) -> None:
        self._server, _, self._database = place.rpartition("/") if "://" in place else ("", "", "")
        self._folder = Path(place)
        if self._server:
            self._folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"killing-{os.getpid()}"  # noqa: S108 - a folder of its own
            self._folder.mkdir()
        self._numbers = count(1)
        self._templates: dict[str, Scene] = {}

    def empty(self, home: Path | None = None) -> Scene:
        """A scene without a store; its home is a copy of `home`."""
        number = next(self._numbers)
        folder = self._folder / f"home_{number}"
        if home is None:
            folder.mkdir(mode=0o700, parents=True)
        else:
            shutil.copytree(home, folder)
        if not self._server:
            return Scene(str(self._folder / f"store_{number}"), folder)
        return Scene(f"{self._server}/{self._database}_{number}", folder)

    def copy(self, template: str) -> Scene:
        """A scene of its own, as the template is."""
        made = self._template(template)
        scene = self.empty(made.home)
        if not self._server:
            if Path(made.location).exists():
                shutil.copytree(made.location, scene.location)
            return scene
        self._create(scene, made.location.rpartition("/")[2])
        return scene

    def forget(self, scene: Scene) -> None:
        """Remove a scene; a server copies fewer pages with fewer databases."""
        shutil.rmtree(scene.home)
        if self._server:
            with psycopg.connect(f"{self._server}/{self._database}", autocommit=True) as server:
                name = scene.location.rpartition("/")[2]
                server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        else:
            shutil.rmtree(scene.location, ignore_errors=True)

    def close(self) -> None:
        """Leave nothing outside of the place."""
        if self._server:
            shutil.rmtree(self._folder)

    def _create(self, scene: Scene, template: str) -> None:
        with psycopg.connect(f"{self._server}/{self._database}", autocommit=True) as server:
            name = scene.location.rpartition("/")[2]
            server.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())

    def _template(self, name: str) -> Scene:
        if name not in self._templates:
            scene = self.empty()
            if self._server:
                self._create(scene, "template1")
            self._templates[name] = scene
            if name == "furnished":
                asyncio.run(furnish(scene))
            elif name == "unsigned":
                asyncio.run(furnish(scene, keys=False))
                scene.ring(BEFORE).ring()  # made now, so that all tries sign alike
            elif name == "older":
                asyncio.run(furnish(scene))
                make_older(database_of(scene))
        return self._templates[name]


def make_older(database: Database) -> None:
    """Take from a store what its last two revisions brought."""
    with database.connect(writes=True) as connection, connection.begin():
        gone = (
            "proposal",
            *(f"search_{name}" for name in ("posting", "term", "total", "document")),
        )
        for table in gone:
            connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0004'")


def database_of(scene: Scene) -> Database:
    """The database of a scene."""
    return database_at(scene.location if "://" in scene.location else Path(scene.location), 5.0)


def step_of(step: Step) -> Callable[[Scene], Awaitable[object]]:
    """A step of the store as a whole process does it."""

    async def work(scene: Scene) -> None:
        async with await scene.open() as store:
            await step(store)

    return work


async def sign(scene: Scene) -> None:
    """Vouch for a store that was kept without keys."""
    async with await scene.open() as store:
        await store.signatures.sign(actor="ada")


async def make(scene: Scene) -> None:
    """The first opening of a place."""
    await (await scene.open(keys=False)).close()


async def migrate(scene: Scene) -> None:
    """Bring a store up to date."""
    database_of(scene).migrate()


async def rotate(scene: Scene) -> None:
    """Give a role a new key."""
    scene.ring().rotate(Role.ADMITTER)


async def add_person(scene: Scene) -> None:
    """Give a person a key."""
    scene.ring().add_person("bob")


def pending(scene: Scene) -> object:
    """How far the tables of a store are."""
    return database_of(scene).pending()


def keys_of(scene: Scene) -> object:
    """How many keys are trusted; each that signs must be able to."""
    ring = scene.ring()
    ring.sign(checkpoint_statement(sequence=1, head="", states="", at=AT), Kind.CHECKPOINT)
    return len(ring.ring().keys)


CASES: Final = (
    *(Case(name, step_of(step)) for name, step in STEPS.items()),
    Case("sign", sign, template="unsigned"),
    Case("make", make, template="none", state=pending, verify=False),
    Case("migrate", migrate, template="older", state=pending, verify=False),
    Case("rotate a key", rotate, state=keys_of, drifts=True),
    Case("give a person a key", add_person, state=keys_of, drifts=True),
)


def die_before(point: int) -> None:
    """Have this process killed before its n-th statement, commit or change of a file."""
    left = point

    def reached(*_: Any) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name in CHANGES or (name == "open" and arguments[2] & WRITES):
            reached()

    event.listen(Engine, "before_cursor_execute", reached)
    event.listen(Engine, "commit", reached)
    sys.addaudithook(hook)


def process_of(work: Callable[[], Awaitable[object]], point: int | None, after: float) -> bool:
    """One process; whether it was killed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if point is not None:
                die_before(point)
            asyncio.run(_run(work))
            status = 0
        finally:
            os._exit(status)
    if point is None and after:
        time.sleep(random.uniform(0.0, after))  # noqa: S311 - any moment will do
        os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + HUNG_SECONDS
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise SystemExit(f"a process hung at point {point}")
        time.sleep(0.001)
    if not os.WIFSIGNALED(done[1]) and os.WEXITSTATUS(done[1]) != 0:
        raise SystemExit(f"a process failed by itself at point {point}")
    return os.WIFSIGNALED(done[1])


async def _run(work: Callable[[], Awaitable[object]]) -> None:
    await work()


@dataclass
class Findings:
    """What came of all processes."""

    killed: int = 0
    points: int = 0
    before: int = 0
    after: int = 0
    longest_wait_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


class Killing:
    """Kills processes of all cases."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.found = Findings()
        self._verified: set[tuple[str, object]] = set()

    def at_points(self, case: Case, stride: int, first: int) -> None:
        """Kill one process at each point."""
        after = self._after(case)
        scene = self._places.copy(case.template)
        before = case.state(scene)
        for point in count(first, stride):
            if not process_of(lambda: case.work(scene), point, 0.0):  # noqa: B023 - called at once
                break
            self.found.points += 1
            scene = self._look(case, scene, f"{case.name}, point {point}", before, after)
        if case.state(scene) != after:
            self.found.problems.append(f"{case.name}: the one that was left alone failed")
        self._then(case, scene)
        self._places.forget(scene)

    def at_random(self, rounds: int) -> None:
        """Kill processes at any moment of any case."""
        cases = random.choices([case for case in CASES if not case.drifts], k=rounds)  # noqa: S311 - any
        for case in cases:
            began = time.monotonic()
            after = self._after(case)
            took = time.monotonic() - began
            scene = self._places.copy(case.template)
            before = case.state(scene)
            process_of(lambda: case.work(scene), None, took)  # noqa: B023 - called at once
            self._places.forget(self._look(case, scene, f"{case.name}, any", before, after))

    def _after(self, case: Case) -> object:
        scene = self._places.copy(case.template)
        process_of(lambda: case.work(scene), None, 0.0)
        after = case.state(scene)
        self._places.forget(scene)
        return after

    def _look(self, case: Case, scene: Scene, where: str, before: object, after: object) -> Scene:
        """What a killed process left; the scene for the next one."""
        self.found.killed += 1
        began = time.monotonic()
        if case.verify or pending(scene) == ():
            with database_of(scene).connect(writes=True) as connection, connection.begin():
                pass  # the next writer has its turn
        waited = time.monotonic() - began
        self.found.longest_wait_seconds = max(self.found.longest_wait_seconds, waited)
        state = case.state(scene)
        if state not in {before, after}:
            self.found.problems.append(f"{where}: neither before nor after")
        if case.verify:
            keys = case.template != "unsigned"
            asyncio.run(stand(scene, keys=keys))  # what this home has seen of it is not ahead
            if (case.name, state) not in self._verified:
                self._verified.add((case.name, state))
                problems = asyncio.run(problems_of(scene, keys=keys))
                self.found.problems += [f"{where}: {problem}" for problem in problems]
        if state == before:
            self.found.before += 1
            return scene
        self.found.after += 1
        self._places.forget(scene)
        return self._places.copy(case.template)

    def _then(self, case: Case, scene: Scene) -> None:
        """Whoever comes next finds a store that verifies, and writes to it."""
        problems = asyncio.run(problems_of(scene, keys=case.verify or case.name != "make"))
        problems += asyncio.run(write_more(scene))
        self.found.problems += [f"{case.name}, then: {problem}" for problem in problems]


async def stand(scene: Scene, *, keys: bool) -> None:
    """Open the store, and look where its log stands."""
    async with await scene.open(keys=keys) as store:
        if keys:
            await store.signatures.state()


async def problems_of(scene: Scene, *, keys: bool) -> list[str]:
    """What a look at everything finds."""
    async with await scene.open(keys=keys) as store:
        return [f"{each.where}: {each.problem}" for each in (await store.verify()).damage]


async def write_more(scene: Scene) -> list[str]:
    """Admit one more version, and look again."""
    async with await scene.open() as store:
        await STEPS["admit"](store)
        await store.get(ToolRef(name="fresh"))
        return [f"{each.where}: {each.problem}" for each in (await store.verify()).damage]


def kill_copies(places: Places, found: Findings, stride: int) -> None:
    """Kill processes that copy a whole store into an empty place."""
    source, target = places.copy("furnished"), places.copy("none")
    whole = source.content()

    async def work() -> None:
        ring = source.ring()
        copy_store(
            database_of(source),
            database_of(target),
            lambda *_: None,
            lambda: Guard(ring, DEFAULT_SIGNATURES, lambda: AT),
        )

    for point in count(0, stride):
        if not process_of(work, point, 0.0):
            break
        found.points += 1
        found.killed += 1
        done = pending(target) == () and target.content() == whole
        if done:
            found.after += 1
            places.forget(target)
            target = places.copy("none")
            continue
        found.before += 1
        if pending(target) not in {(), REVISIONS} or not _is_empty(target):
            found.problems.append(f"copy, point {point}: a part is there")
    if target.content() != whole or source.content() != whole:
        found.problems.append("copy: the one that was left alone is not the same")
    places.forget(source)
    places.forget(target)


def _is_empty(scene: Scene) -> bool:
    async def head() -> int:
        async with await scene.open(keys=False) as store:
            return store.head()

    return asyncio.run(head()) == 0


def main(place: str, stride: int, random_rounds: int, every: int = 1) -> None:
    """All cases; the points of the next one begin where those of the last would go on."""
    places = Places(place)
    killing = Killing(places)
    try:
        for number, case in enumerate(CASES[::every]):
            killing.at_points(case, stride, number % stride)
            print(case.name, vars(killing.found), file=sys.stderr, flush=True)
        kill_copies(places, killing.found, stride)
        killing.at_random(random_rounds)
    finally:
        places.close()
    print(json.dumps(vars(killing.found)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *map(int, sys.argv[3:]))

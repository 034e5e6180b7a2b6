"""Two people and a program, each in a process of its own, decide on one version at once.

`python deciding_at_once.py LOCATION HOME ROUNDS`. In each round a version waits, and everybody
looks at it and decides at the same moment: bob says yes, eve yes or no, the policy of a program
says yes by now, and another program's policy no. A vote that was overtaken is looked at again, as
the review desk does. Prints one JSON document: how the rounds ended, how often somebody had to look
again, the longest that anybody took, and what was wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from factories import allowed, make_submission, needs_review, refused

import toolstore.migrations  # noqa: F401 - once here, not again in each process
from policies.decision import Approval, Decision
from policies.value import sha256_digest
from toolstore.attest.keys import KeyRing, utc_now
from toolstore.errors import TransitionError, VoteOvertakenError
from toolstore.models import Event, Submission, ToolVersion
from toolstore.store import ToolStore

OTHER: Final = b"the policy of another program"
PEOPLE: Final = ("bob", "eve")
VOTES: Final = frozenset({"endorsed", "approved", "rejected", "overruled"})
DECIDING: Final = frozenset({"approved", "rejected", "admitted"})
AHEAD_SECONDS: Final = 0.02
"""From the word that a round begins to its begin."""


async def open_store(location: str, home: Path) -> ToolStore:
    """The store, with the keys of a home."""
    place = location if "://" in location else Path(location)
    return await ToolStore.open(place, keys=KeyRing(home / "keys"), seen=home / "checkpoints")


async def say_yes(store: ToolStore, digest: str, person: str, people: int) -> int:
    """A vote under a policy that wants so many; how often it had to be looked at anew."""
    looks = 0
    while True:
        version = await store.version(digest)
        events = [e for e in await store.events(version.name) if e.digest == digest]
        try:
            await store.approve(
                digest,
                Approval(principal=person, digest=digest, at=utc_now(), comment="fine"),
                _of_people(version, person, people),
                actor=person,
                after=events[-1].sequence,
            )
        except VoteOvertakenError:
            looks += 1
        except TransitionError:
            return looks
        else:
            return looks


def _of_people(version: ToolVersion, person: str, people: int) -> Decision:
    said = {each.principal for each in version.approvals} | {person}
    return allowed() if len(said) >= people else needs_review()


async def bob(store: ToolStore, digest: str, number: int) -> int:
    """Yes, and in every second round another yes is wanted."""
    return await say_yes(store, digest, "bob", 1 + number % 2)


async def eve(store: ToolStore, digest: str, number: int) -> int:
    """Yes in every third round, else no."""
    if number % 3 == 0:
        return await say_yes(store, digest, "eve", 1 + number % 2)
    with suppress(TransitionError):  # it came too late, which is in the log
        await store.reject(digest, actor="eve", reason="no")
    return 0


async def program(store: ToolStore, digest: str, number: int) -> int:
    """The policy's yes: the same tool comes again, or the policy is applied to what waits."""
    with suppress(TransitionError):
        if number % 2:
            await store.lifecycle.readmit(digest, allowed(), actor="program")
        else:
            await store.admit(submission(number, allowed()), actor="program")
    return 0


async def other_program(store: ToolStore, digest: str, number: int) -> int:
    """A policy's no to what was approved; nothing where it is not, and in every second round."""
    if number % 4 < 2:
        decision = refused().model_copy(update={"policy_digest": sha256_digest(OTHER)})
        await store.decisions.decided_again(digest, decision, policy=OTHER, actor="other")
    return 0


DECIDERS: Final[tuple[Callable[[ToolStore, str, int], Awaitable[int]], ...]] = (
    bob,
    eve,
    program,
    other_program,
)


def submission(number: int, decision: Decision) -> Submission:
    """The version of a round."""
    return make_submission(f"tool_{number}", decision=decision)


@dataclass
class Process:
    """One decider: what it is told, and what it answers."""

    to: int
    answers: int
    pid: int


def fork(
    location: str, home: Path, decide: Callable[[ToolStore, str, int], Awaitable[int]]
) -> Process:
    """A process that decides whenever it is told to."""
    told, tell = os.pipe()
    hear, say = os.pipe()
    pid = os.fork()
    if pid:
        os.close(told)
        os.close(say)
        return Process(tell, hear, pid)
    try:
        os.close(tell)
        asyncio.run(_decide(location, home, decide, told, say))
    finally:
        os._exit(0)


async def _decide(
    location: str,
    home: Path,
    decide: Callable[[ToolStore, str, int], Awaitable[int]],
    told: int,
    say: int,
) -> None:
    async with await open_store(location, home) as store:
        with os.fdopen(told) as orders, os.fdopen(say, "w") as answers:
            for order in orders:
                digest, number, at = json.loads(order)
                while time.time() < at:
                    pass
                began = time.monotonic()
                answer: dict[str, object] = {"error": "", "looks": 0}
                try:
                    answer["looks"] = await decide(store, digest, number)
                except Exception:  # noqa: BLE001 - whatever it is, the parent must hear of it
                    answer["error"] = traceback.format_exc()
                answer["seconds"] = time.monotonic() - began
                print(json.dumps(answer), file=answers, flush=True)


@dataclass
class Findings:
    """What came of all rounds."""

    outcomes: Counter[str] = field(default_factory=Counter)
    overruled: int = 0
    looks: int = 0
    slowest_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def problems_of(version: ToolVersion, events: list[Event]) -> list[str]:
    """What is wrong with what the log says of one round."""
    found = []
    for person in PEOPLE:
        votes = [event.type for event in events if event.actor == person and event.type in VOTES]
        if len(votes) != 1:
            found.append(f"{person} voted once, and the log has {votes}")
    decided = [event for event in events if event.type in DECIDING]
    suspended = [event for event in events if event.type == "suspended"]
    if not len(suspended) <= len(decided) <= len(suspended) + 1:
        found.append(f"decided {len(decided)} times, and set aside {len(suspended)} times")
    if version.state != events[-1].to_state:
        found.append(f"it is {version.state} and the log ends with {events[-1].to_state}")
    return [f"{version.ref}: {problem}" for problem in found]


async def rounds(location: str, home: Path, count: int, deciders: list[Process]) -> Findings:
    """All rounds, one after the other."""
    found = Findings()
    pipes = [(os.fdopen(each.to, "w"), os.fdopen(each.answers)) for each in deciders]
    async with await open_store(location, home) as store:
        for number in range(count):
            waiting = await store.admit(submission(number, needs_review()), actor="ada")
            order = json.dumps([waiting.digest, number, time.time() + AHEAD_SECONDS])
            for orders, _ in pipes:
                print(order, file=orders, flush=True)
            for _, answers in pipes:
                answer = json.loads(answers.readline())
                found.looks += answer["looks"]
                found.slowest_seconds = max(found.slowest_seconds, answer["seconds"])
                if answer["error"]:
                    found.problems.append(f"round {number}: {answer['error']}")
            version = await store.version(waiting.digest)
            events = list(await store.events(version.name))
            found.problems += problems_of(version, events)
            found.outcomes[str(version.state)] += 1
            found.overruled += sum(event.type == "overruled" for event in events)
        for orders, answers in pipes:
            orders.close()
            answers.close()
        report = await store.verify()
        found.problems += [f"{damage.where}: {damage.problem}" for damage in report.damage]
    return found


def main(location: str, home: Path, count: int) -> None:
    """Make the keys and the store, then the processes, then decide."""
    KeyRing(home / "keys").ring()
    deciders = [fork(location, home, decide) for decide in DECIDERS]
    found = asyncio.run(rounds(location, home, count, deciders))
    for each in deciders:
        os.waitpid(each.pid, 0)
    print(json.dumps(vars(found)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))

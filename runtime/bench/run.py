"""One run of the benchmark on one engine."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from policies.value import JsonObject
from runtime.bench.errors import BenchError
from runtime.bench.floors import EngineFloor, floor_options, kernel_times
from runtime.bench.groups import Group
from runtime.bench.ledger import Ledger
from runtime.bench.loops import all_at_once, for_a_while, in_turn, shared_out
from runtime.bench.meters import container_memory
from runtime.bench.plan import Plan, Slice
from runtime.bench.report import BenchReport, Kind, Machine
from runtime.bench.subjects import ADD, Subject, open_subject
from runtime.bench.targets import checks_of, compare
from sandbox.engine import Engine, EngineError, default_docker_host
from sandbox.errors import SandboxError, SandboxUnavailableError
from sandbox.identity import new_owner
from sandbox.images import engine_reference, ensure_image
from sandbox.reaper import Janitor, remove_owned
from sandbox.runtimes import Runtime, distinct, find_runtime, list_runtimes

__all__ = ["RoundStep", "bench_engine"]

_PROCESSES_AT_ONCE: Final = (4, 8, 16)
_SPARE: Final = 4
"""Places beside those for a burst, for containers with other walls."""


@dataclass
class _Contestant:
    """One runtime: the engine on it by itself, and the sandbox."""

    subject: Subject
    floor: EngineFloor
    first: bool
    has_processes: bool = False

    @property
    def name(self) -> str:
        return self.subject.runtime


RoundStep: TypeAlias = Callable[[int, Ledger], Awaitable[None]]
"""Something else that has its turn in each round; it gets the round's number."""


@dataclass
class _Run:
    """What the steps of a run share."""

    plan: Plan
    progress: Callable[[str], None]
    also: RoundStep | None = None
    ledger: Ledger = field(default_factory=Ledger)
    skipped: list[str] = field(default_factory=list)

    def wants(self, group: Group) -> bool:
        return group in self.plan.groups

    # --- rounds

    async def rounds(self, contestants: Sequence[_Contestant]) -> None:
        """Everything that is timed call by call."""
        for number in range(self.plan.rounds):
            self.progress(f"round {number + 1} of {self.plan.rounds}")
            if self.wants(Group.BARE):
                await self._bare()
            for contestant in contestants:
                await self._cold(contestant)
                await self._pool(contestant, burst=number < self.plan.burst_rounds)
                await self._process(contestant)
                await self._time_outs(contestant)
            if self.also is not None:
                await self.also(number, self.ledger)

    async def _bare(self) -> None:
        times = await kernel_times(self.plan.bare)
        self.ledger.add_times(Kind.FORK, times.fork)
        self.ledger.add_times(Kind.PIPE, times.pipe)
        self.ledger.add_times(Kind.PYTHON, times.python)
        wall = times.python_at_once_wall
        self.ledger.add_times(Kind.PYTHON, times.python_at_once, wall_seconds=wall, at_once=8)

    async def _cold(self, on: _Contestant) -> None:
        if not self.wants(Group.COLD):
            return
        share = self.plan.share(first=on.first)
        for kind, work, count in (
            (Kind.ENGINE_ATTACH, on.floor.create_start_attach, share.engine),
            (Kind.COLD, on.subject.cold_call, share.cold),
            (Kind.ENGINE_REMOVE, on.floor.create_start_remove, share.engine),
        ):
            sample = await in_turn(work, count, on.subject.cold_settled)
            self.ledger.add(kind, sample, runtime=on.name)
        on.subject.take_hits()

    async def _pool(self, on: _Contestant, *, burst: bool) -> None:
        if not self.wants(Group.POOL):
            return
        subject, share = on.subject, self.plan.share(first=on.first)
        sample = await in_turn(subject.pooled_call, share.hits, partial(subject.fill, 2))
        self.ledger.add(Kind.POOL_HIT, sample, runtime=on.name, hits=subject.take_hits())
        if not burst:
            return
        count = self.plan.burst
        sample = await all_at_once(subject.pooled_call, count, partial(subject.fill, count))
        hits = subject.take_hits()
        self.ledger.add(Kind.BURST, sample, runtime=on.name, at_once=count, hits=hits)

    async def _process(self, on: _Contestant) -> None:
        if not (self.wants(Group.PROCESS) and on.has_processes):
            return
        work, share = on.subject.process_call, self.plan.share(first=on.first)
        sample = await in_turn(work, share.process)
        self.ledger.add(Kind.PROCESS, sample, runtime=on.name)
        for at_once in _PROCESSES_AT_ONCE:
            sample = await shared_out(work, at_once, share.process_at_once)
            self.ledger.add(Kind.PROCESS, sample, runtime=on.name, at_once=at_once)
        on.subject.take_hits()

    async def _time_outs(self, on: _Contestant) -> None:
        if not self.wants(Group.TIMEOUT):
            return
        subject, share = on.subject, self.plan.share(first=on.first)
        sample = await in_turn(subject.timed_out_call, share.time_outs, subject.fill_for_time_out)
        self.ledger.add(Kind.TIMEOUT, sample, runtime=on.name)

    # --- steady load

    async def steady(self, contestants: Sequence[_Contestant]) -> None:
        """The engine by itself and the sandbox in turn, slice by slice."""
        if not self.wants(Group.STEADY):
            return
        for on in contestants:
            slices = self.plan.slices if on.first else self.plan.other_slices
            for number in range(max((each.pieces for each in slices), default=0)):
                for each in slices:
                    if number < each.pieces:
                        self.progress(f"steady load, {on.name}, {each.at_once} at once")
                        await self._piece(on, each)

    async def _piece(self, on: _Contestant, piece: Slice) -> None:
        subject, at_once = on.subject, piece.at_once
        # What begins together also ends together, so the first call of each caller does not count.
        bare = await for_a_while(
            on.floor.create_start_remove, at_once, piece.engine_seconds, lead_in=at_once
        )
        self.ledger.add(Kind.ENGINE_REMOVE, bare, runtime=on.name, at_once=at_once)
        await subject.fill(1)
        # What stands ready is used up first, and what is made meanwhile is used in the time.
        ready = self.plan.burst + at_once
        sample = await for_a_while(subject.pooled_call, at_once, piece.seconds, lead_in=ready)
        hits = subject.take_hits()
        self.ledger.add(Kind.STEADY, sample, runtime=on.name, at_once=at_once, hits=hits)
        await subject.pooled.settle()

    # --- memory

    async def memory(self, contestants: Sequence[_Contestant]) -> None:
        """Of containers that stand ready: the middle one."""
        if not self.wants(Group.MEMORY):
            return
        for on in contestants:
            await on.subject.fill(3)
            found = [container_memory(name) for name in await on.subject.warm_containers()]
            known = sorted((own for own in found if own), key=lambda own: own.size_bytes)
            if known:
                middle = known[len(known) // 2]
                self.ledger.add_memory(on.name, middle.size_bytes, middle.how)
            else:
                self.skipped.append(f"{on.name}: the memory of a container cannot be read here")


async def bench_engine(
    docker_host: str | None,
    state_dir: Path,
    plan: Plan,
    *,
    progress: Callable[[str], None],
    also: RoundStep | None = None,
) -> BenchReport:
    """Connect to an engine, see to its guest image, and measure, with `also` in each round.

    Raises:
        SandboxError: There is no engine or image, none of its runtimes is ready, or it failed.
        BenchError: A call did not do what it was called for.
    """
    url = docker_host or default_docker_host()
    try:
        engine = await Engine.connect(url)
        try:
            image = await ensure_image(engine, state_dir, progress=progress)
            run = _Run(plan, progress, also)
            return await _measure(engine, image, run)
        finally:
            await engine.close()
    except* EngineError as errors:
        raise SandboxUnavailableError(str(_first(errors)), engine=url) from errors
    except* (SandboxError, BenchError) as errors:
        raise _first(errors) from None


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """One cause of a group of groups."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _measure(engine: Engine, image_digest: str, run: _Run) -> BenchReport:
    """On every runtime that is planned for and ready, the engine's default first."""
    start = time.perf_counter()
    machine = await _machine(engine)
    async with _contestants(engine, image_digest, run) as contestants:
        await run.memory(contestants)
        await run.rounds(contestants)
        await run.steady(contestants)
    rows = compare(run.ledger.rows())
    return BenchReport(
        command=run.plan.command,
        quick=run.plan.quick,
        machine=machine,
        seconds=time.perf_counter() - start,
        rows=rows,
        checks=checks_of(rows, [each.name for each in contestants]),
        skipped=tuple(run.skipped),
    )


@asynccontextmanager
async def _contestants(
    engine: Engine, image_digest: str, run: _Run
) -> AsyncIterator[list[_Contestant]]:
    image = await engine_reference(engine, image_digest) or image_digest
    owner = new_owner()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(remove_owned, engine, owner)
        janitor = Janitor(engine.url, owner)
        stack.push_async_callback(janitor.close)
        await janitor.ensure()
        found: list[_Contestant] = []
        for runtime in await _wanted(engine, run.plan.runtimes):
            run.progress(f"is {runtime.name} ready?")
            try:
                subject = await stack.enter_async_context(
                    open_subject(engine, image_digest, runtime, idle=run.plan.burst + _SPARE)
                )
            except (SandboxError, EngineError) as error:
                run.skipped.append(f"{runtime.name}: not ready: {error}")
                continue
            floor = EngineFloor(engine, _options(image, owner, runtime))
            on = _Contestant(subject, floor, first=not found)
            await _look_for_processes(on, run)
            found.append(on)
        if not found:
            raise SandboxError(f"no runtime is ready: {'; '.join(run.skipped)}")
        yield found


async def _wanted(engine: Engine, names: Sequence[str]) -> tuple[Runtime, ...]:
    """The named runtimes, or one of each sort; each name is one that the engine lists."""
    if not names:
        return distinct(await list_runtimes(engine))
    found = [await find_runtime(engine, name) for name in names]
    return tuple(sorted(found, key=lambda runtime: not runtime.is_default))


async def _look_for_processes(on: _Contestant, run: _Run) -> None:
    if run.wants(Group.PROCESS):
        on.has_processes = await on.subject.has_process_tier()
        if not on.has_processes:
            run.skipped.append(f"{on.name}: an approved version got no process of its own")
        on.subject.take_hits()


def _options(image: str, owner: str, runtime: Runtime) -> JsonObject:
    return floor_options(ADD, image=image, owner=owner, runtime=runtime)


async def _machine(engine: Engine) -> Machine:
    info = await engine.info()
    return Machine(
        python=platform.python_version(),
        kernel=str(info.get("KernelVersion")),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        engine=f"{info.get('ServerVersion')}",
        storage=str(info.get("Driver") or ""),
        cgroups=f"v{info.get('CgroupVersion') or '1'}, {info.get('CgroupDriver')}",
        load=os.getloadavg()[0],
    )

"""What an engine really holds, tried in containers: nothing is believed from its settings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from policies.evidence import Outcome
from policies.limits import MIB, ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject, Value, canonical_json
from sandbox.base import Posture, Program
from sandbox.container import GuestContainer, attached
from sandbox.conversation import Call, Conversation, greet
from sandbox.engine import Engine, EngineError
from sandbox.errors import ImageError, SandboxError, SandboxUnavailableError
from sandbox.hardening import (
    container_options,
    host_limit_differences,
    posture_differences,
)
from sandbox.hostlimits import HostLimits, read_host_limits
from sandbox.identity import new_owner, owner_labels
from sandbox.images import engine_reference
from sandbox.reaper import Janitor, remove_owned
from sandbox.runtimes import RUNC, Runtime, RuntimeKind

__all__ = ["Observation", "ProbeResult", "observe", "probe", "probe_source"]

_PROBE: Final = Path(__file__).parent / "guest" / "probe.py"
_FLOOD_SECONDS: Final = 0.3
_DEATH_SECONDS: Final = 3.0
_LIMITS: Final = ResourceLimits(
    wall_seconds=20.0,
    memory_bytes=64 * MIB,
    pids=24,
    tmp_bytes=4 * MIB,
    tmp_files=64,
    open_files=64,
)


class ProbeResult(Value):
    """One thing that was tried."""

    name: str
    ok: bool
    detail: str
    """What happened, in words."""

    required: bool = True
    """Whether it should hold on this kind of runtime; what need not is told all the same."""


@dataclass(frozen=True)
class Observation:
    """What one container showed."""

    posture: Posture
    calls: tuple[Call, ...]
    removed: bool
    """Whether it could be killed and removed."""

    host_limits: HostLimits
    """What this host's kernel held it to."""

    @property
    def value(self) -> JsonValue:
        """What the last call returned."""
        return self.calls[-1].verdict.value

    @property
    def outcome(self) -> Outcome:
        """What came of the last call."""
        return self.calls[-1].verdict.outcome


def probe_source() -> str:
    """The guest program that tries the walls; its functions are the attempts."""
    return _PROBE.read_text(encoding="utf-8")


async def observe(
    engine: Engine, options: JsonObject, program: Program, batch: Sequence[JsonObject] = ({},)
) -> Observation:
    """Run `program` in a container with exactly these options, whatever its posture.

    Raises:
        EngineError: The container was not made or did not start.
        SandboxError: It did not become ready, or was lost.
    """
    guest = await GuestContainer.create(engine, lambda _: options, attached(program.limits))
    removed = True
    try:
        await guest.start()
        posture = await greet(engine, guest)
        host_limits = read_host_limits(guest.id)
        talk = Conversation(engine, guest, program)
        calls = await talk.hold([canonical_json(arguments) for arguments in batch])
    finally:
        try:
            await engine.finish(guest.dispose())
        except EngineError:
            removed = False
    calls[-1] = talk.last_words(calls[-1])
    return Observation(
        posture=posture, calls=tuple(calls), removed=removed, host_limits=host_limits
    )


async def probe(
    engine: Engine, image_digest: str, runtime: Runtime = RUNC
) -> tuple[ProbeResult, ...]:
    """Try every wall of a container on this engine, with that runtime of its.

    Raises:
        SandboxUnavailableError: No container can be run at all.
    """
    try:
        async with _bench(engine, image_digest, runtime) as bench, asyncio.TaskGroup() as tasks:
            walls = tasks.create_task(bench.run("probe", LintLevel.L2))
            forking = tasks.create_task(bench.run("make_process", LintLevel.L0))
            memory = tasks.create_task(
                bench.run("use_memory", LintLevel.L2, {"size": 2 * _LIMITS.memory_bytes})
            )
            flood = tasks.create_task(bench.run("flood", LintLevel.L2))
            unread = tasks.create_task(bench.kill_unread_flood())
    except* EngineError as errors:
        reason = str(errors.exceptions[0])
        raise SandboxUnavailableError(reason, engine=engine.url) from errors
    except* SandboxError as errors:
        raise errors.exceptions[0] from None
    results = (
        _posture_result(walls.result(), runtime),
        *([_group_result(walls.result(), runtime)] if engine.is_here else []),
        *_wall_results(walls.result()),
        _forking_result(forking.result()),
        _memory_result(memory.result()),
        _flood_result(flood.result()),
        _unread_result(dead=unread.result()),
    )
    return tuple(_in_the_light_of(result, _weaknesses(runtime)) for result in results)


def _in_the_light_of(result: ProbeResult, weaknesses: Mapping[str, str]) -> ProbeResult:
    """What does not hold on a runtime by its nature is told, and is no failure."""
    reason = weaknesses.get(result.name)
    if result.ok or reason is None:
        return result
    detail = f"{result.detail}; {reason}"
    return result.model_copy(update={"required": False, "detail": detail})


def _weaknesses(runtime: Runtime) -> dict[str, str]:
    """What need not hold on that runtime, and what holds instead."""
    weak: dict[str, str] = {}
    if runtime.kind is RuntimeKind.RUNSC:
        weak["nothing runs from /tmp"] = (
            "gVisor refuses to start programs there and lets their code be mapped, in its own "
            "kernel alone"
        )
        weak["number of files"] = "gVisor counts no files; their bytes are limited"
    if not runtime.system_call_filter:
        weak["no sockets"] = (
            "without --oci-seccomp among its arguments there is no filter of system calls; no "
            "interface but loopback is there"
        )
        weak["no processes at L0"] = (
            "without --oci-seccomp among its arguments there is no filter of system calls; the "
            "number of processes is limited"
        )
    if not runtime.limits_hold:
        weak["memory"] = "each process has a ceiling of its own, all of them together have none"
        weak["control group"] = (
            "it is told to ignore control groups: limits of single processes stand in, and a "
            "policy with `require_limits = true` refuses it"
        )
    return weak


@dataclass(frozen=True)
class _Bench:
    """Makes containers as the sandbox would, and lets them speak whatever their posture."""

    engine: Engine
    image: str
    owner: str
    runtime: Runtime

    async def run(
        self, function: str, level: LintLevel, arguments: JsonObject | None = None
    ) -> Observation:
        program = _program(function, level)
        return await observe(self.engine, self._options(level), program, (arguments or {},))

    def _options(self, level: LintLevel) -> JsonObject:
        return container_options(
            level=level,
            limits=_LIMITS,
            image=self.image,
            labels=owner_labels(self.owner),
            runtime=self.runtime,
        )

    async def kill_unread_flood(self) -> bool:
        """Whether a container can be killed whose output nobody reads."""
        channel = attached(_LIMITS)
        options = self._options(LintLevel.L2)
        guest = await GuestContainer.create(self.engine, lambda _: options, channel)
        try:
            await guest.start()
            await greet(self.engine, guest)
            talk = Conversation(self.engine, guest, _program("flood", LintLevel.L2))
            channel.stop_listening()
            async with asyncio.TaskGroup() as tasks:
                flood = tasks.create_task(talk.hold([b"{}"]))
                await asyncio.sleep(_FLOOD_SECONDS)
                await guest.kill()
                flood.cancel()
            channel.close()  # the engine tells nothing of a container whose output nobody takes
            return await self._has_ended(guest)
        finally:
            with contextlib.suppress(EngineError):
                await self.engine.finish(guest.dispose())

    async def _has_ended(self, guest: GuestContainer) -> bool:
        """Whether the engine sees it too, which takes it a moment."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _DEATH_SECONDS
        return await guest.exit_state(deadline) is not None


def _program(function: str, level: LintLevel) -> Program:
    return Program(code=probe_source(), function=function, level=level, limits=_LIMITS)


@contextlib.asynccontextmanager
async def _bench(engine: Engine, image_digest: str, runtime: Runtime) -> AsyncIterator[_Bench]:
    image = await engine_reference(engine, image_digest)
    if image is None:
        raise ImageError(f"the engine has no image {image_digest}", engine=engine.url)
    owner = new_owner()
    janitor = Janitor(engine.url, owner)
    await janitor.ensure()
    try:
        yield _Bench(engine, image, owner, runtime)
    finally:
        with contextlib.suppress(EngineError):
            await remove_owned(engine, owner)
        await janitor.close()


def _posture_result(seen: Observation, runtime: Runtime) -> ProbeResult:
    differences = posture_differences(seen.posture, limits=_LIMITS, runtime=runtime)
    detail = "; ".join(differences) or "uid, capabilities, mounts, network and limits as demanded"
    return ProbeResult(name="posture", ok=not differences, detail=detail)


def _group_result(seen: Observation, runtime: Runtime) -> ProbeResult:
    differences = host_limit_differences(seen.host_limits, limits=_LIMITS, runtime=runtime)
    detail = "; ".join(differences) or "memory, processes and processor as demanded"
    return ProbeResult(name="control group", ok=not differences, detail=detail)


@dataclass(frozen=True)
class _Wall:
    """An attempt of the probe and the answers that mean that the wall stands."""

    name: str
    attempt: str
    good: tuple[str, ...]


_WALLS: Final = (
    _Wall("read-only root", "write_root", ("EROFS", "EACCES")),
    _Wall("nothing runs from /tmp", "run_from_tmp", ("EPERM", "EACCES")),
    _Wall("no way to root", "become_root", ("EPERM",)),
    _Wall("no sockets", "open_socket", ("EPERM",)),
    _Wall("no kernel symbols", "read_symbols", ("empty", "EACCES", "EPERM", "ENOENT")),
    _Wall("no shared memory", "use_shared_memory", ("ENOENT", "EROFS", "EACCES")),
    _Wall("control group names hidden", "name_group", ("private",)),
    _Wall("file size", "one_large_file", ("EFBIG",)),
    _Wall("limits stay down", "raise_limit", ("ValueError", "EPERM")),
)

_COUNTED: Final = (
    ("size of /tmp", "fill_tmp", _LIMITS.tmp_bytes // 1024),
    ("number of files", "fill_names", _LIMITS.tmp_files),
    ("number of open files", "open_files", _LIMITS.open_files),
    ("number of threads", "start_threads", _LIMITS.pids),
)


def _wall_results(seen: Observation) -> list[ProbeResult]:
    answers = seen.value
    if not isinstance(answers, dict):
        said = seen.calls[-1].verdict.error_message
        return [ProbeResult(name="walls", ok=False, detail=f"the probe did not answer: {said}")]
    results = [
        ProbeResult(
            name=wall.name,
            ok=answers.get(wall.attempt) in wall.good,
            detail=f"{wall.attempt}: {answers.get(wall.attempt)}",
        )
        for wall in _WALLS
    ]
    return results + [_counted_result(*row, answers) for row in _COUNTED]


def _counted_result(name: str, attempt: str, ceiling: int, answers: JsonObject) -> ProbeResult:
    match answers.get(attempt):
        case [int(count), str(word)]:
            held = word != "possible" and count <= ceiling
            return ProbeResult(name=name, ok=held, detail=f"{count} of {ceiling}, then {word}")
        case other:
            return ProbeResult(name=name, ok=False, detail=f"{attempt}: {other}")


def _forking_result(seen: Observation) -> ProbeResult:
    refused = seen.outcome is Outcome.RAISED
    detail = seen.calls[-1].verdict.error_message if refused else "a process could be made"
    return ProbeResult(name="no processes at L0", ok=refused, detail=detail)


def _memory_result(seen: Observation) -> ProbeResult:
    verdict = seen.calls[-1].verdict
    detail = verdict.error_message or "more memory than allowed could be used"
    return ProbeResult(name="memory", ok=verdict.outcome is Outcome.OUT_OF_MEMORY, detail=detail)


def _flood_result(seen: Observation) -> ProbeResult:
    verdict = seen.calls[-1].verdict
    stopped = verdict.limit == "output" and seen.removed
    detail = verdict.error_message if stopped else "a flood of output could not be stopped"
    return ProbeResult(name="output flood is killed", ok=stopped, detail=detail)


def _unread_result(*, dead: bool) -> ProbeResult:
    detail = "killed" if dead else "it could not be killed while nobody read"
    return ProbeResult(name="unread flood is killed", ok=dead, detail=detail)

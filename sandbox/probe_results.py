"""What the attempts of the probe mean: which walls stand, on which runtime which need not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policies.evidence import Outcome
from policies.limits import MIB, ResourceLimits
from policies.value import JsonObject, Value
from sandbox.attestation import host_limit_differences, posture_differences
from sandbox.observation import Observation
from sandbox.runtimes import Runtime, RuntimeKind

__all__ = [
    "PROBE_LIMITS",
    "ProbeResult",
    "flood_result",
    "forking_result",
    "group_result",
    "in_the_light_of",
    "memory_result",
    "posture_result",
    "unread_result",
    "wall_results",
]

PROBE_LIMITS: Final = ResourceLimits(
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


def in_the_light_of(runtime: Runtime, result: ProbeResult) -> ProbeResult:
    """What does not hold on a runtime by its nature is told, and is no failure."""
    reason = _weaknesses(runtime).get(result.name)
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
        weak["memory"] = "each process has its own ceiling, and all together have none"
        weak["control group"] = (
            "it is told to ignore control groups: limits of single processes stand in, and a "
            "policy with `require_limits = true` refuses it"
        )
    return weak


def posture_result(seen: Observation, runtime: Runtime) -> ProbeResult:
    """What the guest saw of its walls."""
    differences = posture_differences(seen.posture, limits=PROBE_LIMITS, runtime=runtime)
    detail = "; ".join(differences) or "uid, capabilities, mounts, network and limits as demanded"
    return ProbeResult(name="posture", ok=not differences, detail=detail)


def group_result(seen: Observation, runtime: Runtime) -> ProbeResult:
    """What the host's kernel held the guest to."""
    differences = host_limit_differences(seen.host_limits, limits=PROBE_LIMITS, runtime=runtime)
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
    ("size of /tmp", "fill_tmp", PROBE_LIMITS.tmp_bytes // 1024),
    ("number of files", "fill_names", PROBE_LIMITS.tmp_files),
    ("number of open files", "open_files", PROBE_LIMITS.open_files),
    ("number of threads", "start_threads", PROBE_LIMITS.pids),
)


def wall_results(seen: Observation) -> list[ProbeResult]:
    """What came of each attempt."""
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


def forking_result(seen: Observation) -> ProbeResult:
    """What came of a process made where none may be."""
    refused = seen.outcome is Outcome.RAISED
    detail = seen.calls[-1].verdict.error_message if refused else "a process could be made"
    return ProbeResult(name="no processes at L0", ok=refused, detail=detail)


def memory_result(seen: Observation) -> ProbeResult:
    """What came of using twice the memory."""
    verdict = seen.calls[-1].verdict
    ended = verdict.outcome is Outcome.OUT_OF_MEMORY
    refused = verdict.error_type == MemoryError.__name__
    detail = (
        verdict.error_message
        if ended
        else "a process was refused more with a MemoryError"
        if refused
        else "more memory than allowed could be used"
    )
    return ProbeResult(name="memory", ok=ended, detail=detail)


def flood_result(seen: Observation) -> ProbeResult:
    """What came of printing without end."""
    verdict = seen.calls[-1].verdict
    stopped = verdict.limit == "output" and seen.removed
    detail = verdict.error_message if stopped else "a flood of output could not be stopped"
    return ProbeResult(name="output flood is killed", ok=stopped, detail=detail)


def unread_result(*, dead: bool) -> ProbeResult:
    """What came of a kill while nobody read what was printed."""
    detail = "killed" if dead else "it could not be killed while nobody read"
    return ProbeResult(name="unread flood is killed", ok=dead, detail=detail)

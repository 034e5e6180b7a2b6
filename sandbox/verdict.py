"""What came of one call: told from raw frames and the engine's word, on the host alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, assert_never

from pydantic import JsonValue, ValidationError

from policies.evidence import Outcome
from policies.limits import ResourceLimits
from policies.value import Value
from sandbox.ceilings import cpu_seconds
from sandbox.engine import ContainerState
from sandbox.errors import SandboxLostError
from sandbox.frames import Frame, FrameError, FrameTooLargeError, Kind, decode_json
from sandbox.intake import Notice
from sandbox.usage import GroupReading

__all__ = ["Verdict", "judge_answer", "judge_exit", "judge_notice"]

_SIGNALLED: Final = 128
_CEILING_EXITS: Final = {_SIGNALLED + 24: "cpu", _SIGNALLED + 25: "file_size"}
"""Exit codes of SIGXCPU and SIGXFSZ."""

_SIGNALS: Final = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV"}
_KILLED: Final = _SIGNALLED + 9


@dataclass(frozen=True)
class Verdict:
    """The part of a result that says what happened; fields as in `ExecutionResult`."""

    outcome: Outcome
    value: JsonValue = None
    error_type: str | None = None
    error_message: str = ""
    traceback: str = ""
    limit: str | None = None
    exit_code: int | None = None


class _Report(Value):
    """The payload of an error frame."""

    type: str
    message: str
    traceback: str


def judge_answer(frame: Frame, *, call: int, limits: ResourceLimits) -> Verdict:
    """What an answer says, if it is one."""
    if frame.call != call or frame.kind not in (Kind.VALUE, Kind.ERROR):
        return _broken(f"a frame of kind {frame.kind.name} for call {frame.call}, not an answer")
    try:
        return _returned(frame, limits) if frame.kind is Kind.VALUE else _raised(frame)
    except FrameTooLargeError as error:
        return judge_notice(Notice.RESULT_TOO_LARGE, limits=limits, problem=str(error))
    except FrameError as error:
        return _broken(str(error))


def _returned(frame: Frame, limits: ResourceLimits) -> Verdict:
    return Verdict(
        Outcome.RETURNED, value=decode_json(frame.payload, max_bytes=limits.result_bytes)
    )


def _raised(frame: Frame) -> Verdict:
    try:
        content = decode_json(frame.payload, max_bytes=len(frame.payload))
        report = _Report.model_validate(content)
    except ValidationError:
        return _broken("an error without its three parts")
    return Verdict(
        Outcome.RAISED,
        error_type=report.type,
        error_message=report.message,
        traceback=report.traceback,
    )


def judge_notice(notice: Notice, *, limits: ResourceLimits, problem: str) -> Verdict:
    """What stopped a call that did not answer; `ENDED` needs the engine's word instead."""
    match notice:
        case Notice.TIMED_OUT:
            return Verdict(
                Outcome.TIMED_OUT,
                limit="wall_time",
                error_message=f"stopped after {limits.wall_seconds:g} s without an answer",
            )
        case Notice.OUTPUT_FULL:
            return Verdict(
                Outcome.LIMIT_EXCEEDED,
                limit="output",
                error_message=f"stopped: it printed more than {limits.output_bytes} bytes",
            )
        case Notice.RESULT_TOO_LARGE:
            return Verdict(
                Outcome.LIMIT_EXCEEDED,
                limit="result",
                error_message=f"the result is too large ({problem}); return less",
            )
        case Notice.BROKEN | Notice.ENDED:
            return _broken(problem)
        case _:
            assert_never(notice)


def judge_exit(  # noqa: PLR0913  each is one fact, and all but two have a default
    state: ContainerState,
    *,
    half_a_frame: bool,
    limits: ResourceLimits,
    group: GroupReading | None = None,
    calls: int = 1,
    can_kill_itself: bool = False,
    engine: str = "",
) -> Verdict:
    """What a process did that ended without an answer, or with half of one.

    `group` is what the kernel counted until then, where this host can read it. No process of a
    container can kill its first one, so SIGKILL for no reason of the guest's came from outside;
    `can_kill_itself` is for runtimes that hold otherwise.

    Raises:
        SandboxLostError: Somebody else killed it.
    """
    code = state.exit_code
    if code == _KILLED:
        group = group or GroupReading()
        if state.oom_killed or group.oom_kills:
            return _out_of_memory(limits)
        if (group.cpu_seconds or 0.0) >= cpu_seconds(limits, calls):
            return _ceiling("cpu", code)  # it ignores the signal that comes before
        if not can_kill_itself:
            raise SandboxLostError("the guest was killed from outside", engine=engine)
    if code in _CEILING_EXITS:
        return _ceiling(_CEILING_EXITS[code], code)
    if half_a_frame:
        return _broken(f"it ended with code {code} in the middle of an answer", exit_code=code)
    return Verdict(Outcome.CRASHED, error_message=_explain_exit(code), exit_code=code)


def _out_of_memory(limits: ResourceLimits) -> Verdict:
    return Verdict(
        Outcome.OUT_OF_MEMORY,
        limit="memory",
        error_message=f"killed: it needed more than {limits.memory_bytes} bytes of memory",
        exit_code=_KILLED,
    )


def _ceiling(name: str, exit_code: int) -> Verdict:
    return Verdict(
        Outcome.LIMIT_EXCEEDED,
        limit=name,
        error_message=f"killed at the ceiling of {name.replace('_', ' ')}",
        exit_code=exit_code,
    )


def _explain_exit(code: int) -> str:
    signal = _SIGNALS.get(code - _SIGNALLED)
    manner = f"with code {code}" if signal is None else f"by {signal}"
    return f"the process ended {manner} without an answer"


def _broken(problem: str, *, exit_code: int | None = None) -> Verdict:
    return Verdict(
        Outcome.PROTOCOL_BROKEN,
        error_message=f"what came back is not one well-formed answer: {problem}",
        exit_code=exit_code,
    )

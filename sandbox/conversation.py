"""The talk with one guest: its posture first, then the program, then call by call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pydantic import ValidationError

from policies.evidence import Outcome
from policies.value import canonical_json
from sandbox.base import Posture, Program, Usage
from sandbox.container import GuestContainer, Notice
from sandbox.engine import Engine, EngineError
from sandbox.errors import SandboxLostError, SandboxPostureError, SandboxUnavailableError
from sandbox.frames import MAX_DEPTH, Frame, FrameError, Kind, decode_json
from sandbox.hardening import posture_differences
from sandbox.usage import read_usage
from sandbox.verdict import Verdict, judge_answer, judge_exit, judge_notice

__all__ = ["Call", "Conversation"]

_READY_SECONDS: Final = 60.0
_POSTURE_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class Call:
    """One call as it went."""

    verdict: Verdict
    execute_seconds: float
    usage: Usage
    output: str
    output_bytes: int

    @property
    def answered(self) -> bool:
        """Whether the guest can take another call."""
        return self.verdict.outcome in (Outcome.RETURNED, Outcome.RAISED)


class Conversation:
    """Calls of one program in one container."""

    def __init__(self, engine: Engine, guest: GuestContainer, program: Program) -> None:
        self._engine = engine
        self._guest = guest
        self._program = program
        self._limits = program.limits
        self._counted = 0

    async def admit(self, calls: int) -> Posture:
        """The posture of a guest that stands as demanded.

        Raises:
            SandboxUnavailableError: It did not become ready.
            SandboxPostureError: Its walls are not those demanded.
        """
        posture = await self.greet()
        if differences := posture_differences(posture, limits=self._limits, calls=calls):
            raise SandboxPostureError(differences)
        return posture

    async def greet(self) -> Posture:
        """The posture, as the guest sees it; nothing has been sent to it before.

        Raises:
            SandboxUnavailableError: It did not become ready.
            SandboxPostureError: What it said cannot be read.
        """
        deadline = asyncio.get_running_loop().time() + _READY_SECONDS
        news = await self._guest.receive(deadline)
        if not isinstance(news, Frame):
            reason = await self._why_not_ready(news)
            raise SandboxUnavailableError(reason, engine=self._engine.url)
        return _read_posture(news)

    async def _why_not_ready(self, notice: Notice) -> str:
        said = self._guest.intake.new_output().strip()[-500:]
        try:
            state = await self._engine.inspect(self._guest.id)
        except EngineError as error:
            return f"the container did not become ready ({notice}), and then: {error}"
        memory = ", out of memory" if state.oom_killed else ""
        return (
            f"the container did not become ready ({notice}, exit code {state.exit_code}{memory}) "
            f"{state.error} {said}"
        ).rstrip()

    async def hold(self, batch: Sequence[bytes]) -> list[Call]:
        """Call with each of `batch`, arguments as JSON, until one does not end in an answer.

        Raises:
            SandboxLostError: The engine failed meanwhile.
        """
        program = canonical_json(
            {
                "code": self._program.code,
                "function": self._program.function,
                "max_depth": MAX_DEPTH,
            }
        )
        await self._send(Kind.PROGRAM, 0, program)
        calls: list[Call] = []
        for number, arguments in enumerate(batch, start=1):
            calls.append(await self._call(number, arguments))
            if not calls[-1].answered:
                break
        return calls

    async def _send(self, kind: Kind, call: int, payload: bytes) -> None:
        # A guest that does not read must not hold us up; that it did not answer is seen later.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.wall_seconds):
                await self._guest.send(kind, call, payload)

    async def _call(self, number: int, arguments: bytes) -> Call:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        deadline = begin + self._limits.wall_seconds
        cpu_before = read_usage(self._guest.id).cpu_seconds
        await self._send(Kind.ARGUMENTS, number, arguments)
        news = await self._guest.receive(deadline)
        execute_seconds = loop.time() - begin
        usage = _since(cpu_before, read_usage(self._guest.id))
        if news is Notice.TIMED_OUT:
            await self._guest.kill()
        verdict = await self._judge(news, number, deadline)
        return Call(
            verdict=verdict,
            execute_seconds=execute_seconds,
            usage=usage,
            output=self._guest.intake.new_output(),
            output_bytes=self._newly_counted(),
        )

    def _newly_counted(self) -> int:
        counted, self._counted = self._counted, self._guest.intake.output_bytes
        return self._counted - counted

    async def _judge(self, news: Frame | Notice, number: int, deadline: float) -> Verdict:
        intake = self._guest.intake
        if isinstance(news, Frame):
            if intake.frames or intake.half_a_frame:
                return self._broken("something followed the answer")
            return judge_answer(news, call=number, limits=self._limits)
        if news is not Notice.ENDED:
            return judge_notice(news, limits=self._limits, problem=intake.problem)
        try:
            state = await self._guest.exit_state(deadline)
        except EngineError as error:
            raise SandboxLostError(str(error), engine=self._engine.url) from error
        if state is None:  # it closed its streams and went on
            await self._guest.kill()
            return judge_notice(Notice.TIMED_OUT, limits=self._limits, problem="")
        return judge_exit(state, half_a_frame=intake.half_a_frame, limits=self._limits)

    def last_words(self, call: Call) -> Call:
        """The last call in the light of what still came until the container was gone."""
        intake = self._guest.intake
        call = replace(
            call,
            output=call.output + intake.new_output(),
            output_bytes=call.output_bytes + self._newly_counted(),
        )
        if not call.answered:
            return call
        if intake.notice is Notice.OUTPUT_FULL:
            verdict = judge_notice(Notice.OUTPUT_FULL, limits=self._limits, problem="")
            return replace(call, verdict=verdict)
        if intake.notice is not None or intake.frames or intake.half_a_frame:
            return replace(call, verdict=self._broken("something followed the answer"))
        return call

    def _broken(self, problem: str) -> Verdict:
        return judge_notice(Notice.BROKEN, limits=self._limits, problem=problem)


def _read_posture(frame: Frame) -> Posture:
    try:
        return Posture.model_validate(decode_json(frame.payload, max_bytes=_POSTURE_BYTES))
    except (FrameError, ValidationError) as error:
        raise SandboxPostureError((f"the posture cannot be read: {error}",)) from error


def _since(cpu_before: float | None, now: Usage) -> Usage:
    if cpu_before is None or now.cpu_seconds is None:
        return now
    return Usage(
        memory_peak_bytes=now.memory_peak_bytes,
        cpu_seconds=round(now.cpu_seconds - cpu_before, 6),
    )

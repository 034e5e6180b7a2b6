"""The talk with one guest: its posture first, then the program, then call by call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from pydantic import ValidationError

from policies.evidence import Outcome
from policies.limits import ResourceLimits
from policies.value import JsonObject, canonical_json
from sandbox.base import CallOptions, Posture, Program, Usage
from sandbox.channel import Channel
from sandbox.container import GuestContainer
from sandbox.deadlines import Deadline, Deadlines
from sandbox.engine import ContainerState, Engine, EngineError
from sandbox.errors import SandboxLostError, SandboxPostureError, SandboxUnavailableError
from sandbox.frames import MAX_DEPTH, Frame, FrameError, Kind, decode_json, encode_frame
from sandbox.intake import Notice
from sandbox.usage import GroupReading
from sandbox.verdict import Verdict, judge_answer, judge_exit, judge_notice

__all__ = ["Call", "Conversation", "greet", "program_frame"]

_READY_SECONDS: Final = 60.0
_POSTURE_BYTES: Final = 64 * 1024
_LOOK_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Call:
    """One call as it went."""

    verdict: Verdict
    execute_seconds: float
    usage: Usage
    output: str
    output_bytes: int
    killed: bool = False
    """Whether the guest was killed at the limit, although its answer had come by then."""

    @property
    def answered(self) -> bool:
        """Whether the guest had an answer."""
        return self.verdict.outcome in (Outcome.RETURNED, Outcome.RAISED)


async def greet(engine: Engine, guest: GuestContainer) -> Posture:
    """The posture, as the guest sees it; nothing has been sent to it before.

    Raises:
        SandboxUnavailableError: It did not become ready.
        SandboxPostureError: What it said cannot be read.
    """
    deadline = asyncio.get_running_loop().time() + _READY_SECONDS
    watch = asyncio.create_task(_watch_start(engine, guest))
    try:
        news = await guest.channel.receive(deadline)
    finally:
        watch.cancel()
    if not isinstance(news, Frame):
        reason = await _why_not_ready(engine, guest, news)
        raise SandboxUnavailableError(reason, engine=engine.url)
    posture = _read_posture(news)
    try:
        await guest.greeted(posture)
    except OSError as error:  # somebody took its pipes away
        raise SandboxUnavailableError(str(error), engine=engine.url) from error
    return posture


async def _watch_start(engine: Engine, guest: GuestContainer) -> None:
    """Ends the wait for a guest that ended before it opened its pipes: they would stay silent."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            if not (await engine.inspect(guest.id)).running:
                break
        except EngineError:
            break
    guest.channel.catch_up()
    guest.channel.close()


def _read_posture(frame: Frame) -> Posture:
    try:
        return Posture.model_validate(decode_json(frame.payload, max_bytes=_POSTURE_BYTES))
    except (FrameError, ValidationError) as error:
        raise SandboxPostureError((f"the posture cannot be read: {error}",)) from error


async def _why_not_ready(engine: Engine, guest: GuestContainer, notice: Notice) -> str:
    said = guest.channel.intake.new_output().strip()[-500:]
    try:
        state = await engine.inspect(guest.id)
    except EngineError as error:
        return f"the container did not become ready ({notice}), and then: {error}"
    memory = ", out of memory" if state.oom_killed else ""
    return (
        f"the container did not become ready ({notice}, exit code {state.exit_code}{memory}) "
        f"{state.error} {said}"
    ).rstrip()


def program_frame(program: Program, calls: int) -> bytes:
    """What tells the guest which program it will be called for, and how often."""
    content: JsonObject = {
        "code": program.code,
        "function": program.function,
        "max_depth": MAX_DEPTH,
        "calls": calls,
    }
    return encode_frame(Kind.PROGRAM, 0, canonical_json(content))


class Guest(Protocol):
    """What can be talked with: a container, or one call's process in it."""

    @property
    def id(self) -> str:
        """The container's."""
        ...

    @property
    def channel(self) -> Channel:
        """The connection to it."""
        ...

    @property
    def paused(self) -> bool:
        """Whether somebody has frozen it."""
        ...

    def reading(self) -> GroupReading | None:
        """What it used until now; None where that cannot be read."""
        ...

    async def exit_state(self, deadline: float) -> ContainerState | None:
        """How it ended, once its channel has; None if it still runs at `deadline`.

        Raises:
            EngineError: That cannot be told.
        """
        ...

    def kill_now(self) -> bool:
        """End it without waiting; whether that was possible."""
        ...

    async def kill(self) -> None:
        """End it."""
        ...


class Conversation:
    """Calls of one program with one guest that has been admitted."""

    def __init__(  # noqa: PLR0913  what is called, where, how, and under whose watch
        self,
        engine: Engine,
        guest: Guest,
        program: Program,
        options: CallOptions,
        *,
        deadlines: Deadlines,
        can_kill_itself: bool = False,
        has_program: bool = False,
    ) -> None:
        self._engine = engine
        self._deadlines = deadlines
        self._can_kill_itself = can_kill_itself
        self._has_program = has_program
        self._guest = guest
        self._channel = guest.channel
        self._program = program
        self._limits = _limits(program, options)
        self._services = options.services
        self._counted = guest.channel.intake.output_bytes
        self._calls = 1

    async def hold(self, batch: Sequence[bytes]) -> list[Call]:
        """Call with each of `batch`, arguments as JSON, until the guest has ended.

        Raises:
            SandboxLostError: The engine failed meanwhile.
        """
        self._calls = len(batch)
        opening = b"" if self._has_program else program_frame(self._program, self._calls)
        calls: list[Call] = []
        # All of them are ended, also where the end of one fails or is cancelled.
        async with contextlib.AsyncExitStack() as ends:
            for service in reversed(self._services):
                ends.push_async_callback(service.end)
            if self._services:
                opening += self._grants()
            for number, arguments in enumerate(batch, start=1):
                message = opening + encode_frame(Kind.ARGUMENTS, number, arguments)
                calls.append(await self._call(number, message))
                opening = b""
                if calls[-1].killed or not calls[-1].answered:
                    break
        return calls

    def _grants(self) -> bytes:
        """What the services tell the guest before the first call."""
        self._channel.intake.serve(self._services)
        before: list[bytes] = []
        begun = False

        def send(kind: Kind, payload: bytes) -> None:
            frame = encode_frame(kind, 0, payload)
            if begun:
                self._channel.send(frame)
            else:
                before.append(frame)

        grants: JsonObject = {service.name: service.begin(send) for service in self._services}
        begun = True
        return b"".join((encode_frame(Kind.GRANTS, 0, canonical_json(grants)), *before))

    async def _call(self, number: int, message: bytes) -> Call:
        loop = asyncio.get_running_loop()
        before = self._guest.reading()
        begin = loop.time()
        deadline = begin + self._limits.wall_seconds
        with self._deadlines.limit(self._limits.wall_seconds, self._guest.kill_now) as limit:
            self._channel.send(message)
            news = await self._channel.receive(deadline)
            execute_seconds = loop.time() - begin
            after = self._guest.reading()
            if isinstance(news, Frame):
                verdict = self._judge_answer(news, number)
            elif news is Notice.ENDED:
                verdict = await self._judge_end(deadline, limit)
            else:
                verdict = await self._stop(news)
        self._channel.catch_up()
        return Call(
            verdict=verdict,
            execute_seconds=execute_seconds,
            usage=_between(before, after),
            output=self._channel.intake.new_output(),
            output_bytes=self._newly_counted(),
            # An event loop that is late finds the answer and the end of the guest together.
            killed=limit.passed,
        )

    def _newly_counted(self) -> int:
        counted, self._counted = self._counted, self._channel.intake.output_bytes
        return self._counted - counted

    def _judge_answer(self, frame: Frame, number: int) -> Verdict:
        if self._channel.intake.frames or self._channel.intake.half_a_frame:
            return self._broken("something followed the answer")
        return judge_answer(frame, call=number, limits=self._limits)

    async def _stop(self, notice: Notice) -> Verdict:
        """What a guest did that has to be killed for it."""
        paused = notice is Notice.TIMED_OUT and self._guest.paused
        await self._guest.kill()
        if paused:
            raise self._lost("somebody has paused the container")
        return judge_notice(notice, limits=self._limits, problem=self._channel.intake.problem)

    async def _judge_end(self, deadline: float, limit: Deadline) -> Verdict:
        """What a guest did whose channel has ended."""
        try:
            state = await self._guest.exit_state(deadline)
        except EngineError as error:
            raise self._lost(error) from error
        if state is None or limit.passed:  # it closed its channel and went on
            return await self._stop(Notice.TIMED_OUT)
        return judge_exit(
            state,
            half_a_frame=self._channel.intake.half_a_frame,
            limits=self._limits,
            group=self._guest.reading(),
            calls=self._calls,
            can_kill_itself=self._can_kill_itself,
            engine=self._engine.url,
        )

    def _lost(self, reason: object) -> SandboxLostError:
        return SandboxLostError(str(reason), engine=self._engine.url)

    def last_words(self, call: Call) -> Call:
        """The last call in the light of what still came until the guest had no more to say."""
        intake = self._channel.intake
        output = intake.new_output()
        if output or intake.output_bytes != self._counted:
            counted = call.output_bytes + self._newly_counted()
            call = replace(call, output=call.output + output, output_bytes=counted)
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


def _limits(program: Program, options: CallOptions) -> ResourceLimits:
    """The program's, with less time where the call has less."""
    limits, wall_seconds = program.limits, options.wall_seconds
    if wall_seconds is None or wall_seconds >= limits.wall_seconds:
        return limits
    return limits.model_copy(update={"wall_seconds": wall_seconds})


def _between(before: GroupReading | None, after: GroupReading | None) -> Usage:
    if after is None:
        return Usage()
    cpu = after.cpu_seconds
    if cpu is not None and before is not None and before.cpu_seconds is not None:
        cpu = round(cpu - before.cpu_seconds, 6)
    return Usage(memory_peak_bytes=after.memory_peak_bytes, cpu_seconds=cpu)

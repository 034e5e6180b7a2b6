"""One container with exactly the options given, whatever its posture, and what it showed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from policies.evidence import Outcome
from policies.value import JsonObject, canonical_json
from sandbox.base import CallOptions, Posture, Program
from sandbox.container import GuestContainer, attached
from sandbox.conversation import Call, Conversation, greet
from sandbox.deadlines import Deadlines
from sandbox.engine import Engine, EngineError
from sandbox.hostlimits import HostLimits, read_host_limits

__all__ = ["Observation", "observe"]


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
        with contextlib.closing(Deadlines()) as deadlines:
            talk = Conversation(engine, guest, program, CallOptions(), deadlines=deadlines)
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

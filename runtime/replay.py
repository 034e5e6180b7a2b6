"""A new version beside the one that it is to replace: recorded calls first, then generated ones.

Everything runs in the sandbox as trials do, many inputs to a container, with no secrets. Tools
that send requests are not compared: a request that was recorded must not be sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from policies.grants import grant_problems
from policies.outcomes import Outcome
from policies.redaction import Redaction
from policies.replay import Answer, Difference, Replay, ReplayRun
from policies.schema import ToolSchema
from policies.source import ToolSource
from policies.validation import validate
from policies.value import JsonObject
from runtime.beside import answer_of, difference_of, run_of, without_bodies
from runtime.composition import CallScope, Composition
from runtime.equipment import Equipment, image_digest
from runtime.replayinputs import ReplayInput, replay_inputs
from runtime.trials import quick_seconds, run_many, within
from sandbox.base import CallOptions, ExecutionResult, Sandbox
from sandbox.errors import PackagesRefusedError
from toolstore.errors import StoreDamagedError
from toolstore.models import STABLE, ToolSummary, ToolVersion
from toolstore.store import ToolStore

_RECORDED_TIMES: Final = 4.0
"""An input may take so many times as long as it took when it was recorded."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program that can be run here: a draft, or a version of the store."""

    source: ToolSource
    source_schema: ToolSchema
    image: str


class Replayer:
    """Compares new versions with what they are to replace."""

    def __init__(self, store: ToolStore, equipment: Equipment, composition: Composition) -> None:
        self._store = store
        self._equipment = equipment
        self._composition = composition
        self._settings = equipment.profile.replay

    async def compare(self, new: Candidate, sandbox: Sandbox) -> Replay | None:
        """Run `new` and the approved version of its name on the same inputs; None without one.

        Raises:
            SandboxError: The sandbox failed; nothing can be said.
        """
        current = await self._current(new.source.name)
        if current is None:
            return None
        ref = f"{current.name}@{current.sequence}"
        replay = Replay(predecessor=current.digest, predecessor_ref=ref)
        try:
            old = await self._store.version(current.digest)
        except StoreDamagedError:
            return replay.model_copy(update={"left_out": "the approved version is damaged"})
        if new.source.permissions.hosts or old.source.permissions.hosts:
            return replay.model_copy(
                update={"left_out": "it sends requests, and those are not sent again"}
            )
        examples = (*old.source.examples, *new.source.examples)
        inputs = await replay_inputs(self._store, self._settings, old, examples)
        before = await self._before(old, inputs, sandbox)
        compared = [(each, answer) for each, answer in zip(inputs, before, strict=True) if answer]
        after = await self._after(new, [each for each, _ in compared], sandbox)
        compared = await self._timed_anew(old, compared, [now for _, now in after], sandbox)
        redaction = Redaction(patterns=self._settings.redact)
        runs = [
            run_of(each.origin, each.digest, each.arguments, (was, now), redaction)
            for (each, was), (done, now) in zip(compared, after, strict=True)
            if done
        ]
        return replay.model_copy(
            update={"runs": without_bodies(runs), "left_out": _left_out(len(inputs), runs)}
        )

    async def run_all(
        self, what: Candidate, inputs: Sequence[JsonObject], sandbox: Sandbox, seconds: float = 0.0
    ) -> list[ExecutionResult]:
        """Run a program on many inputs; fewer results where too many ended their container.

        `seconds` for each, or what generated inputs have if that is more.
        """
        permissions = what.source.permissions
        limits = self._equipment.limits
        wall = min(limits.wall_seconds, max(seconds, quick_seconds(permissions, limits)))
        program = self._equipment.program(
            what.source, what.source_schema, permissions.lint_level, what.image
        )
        files = next((e.inputs for e in what.source.examples if e.files), {})

        def options(calls: int) -> CallOptions:
            scope = CallScope.outermost(
                self._equipment.profile,
                files=files,
                calls=calls,
                principal=self._equipment.principal,
                recorded=False,
            )
            kit = self._equipment.kit(permissions, scope, self._composition, calls=calls)
            return kit.options

        return await run_many(within(program, wall), inputs, sandbox, options)

    async def runnable(self, version: ToolVersion, sandbox: Sandbox) -> Candidate | None:
        """`version` as something that can be run here in trials; None where it cannot be."""
        permissions = version.source.permissions
        if grant_problems(permissions, self._equipment.profile):
            return None
        try:
            image = await image_digest(permissions, sandbox, wanted=version.image_digest)
        except PackagesRefusedError:
            return None
        if image != version.image_digest:
            return None
        return Candidate(version.source, version.source_schema, image)

    async def _current(self, name: str) -> ToolSummary | None:
        """The version that callers of a name get, even where it may not be called just now."""
        versions = await self._store.versions_of(name)
        return next((each for each in versions if each.place == STABLE), None)

    async def _before(
        self, old: ToolVersion, inputs: Sequence[ReplayInput], sandbox: Sandbox
    ) -> list[Answer | None]:
        """What the old version made of each input; None where that cannot be known."""
        unknown = [each for each in inputs if each.before is None]
        answers: dict[str, Answer] = {e.digest: e.before for e in inputs if e.before is not None}
        program = await self.runnable(old, sandbox) if unknown else None
        if program is not None:
            wanted = [each.arguments for each in unknown]
            results = await self.run_all(program, wanted, sandbox, _patience(unknown))
            answers |= {
                each.digest: answer_of(result)
                for each, result in zip(unknown, results, strict=False)
            }
        return [answers.get(each.digest) for each in inputs]

    async def _timed_anew(
        self,
        old: ToolVersion,
        compared: Sequence[tuple[ReplayInput, Answer]],
        after: Sequence[Answer | None],
        sandbox: Sandbox,
    ) -> list[tuple[ReplayInput, Answer]]:
        """`compared`, with times of now where the recorded ones make the new version seem slower.

        The host may have been less busy then, or another one.
        """
        slow = [
            replace(each, before=None, seconds=now.wall_seconds or 0.0)
            for (each, was), now in zip(compared, after, strict=True)
            if each.before is not None
            and now is not None
            and difference_of(was, now) is Difference.SLOWER
        ]
        again = await self._before(old, slow, sandbox)
        seconds = {
            each.digest: answer.wall_seconds
            for each, answer in zip(slow, again, strict=True)
            if answer is not None and answer.outcome is Outcome.RETURNED
        }
        return [
            (each, was.model_copy(update={"wall_seconds": seconds[each.digest]}))
            if each.digest in seconds
            else (each, was)
            for each, was in compared
        ]

    async def _after(
        self, new: Candidate, inputs: Sequence[ReplayInput], sandbox: Sandbox
    ) -> list[tuple[bool, Answer | None]]:
        """Whether each input was looked at, and the new version's answer if it takes it at all."""
        parameters = new.source_schema.parameters
        taken = [each for each in inputs if not validate(each.arguments, parameters)]
        results = await self.run_all(
            new, [each.arguments for each in taken], sandbox, _patience(taken)
        )
        answers = {
            each.digest: answer_of(result) for each, result in zip(taken, results, strict=False)
        }
        fitting = {each.digest for each in taken}
        return [
            (each.digest in answers or each.digest not in fitting, answers.get(each.digest))
            for each in inputs
        ]


def _patience(inputs: Sequence[ReplayInput]) -> float:
    return _RECORDED_TIMES * max((each.seconds for each in inputs), default=0.0)


def _left_out(wanted: int, runs: Sequence[ReplayRun]) -> str:
    if not wanted:
        return "no call of it is recorded, and no arguments can be generated"
    if len(runs) < wanted:
        return f"{wanted - len(runs)} of {wanted} inputs could not be run on both versions"
    return ""

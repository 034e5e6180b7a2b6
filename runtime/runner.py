"""Carries out calls of made tools: lets them through, runs them in the sandbox, tells what came.

The state of a version is looked at again before each call, so that a revocation in another process
stops the next call here; one in flight is ended by `runtime.watch`. What is sent to the sandbox is
hashed once more, just before it is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from policies.access import Action, Principal
from policies.evidence import Outcome
from policies.grants import grant_problems
from policies.problems import Problem
from policies.validation import validate
from policies.value import JsonObject
from runtime.artefacts import ArtefactStore
from runtime.authorize import resource_of
from runtime.canaries import CallCounts
from runtime.composition import CallScope, Composition
from runtime.equipment import Equipment, image_digest
from runtime.offers import Offers
from runtime.outcome import CallOutcome
from runtime.recorder import SeenCall
from runtime.redecision import has_lapsed
from runtime.verdicts import error_text, stopped_text
from runtime.watch import CallStoppedError, CallWatch
from sandbox.artefacts import Artefact
from sandbox.base import ExecutionResult, Program, Sandbox
from sandbox.errors import PackagesRefusedError
from sandbox.files import FilesRefusedError
from toolstore.errors import StoreDamagedError, ToolNotCallableError
from toolstore.models import ToolRef, ToolVersion, version_digest
from toolstore.store import ToolStore, utc_now

SandboxSource = Callable[[], Awaitable[Sandbox]]

_SHOWN_PROBLEMS = 5


class ToolRunner:
    """Runs what one store offers in one sandbox."""

    def __init__(  # noqa: PLR0913 - each argument is another part of the runtime
        self,
        offers: Offers,
        store: ToolStore,
        sandbox: SandboxSource,
        equipment: Equipment,
        artefacts: ArtefactStore,
        *,
        on_call: Callable[[SeenCall], None] | None = None,
    ) -> None:
        """Run in `sandbox`; `on_call` hears of every call that came back, and must not wait."""
        self._offers = offers
        self._sandbox = sandbox
        self._equipment = equipment
        self._artefacts = artefacts
        self._on_call = on_call
        self._watch = CallWatch(store)
        self._counts = CallCounts(store, equipment.profile.lifecycle.canary)
        self.composition = Composition(offers.find, self.run)
        """Carries out the calls that tools make of one another."""

    async def close(self) -> None:
        """Stop watching and finish counting; the calls are over by then."""
        await self._watch.close()
        await self._counts.close()

    async def call(
        self,
        version: ToolVersion,
        arguments: JsonObject,
        *,
        files: Mapping[str, bytes] = MappingProxyType({}),
        principal: Principal | None = None,
    ) -> CallOutcome:
        """Call a verified version for a person or a model, and keep the files that it makes.

        Without a `principal` it is the person whom the runtime works for.

        Raises:
            SandboxError: The sandbox failed.
            StoreDamagedError: The version in memory or in the store is not what was approved.
            ArtefactError: The files that it made cannot be kept.
        """
        scope = CallScope.outermost(self._equipment.profile, files=files, principal=principal)
        outcome = await self.run(version, arguments, scope)
        if outcome.artefacts:
            keep = partial(self._artefacts.keep, outcome.artefacts, tool=outcome.ref)
            await asyncio.to_thread(keep)
        return outcome

    async def _note(self, call: SeenCall, scope: CallScope) -> None:
        if not scope.recorded:
            return
        if self._on_call is not None:
            self._on_call(call)
        self._counts.note_use(call.version.digest)
        if self._offers.has_canary(call.version.name):
            await self._counts.count(call.version, call.result)

    async def run(
        self, version: ToolVersion, arguments: JsonObject, scope: CallScope
    ) -> CallOutcome:
        """Run a verified version where `scope` says; what is wrong with the call is in the outcome.

        Raises:
            SandboxError: The sandbox failed.
            StoreDamagedError: The version in memory or in the store is not what was approved.
        """
        ref = str(version.ref)
        try:
            version = await self._let_through(version, arguments, scope)
            sandbox = await self._sandbox()
            program = await self._program(version, sandbox)
            kit = self._equipment.kit(
                version.source.permissions, scope, self.composition, version=version.digest
            )
            running = sandbox.run(program, arguments, kit.options)
            result = kit.complete(
                await self._watch.run(version.digest, running, seen=self._offers.head)
            )
            await self._note(SeenCall(version, arguments, result, scope.session), scope)
            return _outcome(version, result, scope.gather(kit.artefacts))
        except _RefusedError as refusal:
            return _refused(ref, str(refusal))
        except FilesRefusedError as error:
            return _refused(ref, f"{ref} was stopped: {error}")
        except CallStoppedError as error:
            return _refused(ref, _stopped_text(version, error))

    async def _let_through(
        self, version: ToolVersion, arguments: JsonObject, scope: CallScope
    ) -> ToolVersion:
        """The version that this call may run, as it stands in the store now.

        Raises:
            _RefusedError: It may not run it, or not with these arguments.
        """
        problems = validate(arguments, version.source_schema.parameters)
        if problems:
            raise _RefusedError(_arguments_text(version, problems))
        await self._offers.refresh()
        known = self._offers.verified(version.digest, scope.session)
        if known is None or has_lapsed(version, utc_now()):
            # Replaced or taken back since it was loaded; replaced ones may finish their request.
            exact = ToolRef(name=version.name, digest=version.digest)
            try:
                version = await self._offers.find(exact, session=scope.session)
            except ToolNotCallableError as error:
                raise _RefusedError(str(error)) from None
        asking = scope.principal or self._equipment.asking
        may = self._equipment.access.decide(asking, Action.CALL, resource_of(version))
        if not may.allowed:
            raise _RefusedError(f"{version.ref} was not run: {'; '.join(may.reasons)}")
        if ungranted := grant_problems(version.source.permissions, self._equipment.profile):
            raise _RefusedError(_ungranted_text(version, ungranted))
        return version

    async def _program(self, version: ToolVersion, sandbox: Sandbox) -> Program:
        """What is sent to the sandbox: the bytes that were approved, in the image they were.

        Raises:
            _RefusedError: The image that it was proven in cannot be had.
            StoreDamagedError: The version in memory is not what was approved.
        """
        permissions = version.source.permissions
        try:
            image = await image_digest(permissions, sandbox, wanted=version.image_digest)
        except PackagesRefusedError as error:
            raise _RefusedError(f"{version.ref} was not run: {error}") from None
        if version.image_digest != image:
            raise _RefusedError(_image_text(version, image))
        digest = version_digest(version.source, version.source_schema, version.image_digest)
        if digest != version.digest:
            raise StoreDamagedError(
                f"{version.ref} hashes to {digest}, approved was {version.digest}"
            )
        return self._equipment.program(version.source, version.source_schema, version.level, image)


class _RefusedError(Exception):
    """The call is not made; the text says to the caller why."""


def _outcome(
    version: ToolVersion, result: ExecutionResult, artefacts: tuple[Artefact, ...]
) -> CallOutcome:
    """The guest's answer, checked against the declared result type."""
    ref = str(version.ref)
    match result.outcome:
        case Outcome.RETURNED:
            problems = validate(result.value, version.source_schema.returns)
            if not problems:
                return CallOutcome(
                    ref=ref,
                    content=result.value,
                    is_error=False,
                    outcome=result.outcome,
                    execution=result,
                    artefacts=artefacts,
                )
            text = f"{ref} returned something else than it declares: {problems[0]}"
        case Outcome.RAISED:
            text = f"{ref} raised {error_text(result)}"
        case _:
            text = f"{ref} {stopped_text(result)}"
    return CallOutcome(
        ref=ref, content=text, is_error=True, outcome=result.outcome, execution=result
    )


def _refused(ref: str, text: str) -> CallOutcome:
    return CallOutcome(ref=ref, content=text, is_error=True)


def _stopped_text(version: ToolVersion, error: CallStoppedError) -> str:
    return (
        f"{version.ref} was stopped: {error}. Whether it had effects is unknown. Do not call it "
        "again: look for another tool, or go on without one."
    )


def _arguments_text(version: ToolVersion, problems: Sequence[str]) -> str:
    properties = version.source_schema.parameters.get("properties")
    names = ", ".join(properties) if isinstance(properties, dict) and properties else "none"
    return "\n".join(
        [
            f"{version.ref} was not run, the arguments do not fit its schema:",
            *(f"- {problem}" for problem in problems[:_SHOWN_PROBLEMS]),
            f"Its parameters: {names}. Call it again with arguments that fit.",
        ]
    )


def _ungranted_text(version: ToolVersion, problems: Sequence[Problem]) -> str:
    return "\n".join(
        [
            f"{version.ref} was not run: the policy in force does not grant what it declares:",
            *(f"- {problem.message}" for problem in problems[:_SHOWN_PROBLEMS]),
        ]
    )


def _image_text(version: ToolVersion, present: str) -> str:
    return (
        f"{version.ref} was proven in guest image {version.image_digest[:19]}…, and this runtime "
        f"has {present[:19]}… (another Python or another toolkiln). It was not run. Prove it "
        f"again here: toolkiln tools export {version.ref} | toolkiln tools import -"
    )

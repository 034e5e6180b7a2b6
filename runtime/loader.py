"""The hot-load: versions of the store become callable tools, and stop being so, in mid-session.

A version is verified when it is loaded (every byte against its digest, evidence, state) and its
state is looked at again before each call, so that a revocation in another process stops the next
call here; one in flight is ended by `runtime.watch`. What is sent to the sandbox is hashed once
more, just before it is sent.
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
from runtime.authorize import caller_of, resource_of
from runtime.canaries import CallCounts
from runtime.catalog import SessionTools
from runtime.composition import CallScope, Composition
from runtime.equipment import Equipment, image_digest
from runtime.messages import ToolSpec
from runtime.outcome import CallOutcome
from runtime.recorder import SeenCall
from runtime.redecision import Redecision, has_lapsed
from runtime.tools import CallContext, ToolAnswer
from runtime.verdicts import error_text, stopped_text
from runtime.watch import CallStoppedError, CallWatch
from sandbox.artefacts import Artefact
from sandbox.base import ExecutionResult, Program, Sandbox
from sandbox.errors import PackagesRefusedError
from sandbox.files import FilesRefusedError
from toolstore.attest.errors import NotInForceError
from toolstore.channels import Offer
from toolstore.errors import StoreDamagedError, ToolNotCallableError
from toolstore.models import ToolRef, ToolVersion, version_digest
from toolstore.store import ToolStore, utc_now

SandboxSource = Callable[[], Awaitable[Sandbox]]

_SHOWN_PROBLEMS = 5
_CHANGED_NAMES = 200
"""Beyond so many the whole list is read anew."""


class LoadedTool:
    """A verified version bound to a sandbox."""

    def __init__(self, version: ToolVersion, loader: ToolLoader) -> None:
        self.version = version
        self.spec = ToolSpec(
            name=version.name,
            description=version.source.description + _about_files(version),
            parameters=version.source_schema.parameters,
        )
        self._loader = loader

    async def call(self, arguments: JsonObject, context: CallContext) -> ToolAnswer:
        """Run the version once in the sandbox."""
        caller = self._loader.caller(context)
        outcome = await self._loader.call(
            self.version, arguments, files=context.files, principal=caller
        )
        return ToolAnswer(
            content=outcome.to_text(),
            is_error=outcome.is_error,
            made_files=outcome.artefacts,
        )


class ToolLoader:
    """All tools that the store offers now: a `Catalog` over one store and one sandbox."""

    def __init__(
        self,
        store: ToolStore,
        sandbox: SandboxSource,
        equipment: Equipment,
        artefacts: ArtefactStore,
        *,
        on_call: Callable[[SeenCall], None] | None = None,
    ) -> None:
        """Load from `store`; `on_call` hears of every call that came back, and must not wait."""
        self._store = store
        self._sandbox = sandbox
        self._equipment = equipment
        self._artefacts = artefacts
        self._on_call = on_call
        self._watch = CallWatch(store)
        self._counts = CallCounts(store, equipment.profile.lifecycle.canary)
        self._redecision = Redecision(store, equipment, utc_now)
        self.composition = Composition(self.find, self.run)
        """Carries out the calls that tools make of one another."""

        self.head = -1
        """Sequence of the last event at the last refresh."""

        self._offers: dict[str, Offer] = {}
        self._loaded: dict[str, LoadedTool] = {}
        self._sound: dict[str, str] = {}
        """Names by digests of what was verified since the log last spoke of its name. What else
        the tables offer may have been put there by somebody who only wrote to the tables."""

    async def close(self) -> None:
        """Stop watching and finish counting; the calls are over by then."""
        await self._watch.close()
        await self._counts.close()

    async def refresh(self) -> None:
        """Notice what changed in the store: one cheap look at the end of its log."""
        head = self._store.head()
        if head == self.head:
            return
        names = await self._changed_names()
        offers = await self._store.offers(names)
        if names is None:
            self._offers, self._sound = {}, {}
        for name in names or ():
            self._offers.pop(name, None)
        self._sound = {d: name for d, name in self._sound.items() if name not in (names or ())}
        self._offers.update(offers)
        self.head = head
        self._loaded = {
            digest: tool
            for digest, tool in self._loaded.items()
            if digest in self._sound and self._is_offered(tool.version)
        }

    async def _changed_names(self) -> frozenset[str] | None:
        """Names that the log has had entries of since the last refresh; None where all may be."""
        if self.head < 0:
            return None
        try:
            names = {event.name for event in await self._store.changes_since(self.head)}
        except StoreDamagedError:
            return None  # what is damaged says so when it is loaded, and the rest works
        return frozenset(names) if len(names) <= _CHANGED_NAMES else None

    async def pins(self, session: str) -> dict[str, str]:
        """Digests that a session stays with, by name.

        Raises:
            StoreDamagedError: A pin does not follow from the log.
        """
        return {pin.name: pin.digest for pin in await self._store.lifecycle.pins(session)}

    def for_session(self, session: str) -> SessionTools:
        """The tools as one session has them."""
        return SessionTools(self, session)

    def chosen(self, name: str, session: str | None, pin: str | None = None) -> str | None:
        """Digest of the version that `name` means in `session`, at the last refresh."""
        if pin is not None:
            return pin
        offer = self._offers.get(name)
        return None if offer is None else offer.choose(name, session)

    def _is_offered(self, version: ToolVersion) -> bool:
        """Whether a version is for anybody, at the last refresh."""
        offer = self._offers.get(version.name)
        return offer is not None and version.digest in offer.digests

    def _offers_to(self, session: str | None, version: ToolVersion) -> bool:
        """Whether a version is for `session`, or for everybody, at the last refresh."""
        offer = self._offers.get(version.name)
        return offer is not None and offer.holds(version.digest, session)

    async def get(self, name: str) -> LoadedTool | None:
        """The stable version of `name`, verified as it is loaded; None where there is none.

        Raises:
            StoreDamagedError: The stored bytes are not what was approved.
        """
        digest = self.chosen(name, None)
        if digest is None:
            return None
        try:
            return await self.load(ToolRef(name=name, digest=digest))
        except ToolNotCallableError:
            return None  # it went since the refresh

    async def load(self, ref: ToolRef, session: str | None = None) -> LoadedTool:
        """The version of this whole digest, verified as it is loaded.

        Raises:
            ToolNotCallableError: Its state forbids calling it, or it is for another session.
            StoreDamagedError: The stored bytes are not what was approved.
        """
        tool = self._loaded.get(ref.digest or "")
        if tool is None or not self._offers_to(session, tool.version):
            version = await self.find(ref, session=session)
            tool = LoadedTool(version, self)
            if self._is_offered(version):
                self._loaded[version.digest] = tool
        return tool

    async def search(self, query: str, limit: int) -> Sequence[ToolSpec]:
        """The best matches for `query` among the stable tools, best first."""
        found = []
        for name in await self.matching(query, limit):
            tool = await self.get(name)
            if tool is not None:
                found.append(tool.spec)
        return found

    async def matching(self, query: str, limit: int) -> list[str]:
        """Names of the stable tools that match best, best first.

        A damaged one is left out: it must not hide the others, and calling it says what is wrong.
        """
        found = []
        for name in await self._store.search(query, limit):
            try:
                await self.get(name)
            except StoreDamagedError:
                continue
            found.append(name)
        return found

    def caller(self, context: CallContext) -> Principal:
        """Who makes a call that comes from there."""
        return caller_of(self._equipment.tenant, context.session_id, context.model)

    def names(self) -> Sequence[str]:
        """Names of all tools that have a stable version."""
        return tuple(_stable_of(self._offers))

    def names_for(self, session: str, pins: Mapping[str, str]) -> Sequence[str]:
        """Names that mean something in a session that has these pins."""
        known = dict.fromkeys(n for n in self._offers if self.chosen(n, session) is not None)
        return tuple(known | dict.fromkeys(pins))

    async def find(self, ref: ToolRef, *, session: str | None = None) -> ToolVersion:
        """What `ref` means in `session`, verified, and allowed by the policy in force.

        A version that was approved under another policy is decided again, once; what does not
        pass is in quarantine then.

        Raises:
            ToolNotFoundError: There is none.
            ToolNotCallableError: Its state forbids calling it, or the policy does by now.
            StoreDamagedError: The stored bytes are not what was approved.
        """
        head = self.head
        try:
            found = await self._store.get(ref, session=session)
        except NotInForceError:
            await self._redecision.set_aside(ref)
            raise
        found = await self._redecision.check(found)
        if self.head == head:  # else the log may have spoken of it since it was read
            self._sound[found.digest] = found.name
        return found

    async def resolve(self, ref: ToolRef) -> ToolVersion:
        """The version that `ref` means outside of sessions, verified.

        Raises:
            ToolNotFoundError: There is none.
            ToolNotCallableError: Its state forbids calling it.
            StoreDamagedError: The stored bytes are not what was approved.
        """
        return await self.find(ref)

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
        offer = self._offers.get(call.version.name)
        if offer is not None and offer.canary is not None:
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
            result = kit.complete(await self._watch.run(version.digest, running, seen=self.head))
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
        await self.refresh()
        sound = version.digest in self._sound and self._offers_to(scope.session, version)
        if not sound or has_lapsed(version, utc_now()):
            # Replaced or taken back since it was loaded; replaced ones may finish their request.
            exact = ToolRef(name=version.name, digest=version.digest)
            try:
                version = await self.find(exact, session=scope.session)
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


def _about_files(version: ToolVersion) -> str:
    reads = "input" in version.source.permissions.files
    return "\nIt is given the files of this session, by their names." if reads else ""


def _stable_of(offers: Mapping[str, Offer]) -> dict[str, str]:
    return {name: offer.stable for name, offer in offers.items() if offer.stable is not None}


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

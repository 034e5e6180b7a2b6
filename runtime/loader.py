"""The hot-load: versions of the store become callable tools, and stop being so, in mid-session.

A version is verified when it is loaded (every byte against its digest, evidence, state) and its
state is looked at again before each call, so that a revocation in another process stops the next
call here. What is sent to the sandbox is hashed once more, just before it is sent.
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
from runtime.composition import CallScope, Composition
from runtime.equipment import Equipment, image_digest
from runtime.messages import ToolSpec
from runtime.outcome import CallOutcome
from runtime.recorder import SeenCall
from runtime.tools import CallContext, ToolAnswer
from runtime.verdicts import error_text, stopped_text
from sandbox.artefacts import Artefact
from sandbox.base import ExecutionResult, Sandbox
from sandbox.errors import PackagesRefusedError
from sandbox.files import FilesRefusedError
from toolstore.errors import StoreDamagedError, ToolNotCallableError, ToolNotFoundError
from toolstore.models import Lifecycle, ToolRef, ToolSummary, ToolVersion, version_digest
from toolstore.search import Bm25Index, searchable_text
from toolstore.store import ToolStore

SandboxSource = Callable[[], Awaitable[Sandbox]]

_SHOWN_PROBLEMS = 5


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
        self.composition = Composition(store.get, self.run)
        """Carries out the calls that tools make of one another."""

        self._head = -1
        self._current: dict[str, ToolSummary] = {}
        self._loaded: dict[str, LoadedTool] = {}
        self._index: Bm25Index[str] | None = None
        self._unindexed: set[str] = set()

    async def refresh(self) -> None:
        """Notice what changed in the store: one cheap look at the end of its log."""
        head = self._store.head()
        if head == self._head:
            return
        summaries = await self._store.summaries((Lifecycle.APPROVED,))
        before, now = self._current, {summary.name: summary for summary in summaries}
        digests = {summary.digest for summary in summaries}
        self._loaded = {d: tool for d, tool in self._loaded.items() if d in digests}
        if self._index is not None:
            for name in before.keys() - now.keys():
                self._index.remove(name)
            self._unindexed |= {
                name
                for name, summary in now.items()
                if name not in before or before[name].digest != summary.digest
            }
        self._current, self._head = now, head

    async def get(self, name: str) -> LoadedTool | None:
        """The approved version of `name`, verified as it is loaded; None where there is none.

        Raises:
            StoreDamagedError: The stored bytes are not what was approved.
        """
        summary = self._current.get(name)
        if summary is None:
            return None
        tool = self._loaded.get(summary.digest)
        if tool is None:
            try:
                version = await self._store.get(ToolRef(name=name, digest=summary.digest))
            except (ToolNotCallableError, ToolNotFoundError):
                return None  # it went since the refresh
            tool = self._loaded[summary.digest] = LoadedTool(version, self)
        return tool

    async def search(self, query: str, limit: int) -> Sequence[ToolSpec]:
        """The best matches for `query` among the approved tools, best first."""
        index = await self._fresh_index()
        found = []
        for name in index.search(query, limit):
            tool = await self.get(name)
            if tool is not None:
                found.append(tool.spec)
        return found

    async def _fresh_index(self) -> Bm25Index[str]:
        """The index of the last refresh: read whole once, then what changed."""
        if self._index is None:
            # A damaged version must not hide the others; loading it says what is damaged.
            documents = await self._store.search_documents(on_damage=_leave_out)
            self._index, self._unindexed = Bm25Index(documents), set()
        while self._unindexed:
            name = self._unindexed.pop()
            tool = await self.get(name)
            if tool is not None:
                version = tool.version
                self._index.add(name, searchable_text(version.source, version.source_schema))
        return self._index

    def caller(self, context: CallContext) -> Principal:
        """Who makes a call that comes from there."""
        return caller_of(self._equipment.tenant, context.session_id, context.model)

    def names(self) -> Sequence[str]:
        """Names of all approved tools."""
        return tuple(self._current)

    async def resolve(self, ref: ToolRef) -> ToolVersion:
        """The version that `ref` means, verified.

        Raises:
            ToolNotFoundError: There is none.
            ToolNotCallableError: Its state forbids calling it.
            StoreDamagedError: The stored bytes are not what was approved.
        """
        return await self._store.get(ref)

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

    def _note(self, call: SeenCall, scope: CallScope) -> None:
        if self._on_call is not None and scope.recorded:
            self._on_call(call)

    async def run(
        self, version: ToolVersion, arguments: JsonObject, scope: CallScope
    ) -> CallOutcome:
        """Run a verified version where `scope` says; what is wrong with the call is in the outcome.

        Raises:
            SandboxError: The sandbox failed.
            StoreDamagedError: The version in memory or in the store is not what was approved.
        """
        ref = str(version.ref)
        problems = validate(arguments, version.source_schema.parameters)
        if problems:
            return _refused(ref, _arguments_text(version, problems))
        await self.refresh()
        current = self._current.get(version.name)
        if current is None or current.digest != version.digest:
            # Replaced or taken back since it was loaded; replaced ones may finish their request.
            try:
                version = await self._store.get(ToolRef(name=version.name, digest=version.digest))
            except ToolNotCallableError as error:
                return _refused(ref, str(error))
        asking = scope.principal or self._equipment.asking
        may = self._equipment.access.decide(asking, Action.CALL, resource_of(version))
        if not may.allowed:
            return _refused(ref, f"{ref} was not run: {'; '.join(may.reasons)}")
        permissions = version.source.permissions
        if ungranted := grant_problems(permissions, self._equipment.profile):
            return _refused(ref, _ungranted_text(version, ungranted))
        sandbox = await self._sandbox()
        try:
            image = await image_digest(permissions, sandbox, wanted=version.image_digest)
        except PackagesRefusedError as error:
            return _refused(ref, f"{ref} was not run: {error}")
        if version.image_digest != image:
            return _refused(ref, _image_text(version, image))
        digest = version_digest(version.source, version.source_schema, version.image_digest)
        if digest != version.digest:
            raise StoreDamagedError(f"{ref} hashes to {digest}, approved was {version.digest}")
        program = self._equipment.program(
            version.source, version.source_schema, version.level, image
        )
        try:
            kit = self._equipment.kit(permissions, scope, self.composition, version=version.digest)
            result = kit.complete(await sandbox.run(program, arguments, kit.options))
            self._note(SeenCall(version, arguments, result, scope.session), scope)
            return _outcome(version, result, scope.gather(kit.artefacts))
        except FilesRefusedError as error:
            return _refused(ref, f"{ref} was stopped: {error}")


def _about_files(version: ToolVersion) -> str:
    reads = "input" in version.source.permissions.files
    return "\nIt is given the files of this session, by their names." if reads else ""


def _leave_out(_ref: str, _error: StoreDamagedError) -> None:
    """Go on without it."""


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

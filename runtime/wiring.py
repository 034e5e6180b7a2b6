"""Builds the objects and holds them together; the one place that chooses implementations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from policies.authorizers import authorizer_of
from policies.config import PolicyProfile
from policies.source import ToolSource
from policies.value import JsonObject
from runtime.admission import Admission
from runtime.analyzer import Analyzer
from runtime.artefacts import ArtefactStore
from runtime.budgets import Budget
from runtime.catalog import SessionTools
from runtime.corroboration import Corroborated, Corroboration
from runtime.define_tool import DefineTool
from runtime.equipment import Equipment
from runtime.errors import ModelUnavailableError, UsageError
from runtime.events import AdmissionListener, RequestStarted, SessionEvent, SessionListener
from runtime.importing import take_in
from runtime.loader import ToolLoader
from runtime.messages import ToolSpec
from runtime.models.base import ChatModel
from runtime.models.factory import make_model
from runtime.outcome import CallOutcome, DefinitionOutcome
from runtime.profiles import read_profile
from runtime.proving import Proof, Prover
from runtime.recorder import CallRecorder
from runtime.review.desk import ReviewDesk
from runtime.review.inbox import ReviewInbox
from runtime.review.item import Vote
from runtime.review.shown import Shown
from runtime.secrets import SecretSource
from runtime.sessions import Session
from runtime.settings import Api, Settings, read_settings
from runtime.storekeys import open_signed_store
from runtime.tools import CallContext, Tool, ignore_progress
from runtime.toolset import Toolset
from runtime.transcript import Transcript
from runtime.transcript import read as read_transcript
from runtime.waiving import waive
from sandbox.base import Program, Sandbox
from sandbox.docker_sandbox import open_docker_sandbox
from sandbox.errors import SandboxError
from toolstore.models import Origin, Provenance, ToolRef, ToolVersion
from toolstore.store import ToolStore

_READY_FOR_AN_ANSWER: Final = 2
"""Containers for the calls of one answer; more follow as calls come."""


def _now() -> datetime:
    return datetime.now(UTC)


class Runtime:
    """One store, one policy, one sandbox; opened by `open_runtime`."""

    def __init__(
        self,
        *,
        settings: Settings,
        profile: PolicyProfile,
        store: ToolStore,
        sandbox: Sandbox | None,
        progress: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.policy = profile
        self.store = store
        self._given_sandbox = sandbox
        self._opened_sandbox: Sandbox | None = None
        self._opening = asyncio.Lock()
        self._progress = progress
        self._models: list[ChatModel] = []
        self._sessions: list[Session] = []
        self._preparing: set[asyncio.Task[None]] = set()
        self._analyzer = Analyzer()
        self.artefacts = ArtefactStore(settings.home / "artefacts")
        self.equipment = equipment = Equipment(
            profile=profile,
            secrets=SecretSource(settings.secrets, settings.secrets_folder),
            tenant=settings.principal,
            keeps_refusals=not settings.policy_of_folder,
        )
        self.recorder = CallRecorder(
            store,
            profile,
            secrets=equipment.secrets,
            tenant=equipment.tenant,
            clock=_now,
        )
        self.loader = ToolLoader(
            store, self.sandbox, equipment, self.artefacts, on_call=self.recorder.note
        )
        self.admission = Admission(
            analyzer=self._analyzer,
            sandbox=self.sandbox,
            store=store,
            equipment=equipment,
            composition=self.loader.runner.composition,
            clock=_now,
        )
        self._corroboration = Corroboration(
            Prover(self._analyzer, self.sandbox, equipment, self.loader.runner.composition),
            store,
            equipment,
            _now,
        )
        self.desk = ReviewDesk(
            store=store,
            equipment=equipment,
            composition=self.loader.runner.composition,
            sandbox=self.sandbox,
            package_folder=settings.home / "sandbox",
            clock=_now,
        )
        """Where people look at what waits, and vote."""

    async def sandbox(self) -> Sandbox:
        """The sandbox, opened when something is to run for the first time.

        Raises:
            SandboxUnavailableError: There is no usable engine.
        """
        if self._given_sandbox is not None:
            return self._given_sandbox
        async with self._opening:
            if self._opened_sandbox is None:
                self._opened_sandbox = await open_docker_sandbox(
                    state_dir=self.settings.home / "sandbox",
                    docker_host=self.settings.docker_host,
                    progress=self._progress,
                    runtime=self.policy.sandbox.runtime,
                    require_limits=self.policy.sandbox.require_limits,
                    package_settings=self.policy.packages,
                )
        return self._opened_sandbox

    async def define_tool(
        self,
        source: ToolSource,
        *,
        author: str | None = None,
        origin: Origin = Origin.HUMAN,
        insist: bool = False,
        on_event: AdmissionListener = ignore_progress,
    ) -> DefinitionOutcome:
        """Take a proposed tool through the whole admission.

        What the store has under another name is answered with that tool (`duplicate_of`), unless
        you `insist`.

        Raises:
            SandboxError: The sandbox failed; nothing was decided.
            ToolStoreError: The store failed; nothing was stored.
        """
        provenance = Provenance(
            author=author or self.settings.principal, origin=origin, created_at=_now()
        )
        return await self.admission.define(source, provenance, on_event, insist=insist)

    async def call_tool(
        self,
        ref: str,
        arguments: JsonObject,
        *,
        files: Mapping[str, bytes] = MappingProxyType({}),
    ) -> CallOutcome:
        """Call a made tool by `name`, `name@3` or `name@sha256:…`.

        `files`, by name, are given to a tool that reads files; the files that it makes are in
        the outcome, and kept in `artefacts`.

        Raises:
            ToolNotFoundError: There is none.
            ToolNotCallableError: Its state forbids calling it.
            UsageError: There are files, and it reads none.
            SandboxError: The sandbox failed.
        """
        await self.loader.offers.refresh()
        version = await self.loader.offers.find(_parse(ref))
        if files and "input" not in version.source.permissions.files:
            raise UsageError(
                f"{version.ref} does not read files (its permissions.files has no 'input'), so "
                f"{', '.join(files)} would be ignored; nothing was run. Leave them out"
            )
        return await self.loader.runner.call(version, arguments, files=files)

    async def retest(self, ref: str, *, on_event: AdmissionListener = ignore_progress) -> Proof:
        """Run the trials of a stored version again; changes nothing."""
        version = await self.store.find(_parse(ref))
        return await self.admission.retest(version, on_event)

    async def prove(
        self, ref: str, *, on_event: AdmissionListener = ignore_progress
    ) -> Corroborated:
        """Prove a stored version once more, and vouch for it with the keys of this host.

        Raises:
            AccessRefusedError: The policy does not let this person; nothing ran.
            SandboxError: The sandbox failed; nothing was kept.
            ToolStoreError: The store failed, or the version was taken back; nothing was kept.
        """
        version = await self.store.find(_parse(ref))
        return await self._corroboration.prove(version, await self.sandbox(), on_event)

    async def approve(
        self, ref: str, *, principal: str, shown_digest: str, comment: str = ""
    ) -> ToolVersion:
        """Record a person's yes to the version with exactly `shown_digest`.

        Raises:
            UsageError: The digest is not that of the version, or the policy still says no.
            TransitionError: The version does not wait for review.
        """
        version = await self.store.find(_parse(ref))
        if version.digest != Shown.parse(shown_digest).version:
            raise UsageError(
                f"{version.ref} has digest {version.digest}, but {shown_digest} was shown; "
                f"nothing was approved. Look at it again: toolkiln review show {version.ref}"
            )
        await self.desk.decide(shown_digest, Vote.APPROVE, principal=principal, reason=comment)
        return await self.store.version(version.digest)

    async def reject(self, ref: str, *, principal: str, reason: str) -> ToolVersion:
        """Record a person's no; the version can never be called."""
        version = await self.store.find(_parse(ref))
        await self.desk.decide(version.digest, Vote.REJECT, principal=principal, reason=reason)
        return await self.store.version(version.digest)

    async def waive(
        self, ref: str, *, rule: str, principal: str, reason: str, days: int
    ) -> ToolVersion:
        """Record that a person takes one finding of one version on themselves for some days.

        A version that waits for nothing else leaves quarantine by it. 0 days end a waiver.

        Raises:
            UsageError: The policy does not let them, or there is no such finding.
            TransitionError: The version is archived or revoked.
        """
        version = await self.store.find(_parse(ref))
        return await waive(
            self.store,
            self.equipment,
            version,
            rule=rule,
            principal=principal,
            reason=reason,
            days=days,
            at=_now(),
        )

    async def import_bundle(
        self, data: bytes, *, on_event: AdmissionListener = ignore_progress
    ) -> DefinitionOutcome:
        """Take an exported tool through the whole admission here; nothing comes in unproven.

        Raises:
            BundleError: It is none, or what it says does not hold; nothing ran.
        """

        async def define(source: ToolSource) -> DefinitionOutcome:
            return await self.define_tool(
                source, origin=Origin.IMPORT, insist=True, on_event=on_event
            )

        return await take_in(self.store, data, define, actor=self.settings.principal)

    async def search(self, query: str, limit: int) -> Sequence[ToolSpec]:
        """The approved tools that match `query` best."""
        await self.loader.offers.refresh()
        return await self.loader.search(query, limit)

    def session(  # noqa: PLR0913 - each argument is an independent choice with a default
        self,
        *,
        model: str | ChatModel | None = None,
        api: str | None = None,
        resume: str | None = None,
        host_tools: Sequence[Tool] = (),
        files: Mapping[str, bytes] = MappingProxyType({}),
        budget: Budget | None = None,
        on_event: SessionListener = ignore_progress,
    ) -> Session:
        """A conversation with a model that has this store's tools and may define more.

        `files`, by name, are given to the tools that read files.

        Raises:
            ModelUnavailableError: No model was named, or there is no key for it.
            TranscriptError: There is no session to resume, or it is running elsewhere.
            UsageError: The policy does not grant `files` to tools.
        """
        folder = self.settings.sessions_folder
        if resume is not None and model is None:
            model = read_transcript(folder, resume)[0].model
        chat = self._model(model, api)
        budget = budget or Budget(self.settings.budget, price=self.settings.prices.get(chat.name))
        on_event = self._expecting_calls(on_event)
        if resume is None:
            transcript = Transcript.create(folder, model=chat.name)
            session = Session(
                model=chat,
                toolset=self._toolset(transcript.session_id, host_tools),
                transcript=transcript,
                budget=budget,
                files=self.policy.files,
                inbox=ReviewInbox(self.store),
                on_event=on_event,
            )
        else:
            session = Session.resume(
                folder,
                resume,
                model=chat,
                toolset=self._toolset(resume, host_tools),
                budget=budget,
                files=self.policy.files,
                artefacts=self.artefacts,
                inbox=lambda history: ReviewInbox(
                    self.store, history.waiting, history.admitted, heard=history.heard
                ),
                on_event=on_event,
            )
        session.attach(files)
        self._sessions.append(session)
        self._analyzer.keep_ahead()  # while the model thinks
        return session

    def _toolset(self, session_id: str, host_tools: Sequence[Tool]) -> Toolset:
        return Toolset(
            builtins=(DefineTool(self._define_for_session, self.policy),),
            host_tools=host_tools,
            catalog=SessionTools(self.loader, session_id),
            size=self.settings.toolset_size,
        )

    def _expecting_calls(self, on_event: SessionListener) -> SessionListener:
        """`on_event`, and containers made ready for the calls of an answer while it is made."""

        def listen(event: SessionEvent) -> None:
            if isinstance(event, RequestStarted):
                task = asyncio.get_running_loop().create_task(self._prepare())
                self._preparing.add(task)
                task.add_done_callback(self._preparing.discard)
            on_event(event)

        return listen

    async def _prepare(self) -> None:
        sandbox_is_there = self._given_sandbox is not None or self._opened_sandbox is not None
        if not (sandbox_is_there or self.loader.offers.names()):
            return  # no call is in sight: a question may need no sandbox at all
        nothing = Program(code="", function="", limits=self.policy.run)
        with suppress(SandboxError):  # whoever needs it will be told
            (await self.sandbox()).prepare(nothing, _READY_FOR_AN_ANSWER)

    def _model(self, model: str | ChatModel | None, api: str | None) -> ChatModel:
        """The model that was given, or the one of that name; ours to close then."""
        if model is not None and not isinstance(model, str):
            return model
        name = model or self.settings.model
        if name is None:
            raise ModelUnavailableError(
                "(none)",
                "no model is named",
                advice="Give --model, or set TOOLKILN_MODEL or `model` in toolkiln.toml.",
            )
        key = self.settings.api_key
        shape = Api(api) if api else self.settings.api
        made = make_model(
            name,
            api=None if shape is None else "chat" if shape is Api.CHAT else "responses",
            base_url=self.settings.base_url,
            api_key=key.get_secret_value() if key else None,
        )
        self._models.append(made)
        return made

    async def _define_for_session(
        self,
        source: ToolSource,
        context: CallContext,
        on_event: AdmissionListener,
        *,
        insist: bool,
    ) -> DefinitionOutcome:
        provenance = Provenance(
            author=self.settings.principal,
            origin=Origin.AGENT,
            session=context.session_id,
            model=context.model,
            created_at=_now(),
        )
        return await self.admission.define(source, provenance, on_event, insist=insist)

    async def close(self) -> None:
        """Give back everything: sessions, models, sandbox, store."""
        for session in self._sessions:
            await session.close()
        for model in self._models:
            await model.close()
        for task in self._preparing:
            task.cancel()
        await asyncio.gather(*self._preparing, return_exceptions=True)
        await self._analyzer.aclose()
        await self.loader.close()
        await self.recorder.close()
        if self._opened_sandbox is not None:
            await self._opened_sandbox.close()
        await self.store.close()


def _parse(ref: str) -> ToolRef:
    try:
        return ToolRef.parse(ref)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _ignore(_line: str) -> None:
    """Show no progress."""


@asynccontextmanager
async def open_runtime(
    *,
    home: Path | str | None = None,
    policy: Path | str | None = None,
    settings: Settings | None = None,
    sandbox: Sandbox | None = None,
    progress: Callable[[str], None] = _ignore,
) -> AsyncIterator[Runtime]:
    """Open the store under `home` and everything around it; closed when the block ends.

    Args:
        home: Folder of all state; default `TOOLKILN_HOME` or `~/.toolkiln`.
        policy: Name of a shipped profile (`local`, `team`, `production`) or a policy file.
        settings: Everything at once, instead of reading files and environment.
        sandbox: Instead of the Docker engine's.
        progress: Hears of long work, such as building the guest image.

    Raises:
        PolicyConfigError: The policy is not exactly understood.
        SettingsError: A setting is not.
        ToolStoreError: The store cannot be opened.
    """
    if settings is None:
        settings = read_settings(
            {
                "home": None if home is None else str(home),
                "policy": None if policy is None else str(policy),
            }
        )
    profile = read_profile(settings.policy)
    authorizer_of(profile)  # what is not exactly understood fails here, and not in mid-session
    # Everything of a person's is in here; others have no business in it.
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = await open_signed_store(settings, signatures=profile.signatures)
    runtime = Runtime(
        settings=settings, profile=profile, store=store, sandbox=sandbox, progress=progress
    )
    try:
        yield runtime
    finally:
        await runtime.close()

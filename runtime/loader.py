"""The hot-load: versions of the store become callable tools, and stop being so, in mid-session.

A version is verified when it is loaded: every byte against its digest, evidence, state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from policies.value import JsonObject
from runtime.artefacts import ArtefactStore
from runtime.authorize import caller_of
from runtime.equipment import Equipment
from runtime.messages import ToolSpec
from runtime.offers import Offers
from runtime.recorder import SeenCall
from runtime.runner import SandboxSource, ToolRunner
from runtime.tools import CallContext, ToolAnswer
from toolstore.errors import StoreDamagedError, ToolNotCallableError
from toolstore.models import ToolRef, ToolVersion
from toolstore.store import ToolStore


class LoadedTool:
    """A verified version that calls of it are bound to."""

    def __init__(self, version: ToolVersion, runner: ToolRunner, tenant: str) -> None:
        self.version = version
        self.spec = ToolSpec(
            name=version.name,
            description=version.source.description + _about_files(version),
            parameters=version.source_schema.parameters,
        )
        self._runner = runner
        self._tenant = tenant

    async def call(self, arguments: JsonObject, context: CallContext) -> ToolAnswer:
        """Run the version once in the sandbox."""
        caller = caller_of(self._tenant, context.session_id, context.model)
        outcome = await self._runner.call(
            self.version, arguments, files=context.files, principal=caller
        )
        return ToolAnswer(
            content=outcome.to_text(),
            is_error=outcome.is_error,
            made_files=outcome.artefacts,
        )


class ToolLoader:
    """All tools that the store offers now, callable in one sandbox."""

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
        self._tenant = equipment.tenant
        self.offers = Offers(store, equipment)
        self.runner = ToolRunner(self.offers, store, sandbox, equipment, artefacts, on_call=on_call)

    async def close(self) -> None:
        """Finish what goes on beside the calls; they are over by then."""
        await self.runner.close()

    async def get(self, name: str) -> LoadedTool | None:
        """The stable version of `name`, verified as it is loaded; None where there is none.

        Raises:
            StoreDamagedError: The stored bytes are not what was approved.
        """
        digest = self.offers.chosen(name, None)
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
        version = self.offers.verified(ref.digest or "", session)
        if version is None:
            version = await self.offers.find(ref, session=session)
        return LoadedTool(version, self.runner, self._tenant)

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


def _about_files(version: ToolVersion) -> str:
    reads = "input" in version.source.permissions.files
    return "\nIt is given the files of this session, by their names." if reads else ""
